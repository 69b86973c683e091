package storecall

import (
	"errors"
	"fmt"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// storeError is an error of a store. Its text has no secret, even if the store has put one
// there.
type storeError struct {
	text string
	err  func() error // hidden
}

func (e *storeError) Error() string { return e.text }
func (e *storeError) Is(target error) bool {
	return target == fault.ErrStore || errors.Is(e.err(), target)
}
func (e *storeError) As(target any) bool         { return errors.As(e.err(), target) }
func (e *storeError) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.text) }

// NewError returns err as the error of a store: without secrets, and without the values of
// stored fields that hold one.
func NewError(err error, secrets ...string) error {
	text := plain.Long(profile.RedactQuoted(secret.Without(plain.Line(err.Error()), secrets...)))
	return &storeError{"plexauth: config store: " + strings.TrimPrefix(text, fault.ErrStore.Error()+": "), secret.Hide(err)}
}
