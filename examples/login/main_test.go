package main

import (
	"bytes"
	"io"
	"regexp"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/examples/internal/programtest"
	"github.com/plexauth/plexauth/plextest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestStops(t *testing.T) { programtest.Stops(t) }

var code = regexp.MustCompile(`enter the code (\w+) at`)

// approver is a person who approves the code that is shown.
type approver struct {
	t     *testing.T
	plex  *plextest.Server
	alice *plextest.User
}

func (a approver) Write(shown []byte) (int, error) {
	if m := code.FindSubmatch(shown); m != nil {
		require.NoError(a.t, a.plex.Approve(string(m[1]), a.alice))
	}
	return len(shown), nil
}

// The person approves once. The second run uses the login that is there.
func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plex := plextest.NewServer()
		defer plex.Close()
		alice := plex.AddUser(plextest.User{Username: "alice"})
		plex.AddMediaServer(alice, plextest.MediaServer{Name: "Box\x1b[2J"})
		options := plexauth.Options{Product: "My App", Store: plexauth.NewMemoryStore(), HTTPClient: plex.Client()}
		for _, says := range []string{
			`^Open https://plex\.tv/link/\?pin=\w{4}\nor enter the code \w{4} at https://plex\.tv/pin\nSigned in as "alice"\nMedia server "Box\\x1b\[2J"\n$`,
			`^Signed in as "alice"\nMedia server `,
		} {
			var out bytes.Buffer
			require.NoError(t, run(t.Context(), io.MultiWriter(&out, approver{t, plex, alice}), options))
			assert.Regexp(t, says, out.String())
			assert.NotContains(t, out.String(), "FAKE_", "a token")
		}
	})
}
