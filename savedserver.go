package plexauth

import (
	"errors"
	"fmt"
	"slices"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

// typedFor makes candidates of an address that a person has just entered, in a profile
// with the saved server s.
func typedFor(s profile.SavedServer, address string) []mediaserver.Candidate {
	all := mediaserver.Typed(address, true)
	for i := range all {
		all[i].Insecure = s.Unverified(all[i].Url)
	}
	return all
}

// listed returns the saved server out of servers. The same machine of another
// owner is another server, since anybody can claim a machine's identifier.
func listed(s profile.SavedServer, servers []plextv.MediaServer, account int64) *plextv.MediaServer {
	for i := range servers {
		if v := &servers[i]; s.MachineID != "" && v.MachineID == s.MachineID && s.BelongsTo(v.OwnedBy(account)) {
			return v
		}
	}
	return nil
}

// errAnotherServer matches the error of a round of probing that found a different
// media server at the saved address.
var errAnotherServer = errors.New("plexauth: another media server answers at the saved address")

// strange reports whether a server other than the expected one answers at s.url.
func strange(s profile.SavedServer, found []mediaserver.Address) bool {
	return slices.ContainsFunc(found, func(a mediaserver.Address) bool {
		return !a.OK && a.MachineID != "" && netaddr.SameServer(a.URL, s.Url)
	})
}

// savedUnreachable returns the error for found, none of which is the expected server.
func savedUnreachable(s profile.SavedServer, found []mediaserver.Address) error {
	err := mediaserver.Unreachable(found)
	if strange(s, found) {
		return fmt.Errorf("%w: %w", errAnotherServer, fault.Inside(err))
	}
	return err
}

// savedCandidates are the address of the saved server s. One at which the server has answered is
// complete.
func savedCandidates(s profile.SavedServer) []mediaserver.Candidate {
	all := mediaserver.Typed(s.Url, s.Verify)
	if s.Bound && len(all) > 1 {
		all = all[:1]
	}
	for i := range all {
		all[i].Entered = !s.Found
	}
	return all
}

// directOf returns the plex.direct certificate that may be shown at the saved address,
// nil if there is none.
func directOf(s profile.SavedServer) mediaserver.DirectOwners {
	if s.Certificate == "" {
		return nil
	}
	return mediaserver.DirectOwners{s.Certificate: {s.MachineID}}
}
