// Package fault holds the sentinel errors that more than one package returns.
package fault

import (
	"errors"
	"slices"
	"strings"
)

// Package plexauth exports each of these under the same name, and documents it there.
var (
	ErrStore           = errors.New("plexauth: config store")
	ErrCorruptConfig   = errors.New("plexauth: config is corrupt")
	ErrNotConnected    = errors.New("plexauth: not connected to Plex, sign in first")
	ErrUnavailable     = errors.New("plexauth: plex.tv is unavailable")
	ErrRateLimited     = errors.New("plexauth: rate-limited by plex.tv")
	ErrTokenRejected   = errors.New("plexauth: plex.tv rejected the token, sign in again")
	ErrTokenExpired    = errors.New("plexauth: the token has expired")
	ErrPinExpired      = errors.New("plexauth: the PIN expired before it was approved")
	ErrPinSuperseded   = errors.New("plexauth: another login has replaced this one")
	ErrNoPendingPin    = errors.New("plexauth: no login is pending")
	ErrAccountMismatch = errors.New("plexauth: approved by another Plex account than the one linked")
	ErrHomePin         = errors.New("plexauth: the Home user's PIN is needed")
	ErrServerChoice    = errors.New("plexauth: which media server to use has not been chosen")
	ErrServerToken     = errors.New("plexauth: no token for the media server")
)

// inside is an error whose text is part of another error's.
type inside struct{ error }

// Inside returns err for use inside the text of another error of plexauth: its own text
// lacks the prefix "plexauth: ".
func Inside(err error) error { return inside{err} }

func (e inside) Error() string { return strings.TrimPrefix(e.error.Error(), "plexauth: ") }
func (e inside) Unwrap() error { return e.error }

// joined is errors that are joined, with a text that says nothing twice.
type joined struct{ error }

// Join does what [errors.Join] does, but a line of the text that an earlier one ends with is
// left out: one error of a store may reach a caller in two ways.
func Join(errs ...error) error {
	err := errors.Join(errs...)
	if err == nil {
		return nil
	}
	return joined{err}
}

func (j joined) Error() string {
	var said []string
	for line := range strings.SplitSeq(j.error.Error(), "\n") {
		isSaid := func(earlier string) bool {
			return earlier == line || strings.HasSuffix(earlier, ": "+strings.TrimPrefix(line, "plexauth: "))
		}
		if !slices.ContainsFunc(said, isSaid) {
			said = append(said, line)
		}
	}
	return strings.Join(said, "\n")
}

func (j joined) Unwrap() error { return j.error }
