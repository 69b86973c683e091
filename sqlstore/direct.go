package sqlstore

import (
	"context"

	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/storecall"
)

func init() {
	storecall.RegisterDirect(func(s storecall.Store) storecall.Direct {
		if s, ok := s.(*Store); ok {
			return direct{s}
		}
		return nil
	})
}

// direct is a Store as plexauth calls it, without copies. It implements [storecall.Direct].
type direct struct{ s *Store }

// Load returns the document of a namespace.
func (d direct) Load(ctx context.Context, namespace string) (storecall.Document, error) {
	r, err := d.s.load(ctx, namespace)
	return r.shared(), err
}

// Update replaces the document of a namespace.
func (d direct) Update(ctx context.Context, namespace string, edit func(storecall.Document) (*profile.Stored, bool, error)) error {
	return d.s.replace(ctx, namespace, func(old document) (document, error) {
		next, changed, err := edit(old.shared())
		switch {
		case err != nil || !changed:
			return old, err
		case next == nil:
			return document{}, nil
		}
		var room []byte
		if old.parsed != nil {
			room = make([]byte, 0, len(old.text)+2*len(padding))
		}
		text := d.s.padded(next.AppendTo(room))
		if len(text) < minLarge {
			next = nil
		}
		return document{text, next}, nil
	})
}

// shared returns d as plexauth reads it.
func (d document) shared() storecall.Document {
	if d.parsed != nil {
		return storecall.Parsed(d.parsed)
	}
	return storecall.JSON(d.text)
}
