package plexauth

import (
	"context"
	"errors"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/inspect"
)

// Inspect finds out what a program needs besides the account token, and saves it: the
// account's name and number, the media server with its address and token, and the
// number by which that server knows the account (1 for its owner, plex.tv's number
// for everyone else). It returns the settings as they are then. Everything that it
// could not find out is in one error, and what was known before is kept.
//
// A saved server stays, and so does an address that a person has entered as
// server_url. If an address that plexauth has found no longer answers, the server's
// present one replaces it; an address that was typed is never replaced. As long as the
// server stays, the number of another user than the account stays too: a program may
// work for a member of the Plex Home. If no server is saved, Inspect takes the only
// one that the account owns. If the account owns none or several, the error matches
// [ErrServerChoice], a [*ServerChoiceError] names the candidates, and
// [PlexAuth.UseServer] chooses.
//
// An address is saved only after the right server has answered there. All addresses
// are tried at once, for four seconds at most. Local ones are preferred to remote
// ones, Plex's relay comes last, and https before http; see [PlexAuth.Probe].
//
// Other errors are those of [PlexAuth.Servers], [ErrUnavailable] if no address
// answers, [ErrServerToken], and one that asks to call again because the login or the
// server was changed in the meantime. Inspect takes half a minute at most.
func (p *PlexAuth) Inspect(ctx context.Context) (Settings, error) { return p.inspect(ctx, "") }

// UseServer chooses the media server and then does what [PlexAuth.Inspect] does.
// machineID is the MachineID of one of [PlexAuth.Servers]. It may also be an address
// that a person entered ("http://plex:32400", "192.168.1.5", or "plex" if no server has
// that MachineID). The address is then kept, and the server there is asked which one
// it is. A server that does not answer does not replace another one.
func (p *PlexAuth) UseServer(ctx context.Context, machineID string) (Settings, error) {
	if machineID = strings.TrimSpace(machineID); machineID == "" {
		s, err := settingsAfter(ctx, p)
		return s, errors.Join(errors.New("plexauth: UseServer needs the MachineID of a server"), err)
	}
	return p.inspect(ctx, machineID)
}

func (p *PlexAuth) inspect(ctx context.Context, wanted string) (Settings, error) {
	err := inspect.Inspect(ctx, p.client, profileLogin{&p.session}, wanted)
	s, loadErr := settingsAfter(ctx, p)
	return s, fault.Join(err, loadErr)
}
