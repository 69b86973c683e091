package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// Inspect finds the account's only server, saves it, and changes nothing the second
// time.
func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{lan, {Address: "203.0.113.7"}}})
		w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Bob's", SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "alice", s.Username)
		assert.Equal(t, fmt.Sprint(w.alice.ID), s.CloudAccountID)
		assert.Equal(t, box.Connections[0].URI, s.ServerURL)
		assert.Equal(t, box.MachineID, s.MachineID)
		assert.Equal(t, "1", s.AccountID)
		assert.Equal(t, w.plex.ServerToken(w.alice, box), s.ServerToken.Secret())
		assert.True(t, s.VerifySSL)

		doc := w.stored(t)
		assert.Equal(t, s.ServerURL, doc["pms_token_server"])
		assert.Equal(t, 1.0, doc["account_id"], "a number, as CrossWatch writes it")
		assert.NotContains(t, doc, "verify_ssl")
		assert.Equal(t, []string{"server_url", "client_id", "account_id", "machine_id", "username", "account_token", "pms_token", "_cloud", "_server_account", "pms_token_server", "server_url_found"}, memberNames(t, w.doc(t)))

		// The program's own requests get the token, over the same network.
		rt := w.Transport(w.plex.Transport())
		c := &http.Client{Transport: rt}
		resp, err := c.Get(s.ServerURL + "/library/sections")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		c.CloseIdleConnections()

		before := w.doc(t)
		_, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, before, w.doc(t), "nothing new, nothing written")
	})
}

// G2: probes carry neither token nor identity. Requests with the token carry the
// complete identity.
func TestInspectRegistersNoDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan, {Address: "203.0.113.7"}}})
		_, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		_, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		probes, tries := 0, 0
		for _, r := range w.mediaRequests() {
			if r.Path == "/identity" {
				probes++
				assert.Empty(t, r.Credential)
				for name := range r.Header {
					assert.NotContains(t, name, "X-Plex", "%s", r)
				}
				continue
			}
			tries++
			assert.Equal(t, "server alice", r.Credential)
			assert.Equal(t, mustSettings(t, w.PlexAuth).ClientID, r.Header.Get("X-Plex-Client-Identifier"))
			assert.Equal(t, "My App", r.Header.Get("X-Plex-Product"))
		}
		assert.Positive(t, tries)
		assert.Positive(t, probes) // the local one may win before the other is sent
	})
}

