package main

import (
	"bytes"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/examples/internal/programtest"
	"github.com/plexauth/plexauth/plextest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestStops(t *testing.T) { programtest.Stops(t) }

// An unexpected argument is an error, because flags after it would be ignored.
func TestArguments(t *testing.T) {
	output, code := programtest.Run(t, nil, "foo", "-offline")
	assert.Equal(t, 2, code)
	assert.Contains(t, output, `unexpected argument "foo"`)
}

// world makes a fake plex.tv with alice and her media servers, and puts it in
// place of http.DefaultTransport.
func world(t *testing.T, boxes ...string) (*plextest.Server, *plextest.User, plexauth.Options) {
	fake := plextest.NewServer()
	t.Cleanup(fake.Close)
	alice := fake.AddUser(plextest.User{Username: "alice"})
	for i, name := range boxes {
		fake.AddMediaServer(alice, plextest.MediaServer{Name: name, Connections: []plextest.Connection{{Address: "192.168.1.5", Port: 32400 + i, Local: true}}})
	}
	network := http.DefaultTransport
	http.DefaultTransport = fake.Client().Transport
	t.Cleanup(func() { http.DefaultTransport = network })
	return fake, alice, plexauth.Options{Store: plexauth.NewFileStore(filepath.Join(t.TempDir(), "config.json"))}
}

// runApproved runs the program while each of people approves one code.
func runApproved(t *testing.T, fake *plextest.Server, options plexauth.Options, server string, people ...*plextest.User) (string, error) {
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), &out, options, server) }()
	for _, user := range people {
		for len(fake.PendingCodes()) == 0 {
			time.Sleep(time.Second)
		}
		require.NoError(t, fake.Approve(fake.PendingCodes()[0], user))
	}
	err := <-ended
	return out.String(), err
}

// The first run needs two approvals, and the second run none.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, alice, options := world(t, "Box")
		out, err := runApproved(t, fake, options, "", alice, alice)
		require.NoError(t, err)
		assert.Regexp(t, `(?m)^For the device key, for plex\.tv:\n  open https://plex\.tv/link/\?pin=\w+\n  and confirm the code \w+$`, out)
		assert.Regexp(t, `(?m)^For the long-lived login, for the media server:\n  open https://plex\.tv/link/\?pin=\w+\n  and confirm the code \w+$`, out)

		out, err = runApproved(t, fake, options, "")
		require.NoError(t, err)
		assert.NotContains(t, out, "open ")
		assert.Regexp(t, `^
plex.tv, by the profile "device":
  signed in as  alice
  identifier    [0-9a-f]+
  token         good until 2000-01-08 .*, renewed automatically before that
  account       7001009, alice
  lists         Box, machine id [0-9a-f]{40}

The media server, by the profile "default":
  signed in as  alice
  identifier    [0-9a-f]+
  token         good until it is revoked
  address       https://192-168-1-5\.[0-9a-f]+\.plex\.direct:32400
  its libraries 200 OK
$`, out)
		assert.NotContains(t, out, "FAKE_", "a token")
		assert.Empty(t, fake.Violations())
	})
}

func TestSeveralServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, alice, options := world(t, "Living room", "Attic")
		out, err := runApproved(t, fake, options, "", alice, alice)
		require.ErrorIs(t, err, plexauth.ErrServerChoice)
		assert.ErrorContains(t, err, "-server")
		assert.Contains(t, out, "Attic, machine id ")

		id := out[len(out)-41 : len(out)-1]
		out, err = runApproved(t, fake, options, id)
		require.NoError(t, err)
		assert.Contains(t, out, "plex.direct:32401")
	})
}

func TestTwoPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, alice, options := world(t, "Box")
		bob := fake.AddUser(plextest.User{Username: "bob"})
		_, err := runApproved(t, fake, options, "", alice, bob)
		assert.EqualError(t, err, "alice approved the device key, and bob the long-lived login")
	})
}
