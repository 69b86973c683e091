package choice

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

// ErrNeedsLongLived is matched by an ErrServerToken that only a login without a device
// key can solve.
var ErrNeedsLongLived = errors.New("plexauth: media servers do not accept the token of a device key")

// NeedsLongLived returns err, which then also matches ErrNeedsLongLived.
func NeedsLongLived(err error) error { return deviceKeyError{err} }

type deviceKeyError struct{ error }

func (e deviceKeyError) Is(target error) bool { return target == ErrNeedsLongLived }
func (e deviceKeyError) Unwrap() error        { return e.error }

// ErrNotShared is matched by the error for a media server of another person that the
// account has no access to, or not any more.
var ErrNotShared = errors.New("plexauth: the media server is not shared with the account")

// notShared returns err, which then also matches ErrNotShared.
func notShared(err error) error { return notSharedError{err} }

type notSharedError struct{ error }

func (e notSharedError) Is(target error) bool { return target == ErrNotShared }
func (e notSharedError) Unwrap() error        { return e.error }

// Refused returns the error for the saved server s, which answers and refuses its token
// with err. servers are those of the account, nil if they are not known.
func Refused(s profile.SavedServer, servers []plextv.MediaServer, account int64, err error) error {
	if servers != nil && s.MachineID != "" && Listed(s, servers, account) == nil && !isOwn(s, account) {
		return notShared(err)
	}
	return err
}

// isOwn reports whether the saved server is known to be the account's own.
func isOwn(s profile.SavedServer, account int64) bool { return account != 0 && s.Owner == account }

// ErrAnotherServer is matched by the error of a probe that found a different media
// server at the saved address.
var ErrAnotherServer = errors.New("plexauth: another media server answers at the saved address")

// Typed returns the candidates for an address that a person has just entered. s is
// the saved server.
func Typed(s profile.SavedServer, address string) []mediaserver.Candidate {
	all := mediaserver.Typed(address, true)
	for i := range all {
		all[i].Insecure = s.Unverified(all[i].URL)
	}
	return all
}

// LooksTyped reports whether a choice can only be an address.
func LooksTyped(choice string) bool { return strings.ContainsAny(choice, ".:/") }

// Saved returns the candidates for the address of the saved server s. If the
// server has answered there before, the address is complete.
func Saved(s profile.SavedServer) []mediaserver.Candidate {
	all := mediaserver.Typed(s.URL, s.Verify)
	if s.Bound {
		all = all[:min(len(all), 1)]
	}
	for i := range all {
		all[i].Entered = !s.Found
	}
	return all
}

// Listed returns the saved server s out of servers, nil if it is not there. The same
// machine of another owner is another server, because anybody can claim a machine's
// identifier.
func Listed(s profile.SavedServer, servers []plextv.MediaServer, account int64) *plextv.MediaServer {
	for i := range servers {
		if v := &servers[i]; s.MachineID != "" && v.MachineID == s.MachineID && s.BelongsTo(v.OwnedBy(account)) {
			return v
		}
	}
	return nil
}

// findServer returns the server with that identifier, nil if there is none.
func findServer(servers []plextv.MediaServer, machineID string) *plextv.MediaServer {
	n := slices.IndexFunc(servers, func(s plextv.MediaServer) bool { return s.MachineID == machineID })
	if n < 0 || machineID == "" {
		return nil
	}
	return &servers[n]
}

// listedAt returns the server out of servers that has an address, nil if there is none
// or more than one.
func listedAt(servers []plextv.MediaServer, address string) (there *plextv.MediaServer) {
	for i := range servers {
		s := &servers[i]
		if slices.ContainsFunc(mediaserver.Listed(s), func(c mediaserver.Candidate) bool { return netaddr.SameAddress(c.URL, address) }) {
			if there != nil {
				return nil
			}
			there = s
		}
	}
	return there
}

// Certificate returns the plex.direct certificate that the saved server may show at
// its address, nil if there is none.
func Certificate(s profile.SavedServer) mediaserver.DirectOwners {
	if s.Certificate == "" {
		return nil
	}
	return mediaserver.DirectOwners{s.Certificate: {s.MachineID}}
}

// Unreachable returns the error for found, none of which is the saved server s.
func Unreachable(s profile.SavedServer, found []mediaserver.Address) error {
	err := mediaserver.Unreachable(found)
	if strangerAnswers(s, found) {
		return fmt.Errorf("%w: %w", ErrAnotherServer, fault.Inside(err))
	}
	return err
}

// strangerAnswers reports whether another server than s answers at its saved address.
func strangerAnswers(s profile.SavedServer, found []mediaserver.Address) bool {
	return slices.ContainsFunc(found, func(a mediaserver.Address) bool {
		return !a.OK && a.MachineID != "" && netaddr.SameAddress(a.URL, s.URL)
	})
}