// G10: a failed Inspect neither changes nor deletes what is saved.
func TestInspectKeepsWhatIsKnown(t *testing.T) {
	const resources = "/api/v2/resources"
	for name, f := range map[string]plextest.Fault{
		"500":            {Path: resources, Status: 500},
		"403":            {Path: resources, Status: 403, Body: "<html>no</html>", ContentType: "text/html"},
		"429":            {Path: resources, Code: 1003},
		"hangs":          {Path: resources, Hang: true},
		"html":           {Path: resources, Body: "<html>portal</html>", ContentType: "text/html"},
		"object":         {Path: resources, Body: "{}", ContentType: "application/json"},
		"null":           {Path: resources, Body: "null", ContentType: "application/json"},
		"xml":            {Path: resources, Body: "<resources/>", ContentType: "application/xml"},
		"none":           {Path: resources, Body: "[]", ContentType: "application/json"},
		"no token":       {Path: resources, Body: `[{"provides":"server","clientIdentifier":"MACHINE","owned":true,"accessToken":null}]`, ContentType: "application/json"},
		"a JWT":          {Path: resources, Body: `[{"provides":"server","clientIdentifier":"MACHINE","owned":true,"accessToken":"eyJhbGciOiJFZERTQSJ9.eyJ9.c2ln"}]`, ContentType: "application/json"},
		"another server": {Path: "/identity", Body: `{"MediaContainer":{"machineIdentifier":"another"}}`, ContentType: "application/json"},
		"page":           {Path: "/identity", Body: `<html>router</html>`, ContentType: "text/html"},
		"dead":           {Path: "/identity", Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
				want, err := w.Inspect(t.Context())
				require.NoError(t, err)
				before := w.doc(t)
				f.Times = -1
				f.Body = strings.ReplaceAll(f.Body, "MACHINE", box.MachineID)
				w.plex.Inject(f)
				start := time.Now()
				got, err := w.Inspect(t.Context())
				require.Error(t, err)
				assert.LessOrEqual(t, time.Since(start), 30*time.Second, "the overall bound")
				assert.Equal(t, want.ServerToken.Secret(), got.ServerToken.Secret())
				assert.Equal(t, before, w.doc(t))
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// A token that is revoked during Inspect is a rejected login. The saved server stays.
func TestInspectRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		want, err := w.Inspect(t.Context())
		require.NoError(t, err)
		w.plex.IssueToken(w.alice, want.ClientID)
		got, err := w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.Equal(t, want.ServerURL, got.ServerURL)
		assert.False(t, got.ServerToken.IsZero(), "the server's token stays")
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		asked := w.fromNow()
		_, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		_, err = w.Servers(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.Empty(t, asked(), "plex.tv is left alone")
	})
}

// Inspect without a login is an error, and creates nothing in the store.
func TestInspectNotConnected(t *testing.T) {
	w := newWorld(t)
	_, err := w.Instance("unknown").Inspect(t.Context())
	require.ErrorIs(t, err, plexauth.ErrNotConnected)
	_, err = w.Servers(t.Context())
	require.ErrorIs(t, err, plexauth.ErrNotConnected)
	assert.Equal(t, "", w.doc(t), "looking creates nothing")
}

// Inspect finds the server even if the account cannot be read.
func TestInspectWithoutAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.edit(t, map[string]any{"username": ""})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 400, Body: "bad", Times: -1})
		s, err := w.Inspect(t.Context())
		require.ErrorContains(t, err, "username")
		assert.Equal(t, box.MachineID, s.MachineID)
		w.plex.ResetFaults()
		s, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "alice", s.Username)
	})
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.edit(t, map[string]any{"username": ""})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Hang: true, Times: -1})
		start := time.Now()
		s, err := w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		require.ErrorContains(t, err, "username, cloud_account_id: ")
		assert.Equal(t, 10*time.Second, time.Since(start), "so that there is time for the server")
		assert.Equal(t, box.MachineID, s.MachineID)
		assert.False(t, s.ServerToken.IsZero())
	})
}

// If the servers cannot be listed, the error names all that is still unknown.
func TestInspectWithoutServers(t *testing.T) {
	for name, f := range map[string]plextest.Fault{
		"hangs": {Hang: true}, "rejected": {Status: 401, Code: 1001}, "refused": {Status: 403, Code: 1009}, "slow down": {Code: 1003},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.edit(t, map[string]any{"username": ""})
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 400, Body: "bad", Times: -1})
				f.Path, f.Times = "/api/v2/resources", -1
				w.plex.Inject(f)
				start := time.Now()
				_, err := w.Inspect(t.Context())
				require.ErrorContains(t, err, "plexauth: username, cloud_account_id: ")
				require.ErrorContains(t, err, "plexauth: server_url, machine_id, server token, account_id: ")
				assert.LessOrEqual(t, time.Since(start), 30*time.Second)
			})
		})
	}
}

// Concurrent calls of Inspect do not disturb each other. A change that is made during
// Inspect is not overwritten.
func TestInspectRaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, Latency: time.Second}}})
		errs := make(chan error, 5)
		for range 5 {
			go func() { errs <- errOf(w.Inspect(t.Context())) }()
		}
		for range 5 {
			require.NoError(t, <-errs)
		}
		assert.Equal(t, box.MachineID, mustSettings(t, w.PlexAuth).MachineID)

		go func() { errs <- errOf(w.Inspect(t.Context())) }()
		time.Sleep(500 * time.Millisecond)
		w.edit(t, map[string]any{"server_url": "http://typed.example:32400"})
		require.ErrorContains(t, <-errs, "call again")
		assert.Equal(t, "http://typed.example:32400", mustSettings(t, w.PlexAuth).ServerURL)

		_, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		go func() { errs <- errOf(w.Inspect(t.Context())) }()
		time.Sleep(500 * time.Millisecond)
		_, err = w.Disconnect(t.Context())
		require.NoError(t, err)
		require.ErrorContains(t, <-errs, "call again")
		assert.True(t, mustSettings(t, w.PlexAuth).ServerToken.IsZero())
	})
}

