package main

import (
	"strings"
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

func TestStops(t *testing.T) { programtest.Stops(t, "start") }

// TestCommands gives each command a client of its own, because each command is a
// process of its own.
func TestCommands(t *testing.T) { synctest.Test(t, testCommands) }

func testCommands(t *testing.T) {
	fake := plextest.NewServer()
	defer fake.Close()
	alice := fake.AddUser(plextest.User{Username: "alice"})
	fake.AddMediaServer(alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	attic := fake.AddMediaServer(alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
	store := plexauth.NewMemoryStore()
	sync := func(command, profile, machineID string) (*plexauth.PlexAuth, error) {
		auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: fake.Client()})
		require.NoError(t, err)
		return auth.Instance(profile), run(t.Context(), auth, command, profile, machineID)
	}
	connected := func(kids *plexauth.PlexAuth) bool {
		status, err := kids.Status(t.Context())
		require.NoError(t, err)
		return status.Connected
	}

	for _, command := range []string{"manifest", "status", "start", "finish"} {
		kids, err := sync(command, "kids", "")
		require.NoError(t, err, command)
		assert.False(t, connected(kids), command)
	}
	time.Sleep(time.Minute)
	require.NoError(t, fake.Approve(fake.PendingCodes()[0], alice))
	kids, err := sync("finish", "kids", "")
	require.NoError(t, err)
	assert.True(t, connected(kids))

	_, err = sync("inspect", "kids", "")
	assert.ErrorIs(t, err, plexauth.ErrServerChoice)
	_, err = sync("inspect", "kids", attic.MachineID)
	require.NoError(t, err)
	settings, err := kids.Settings(t.Context())
	require.NoError(t, err)
	assert.Equal(t, attic.MachineID, settings.MachineID)
	_, err = sync("status", "", "")
	require.NoError(t, err)

	_, err = sync("disconnect", "kids", "")
	require.NoError(t, err)
	assert.False(t, connected(kids))
	_, err = sync("nonsense", "", "")
	assert.ErrorIs(t, err, errUsage)
	assert.Empty(t, fake.Violations())
}

// A flag after the command is not the name of a profile.
func TestArguments(t *testing.T) {
	for _, args := range []string{"", "nonsense", "start -offline", "start kids -offline", "inspect kids box -offline", "start kids more", "status kids", "-offline"} {
		output, code := programtest.Run(t, nil, strings.Fields(args)...)
		assert.Equal(t, 2, code, args)
		assert.Contains(t, output, "usage: sync", args)
		assert.Contains(t, output, "Flags go before the command", args)
	}
	output, code := programtest.Run(t, nil, "manifest")
	assert.Zero(t, code, output)
}

func TestNamesOnTheTerminal(t *testing.T) {
	text, err := document(plexauth.Server{Name: "Box\u009b2J\u202egnp"})
	require.NoError(t, err)
	assert.Contains(t, text, `"name": "Box\u009b2J\u202egnp"`)
}
