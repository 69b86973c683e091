package storecall

import (
	"context"

	"github.com/plexauth/plexauth/internal/profile"
)

// Direct has the methods of a [Store] for callers that neither change nor need copies of its
// documents. A large document that has not changed since it was last read is then neither copied
// nor parsed again.
type Direct interface {
	Load(ctx context.Context, namespace string) (Document, error)
	// Update replaces the document by next if changed; a nil next removes it.
	Update(ctx context.Context, namespace string, edit func(current Document) (next *profile.Stored, changed bool, err error)) error
}

var direct []func(Store) Direct

// RegisterDirect makes [DirectOf] ask of, which returns nil for a store of another type. A package
// with a store calls it in an init function.
//
// A method of the store would not do: another type that embeds the store would have it too, and
// what that type does in Load and Update would be left out.
func RegisterDirect(of func(Store) Direct) { direct = append(direct, of) }

// DirectOf returns the Direct of a store, or nil.
func DirectOf(s Store) Direct {
	for _, of := range direct {
		if d := of(s); d != nil {
			return d
		}
	}
	return nil
}