// G9: Inspect ends with its context, and leaves nothing running.
func TestInspectEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, BlackHole: true}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := w.Inspect(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))

		cut, cancelNow := context.WithCancel(t.Context())
		cancelNow()
		_, err = w.Inspect(cut)
		require.ErrorIs(t, err, context.Canceled)
		_, err = w.Probe(cut, "192.168.1.5")
		require.ErrorIs(t, err, context.Canceled)
	})
}

// G11: a store that does not answer is named, and plex.tv is not blamed for it.
func TestInspectBesideAStoreThatHangs(t *testing.T) {
	for name, call := range map[string]func(context.Context, *plexauth.PlexAuth) error{
		"Inspect":   func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.Inspect(ctx)) },
		"UseServer": func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.UseServer(ctx, "192.168.1.5")) },
	} {
		for what, hangs := range map[string]hooks{"Load": {beforeLoad: hang}, "Update": {beforeUpdate: hang}} {
			t.Run(name+" "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := linked(t, true)
					w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
					require.NoError(t, errOf(w.Verify(t.Context())))
					store := w.hooked(hangs)
					time.AfterFunc(29*time.Second, func() { store.set(hooks{}) })
					err := call(t.Context(), w.open(t, withStore(store)))
					require.ErrorIs(t, err, plexauth.ErrStore)
					assert.NotErrorIs(t, err, plexauth.ErrUnavailable)
				})
			})
		}
	}
}

// A rate limit of plex.tv does not slow down probes of media servers.
func TestProbeWhileRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1003, Times: -1, Header: http.Header{"Retry-After": {"25"}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.Account(ctx)
		require.Error(t, err)
		start := time.Now()
		_, err = w.Probe(t.Context(), box.Connections[0].URI)
		require.NoError(t, err)
		assert.Zero(t, time.Since(start))
	})
}

// G13: no token is in an error or in the log, whatever fails.
func TestInspectTellsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Box", SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan}})
		token := w.plex.ServerToken(w.alice, box)
		_, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Path: "/", Times: -1, Err: errors.New("cannot send X-Plex-Token: " + token)})
		_, err = w.Probe(t.Context(), "")
		require.Error(t, err)
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), token)
		servers, err := w.Servers(t.Context())
		require.NoError(t, err)
		b, err := json.Marshal(servers)
		require.NoError(t, err)
		for _, out := range []string{fmt.Sprintf("%v %+v %#v", servers, servers, servers), string(b), w.log.String()} {
			assert.NotContains(t, out, token)
			assert.NotContains(t, out, w.plex.Token(w.alice, mustSettings(t, w.PlexAuth).ClientID))
		}
	})
}

// This example lets the person choose among several servers.
func ExamplePlexAuth_Inspect() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	for _, name := range []string{"Living room", "Attic"} {
		plex.AddMediaServer(alice, plextest.MediaServer{Name: name, Connections: []plextest.Connection{{Address: strings.ToLower(strings.Fields(name)[0]) + ".example", Port: 443}}})
	}
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) })
	if err != nil {
		log.Fatal(err)
	}

	settings, err := auth.Inspect(ctx)
	var choice *plexauth.ServerChoiceError
	if errors.As(err, &choice) {
		for _, s := range choice.Servers {
			fmt.Println("Is it", s.Name+"?")
		}
		settings, err = auth.UseServer(ctx, choice.Servers[1].MachineID)
	}
	if err != nil {
		log.Print(err) // settings holds what is known
	}
	fmt.Println("Use", settings.ServerURL, "as account", settings.AccountID)
	// Output:
	// Is it Living room?
	// Is it Attic?
	// Use https://attic.example:443 as account 1
}

// The log names the server that was chosen.
func TestInspectLogsTheServer(t *testing.T) {
	w := served(t, false)
	n := len(w.log.String())
	require.NoError(t, errOf(w.Inspect(t.Context())))
	assert.Contains(t, w.log.String()[n:], ": server chosen")
}
