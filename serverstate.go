package plexauth

import (
	"errors"

	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
)

// stateIn finds the most telling state in an error.
func stateIn(err error) plextv.ServerState {
	var nowhere *mediaserver.UnreachableError
	switch {
	case errors.As(err, &nowhere):
		found := plextv.ServerUnknown
		for _, a := range nowhere.Addresses {
			if s := stateIn(a.Err); s != plextv.ServerUnknown && (found == plextv.ServerUnknown || s < found) {
				found = s
			}
		}
		return found
	case failureOf(err) != nil:
		return failureOf(err).State
	}
	return plextv.ServerUnknown
}

// headline is what a person is told first of a server that cannot be used now.
func headline(s plextv.ServerState) string {
	switch s {
	case plextv.ServerStarting:
		return "The media server is starting. Try again in a minute."
	case plextv.ServerFailing:
		return "The media server answers with an error. The details, and the server's own log, say more."
	case plextv.ServerBehindProxy:
		return "A proxy answers, but the media server behind it does not. Check that the server runs."
	}
	return "The media server does not answer. Check that it runs and can be reached from here."
}
