package mediaserver

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plain"
)

// UnreachableError is the error for a media server that answers at none of its
// addresses. It matches [fault.ErrUnavailable].
type UnreachableError struct{ Addresses []Address }

// Unreachable returns an [*UnreachableError] for what was found at addresses.
func Unreachable(addresses []Address) error { return &UnreachableError{addresses} }

// maxFindings bounds the text of an UnreachableError, in bytes.
const maxFindings = 1300

// Error names each address and what was found there.
func (e *UnreachableError) Error() string {
	var b strings.Builder
	b.WriteString("plexauth: the media server answers at none of its addresses")
	if len(e.Addresses) == 0 {
		return b.String() + ": plex.tv lists none, the server may be off"
	}
	for i, a := range e.Addresses {
		text := plain.Short(a.URL) + " " + plain.Short(a.Finding)
		if b.Len()+len(text) > maxFindings {
			fmt.Fprintf(&b, "; and %d more", len(e.Addresses)-i)
			break
		}
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		b.WriteString(separator + text)
	}
	return b.String()
}

// Is reports whether target is [fault.ErrUnavailable].
func (e *UnreachableError) Is(target error) bool { return target == fault.ErrUnavailable }

// As finds target in what went wrong at one of the addresses. Is does not: if one address
// may get no token, or took too long, that says nothing about the others.
func (e *UnreachableError) As(target any) bool {
	return slices.ContainsFunc(e.Addresses, func(a Address) bool { return a.Err != nil && errors.As(a.Err, target) })
}

// EnteredError wraps an error of [Unreachable] about addresses that a person has just
// entered, perhaps to find out what is there.
type EnteredError struct{ error }

// Entered returns err as an EnteredError.
func Entered(err error) error { return EnteredError{err} }

// Unwrap returns the error about the addresses.
func (e EnteredError) Unwrap() error { return e.error }
