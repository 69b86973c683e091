package inspect_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/inspect"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// G14: the saved token is tried at the saved address alone, and tells whether the server
// takes it.
func TestProbe(t *testing.T) {
	all := map[string]string{home: "BOX", remote: "BOX", other: "OTHER"}
	for name, c := range map[string]struct {
		document, address string
		at                map[string]string
		url, machine      string
		token             map[string]string // that the servers got
		listed            int               // how often plex.tv was asked for the servers
		err               error
	}{
		"the saved server":         {saved, "", all, home, "BOX", map[string]string{home: "TEST_box"}, 1, nil},
		"it has moved":             {saved, "", map[string]string{remote: "BOX"}, remote, "BOX", nil, 1, nil},
		"another one is there":     {saved, "", map[string]string{home: "OTHER"}, "", "OTHER", nil, 1, choice.ErrAnotherServer},
		"nothing is there":         {saved, "", nil, "", "", nil, 1, fault.ErrUnavailable},
		"none is saved":            {onlyToken, "", all, "", "", nil, 0, fault.ErrServerChoice},
		"typed":                    {onlyToken, " " + other + " ", all, other, "OTHER", nil, 0, nil},
		"typed, but not ours":      {saved, other, all, "", "OTHER", nil, 0, fault.ErrUnavailable},
		"typed, another way":       {saved, remote, all, remote, "BOX", nil, 0, nil},
		"no address":               {saved, "http://", all, "", "", nil, 0, mediaserver.ErrNoAddress},
		"another one elsewhere":    {saved, "", map[string]string{remote: "OTHER"}, "", "OTHER", nil, 1, fault.ErrUnavailable},
		"two others":               {saved, "", map[string]string{home: "OTHER", remote: "THIRD"}, "", "OTHER", nil, 1, choice.ErrAnotherServer},
		"no token is saved":        {strings.Replace(saved, `"pms_token":"TEST_box",`, "", 1), "", all, home, "BOX", nil, 1, nil},
		"only a machine is saved":  {`{"account_token":"TEST_t","client_id":"app","machine_id":"BOX"}`, "", all, home, "BOX", nil, 1, nil},
		"only an address is saved": {strings.Replace(saved, `"machine_id":"BOX","server_url"`, `"server_url"`, 1), "", all, home, "BOX", nil, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, n := newLogin(t, c.document, box), &network{at: c.at, takes: "TEST_box"}
				require.NoError(t, l.ReadAccount(t.Context()))
				before := l.document
				r, err := inspect.Probe(t.Context(), n.client(), l, c.address)
				assert.ErrorIs(t, err, c.err)
				assert.Equal(t, c.url, r.URL)
				assert.Equal(t, c.machine, r.MachineID)
				assert.Equal(t, c.token, n.sent)
				assert.Equal(t, c.token != nil, r.TokenAccepted)
				assert.Equal(t, c.listed, l.listed)
				assert.Equal(t, before, l.document)
				assert.Equal(t, c.err == nil || errors.Is(c.err, fault.ErrUnavailable) || c.err == choice.ErrAnotherServer, len(r.Addresses) > 0)
				assert.Equal(t, c.err == choice.ErrAnotherServer, errors.Is(err, choice.ErrAnotherServer))
				for _, a := range r.Addresses {
					if a.Err != nil {
						assert.ErrorAs(t, a.Err, new(publicError), a.URL)
					}
				}
			})
		})
	}
}

// A token that the server refuses is not a server that does not answer.
func TestProbeRefusedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, n := newLogin(t, saved, box), &network{at: map[string]string{home: "BOX"}}
		require.NoError(t, l.ReadAccount(t.Context()))
		r, err := inspect.Probe(t.Context(), n.client(), l, "")
		assert.ErrorIs(t, err, fault.ErrServerToken)
		assert.ErrorAs(t, err, new(publicError))
		assert.Equal(t, home, r.URL)
		assert.False(t, r.TokenAccepted)
	})
}

// The saved address is tried even if plex.tv does not answer.
func TestProbeWithoutPlexTV(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, n := newLogin(t, saved), &network{at: map[string]string{home: "BOX"}, takes: "TEST_box"}
		l.listHangs = true
		began := time.Now()
		r, err := inspect.Probe(t.Context(), n.client(), l, "")
		require.NoError(t, err)
		assert.True(t, r.TokenAccepted)
		assert.Less(t, time.Since(began), 10*time.Second)
	})
}

// withJWT is a document with a device key's JWT, for a server that has no other token.
var (
	jwt     = b64(`{"alg":"EdDSA"}`) + "." + b64(`{"user":{"id":7}}`) + ".c2ln"
	withJWT = strings.NewReplacer("TEST_t", jwt, `"pms_token":"TEST_box",`, "").Replace(saved)
)

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// onlyJWT returns box, for which plex.tv gives no other token than a JWT.
func onlyJWT() plextv.MediaServer {
	s := box
	s.Token, s.OnlyJWT = secret.Value{}, true
	return s
}

// G24: whether a server takes the account's JWT is tried where there is no other token,
// and saved.
func TestProbeTriesJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, n := newLogin(t, withJWT, onlyJWT()), &network{at: map[string]string{home: "BOX"}, takes: jwt}
		require.NoError(t, l.ReadAccount(t.Context()))
		r, err := inspect.Probe(t.Context(), n.client(), l, "")
		require.NoError(t, err)
		assert.True(t, r.TokenAccepted)
		p, _ := l.Load(t.Context())
		assert.Equal(t, jwt, p.SavedServer().Token.Secret())

		n.takes = "none"
		_, err = inspect.Probe(t.Context(), n.client(), l, "")
		assert.ErrorIs(t, err, fault.ErrServerToken)
		assert.ErrorIs(t, err, choice.ErrNeedsLongLived)
		p, _ = l.Load(t.Context())
		assert.True(t, p.SavedServer().Token.IsZero())
	})
}

// probed probes the saved server of l in n.
func probed(t *testing.T, l *login, n *network) (r inspect.Result, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err = inspect.Probe(t.Context(), n.client(), l, "")
	})
	return r, err
}

// A person sees what becomes of each address, also of a slow one that is not needed.
func TestProbeWaitsForAllAddresses(t *testing.T) {
	r, err := probed(t, newLogin(t, saved, box), &network{
		at: map[string]string{home: "BOX", remote: "BOX"}, slow: map[string]time.Duration{remote: time.Second / 2}, takes: "TEST_box",
	})
	require.NoError(t, err)
	require.Len(t, r.Addresses, 3)
	assert.True(t, r.Addresses[2].OK)
}

// Relay means that no other address answers, also if the relay's was typed.
func TestProbeRelay(t *testing.T) {
	const relay = "https://relay.example:8443"
	relayed := box
	relayed.Connections = append([]plextv.Connection{{URI: relay, Relay: true}}, box.Connections...)
	document := `{"account_token":"TEST_t","client_id":"app","machine_id":"BOX","server_url":"` + relay + `"}`
	for name, c := range map[string]struct {
		at    map[string]string
		relay bool
	}{
		"only the relay":              {map[string]string{relay: "BOX"}, true},
		"the relay and the server":    {map[string]string{relay: "BOX", remote: "BOX"}, false},
		"the relay, another at home":  {map[string]string{relay: "BOX", home: "OTHER"}, true},
		"the relay where it is saved": {map[string]string{relay: "BOX", home: "BOX"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := probed(t, newLogin(t, document, relayed), &network{at: c.at})
			require.NoError(t, err)
			assert.Equal(t, relay, r.URL)
			assert.Equal(t, c.relay, r.Relay)
		})
	}
}

// The expected server is not named as another one if it answers only where https is broken.
func TestProbeBadHTTPS(t *testing.T) {
	r, err := probed(t, newLogin(t, saved, box), &network{
		at:    map[string]string{"http://192.168.1.5:32400": "BOX"},
		fails: map[string]error{home: &tls.CertificateVerificationError{Err: errors.New("expired")}},
	})
	require.ErrorIs(t, err, fault.ErrUnavailable)
	assert.Empty(t, r.MachineID)
}

// Without a saved address nothing can be probed if plex.tv does not list the server.
func TestProbeOnlyAMachineWithoutPlexTV(t *testing.T) {
	document := `{"account_token":"TEST_t","client_id":"app","machine_id":"BOX"}`
	for name, hang := range map[string]bool{"it fails": false, "it hangs": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogin(t, document)
				l.servers, l.listHangs = nil, hang
				began := time.Now()
				_, err := inspect.Probe(t.Context(), (&network{}).client(), l, "")
				require.ErrorIs(t, err, fault.ErrUnavailable)
				assert.NotErrorAs(t, err, new(*mediaserver.UnreachableError))
				if hang {
					assert.Equal(t, plextv.AttemptLimit, time.Since(began))
				}
			})
		})
	}
}

// A failure that is not due to the server is not its failure.
func TestProbeFails(t *testing.T) {
	l := newLogin(t, saved, box)
	l.damaged = true
	_, err := probed(t, l, &network{})
	require.ErrorIs(t, err, fault.ErrStore)

	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := &network{at: map[string]string{home: "BOX"}, slow: map[string]time.Duration{home: time.Minute, remote: time.Minute}}
		r, err := inspect.Probe(ctx, n.client(), newLogin(t, saved, box), "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, fault.ErrUnavailable)
		assert.Len(t, r.Addresses, 3)
	})
}

// A friend's server that is not listed any more, and refuses its token, is not shared any
// more. One that only fails may be.
func TestProbeNotShared(t *testing.T) {
	document := strings.Replace(saved, `"owner":7`, `"owner":99`, 1)
	for takes, notShared := range map[string]bool{"another": true, "broken": false} {
		t.Run(takes, func(t *testing.T) {
			l := newLogin(t, document)
			l.servers = func() []plextv.MediaServer { return []plextv.MediaServer{} }
			_, err := probed(t, l, &network{at: map[string]string{home: "BOX"}, takes: takes})
			require.Error(t, err)
			assert.Equal(t, notShared, errors.Is(err, choice.ErrNotShared))
			assert.Equal(t, notShared, errors.Is(err, fault.ErrServerToken))
		})
	}
}

// G24: a JWT is tried only where it is the only token of the account's own server, and what
// the server says is saved only for the login and the server that were tried.
func TestProbeTriesNoJWT(t *testing.T) {
	friends := onlyJWT()
	friends.Owned, friends.OwnerID = false, 99
	errRenewal := errors.New("not renewed")
	anotherLogin := func(l *login) { l.document = strings.Replace(l.document, jwt, "TEST_u", 1) }
	for name, c := range map[string]struct {
		document string
		server   plextv.MediaServer
		change   func(*login, *network)
		sent     map[string]string
		accepted bool
		err      error
	}{
		"at another address":       {withJWT, onlyJWT(), func(_ *login, n *network) { n.at = map[string]string{remote: "BOX"} }, nil, false, nil},
		"at a friend's server":     {strings.Replace(withJWT, `"owner":7`, `"owner":99`, 1), friends, nil, nil, false, nil},
		"beside a saved token":     {strings.Replace(saved, "TEST_t", jwt, 1), onlyJWT(), func(_ *login, n *network) { n.takes = "TEST_box" }, map[string]string{home: "TEST_box"}, true, nil},
		"a token of the server's":  {withJWT, box, nil, nil, false, nil},
		"it cannot be renewed":     {withJWT, onlyJWT(), func(l *login, _ *network) { l.renewal = func() error { return errRenewal } }, nil, false, errRenewal},
		"another login since then": {withJWT, onlyJWT(), func(l *login, _ *network) { l.renewal = func() error { anotherLogin(l); return nil } }, nil, false, nil},
		"the server fails":         {withJWT, onlyJWT(), func(_ *login, n *network) { n.takes = "broken" }, map[string]string{home: jwt}, false, fault.ErrUnavailable},
		"another login afterwards": {withJWT, onlyJWT(), func(l *login, _ *network) { l.hang = func(context.Context) error { anotherLogin(l); return nil } }, map[string]string{home: jwt}, true, nil},
		"another server afterwards": {withJWT, onlyJWT(), func(l *login, _ *network) {
			l.hang = func(context.Context) error { l.document = strings.ReplaceAll(l.document, "BOX", "OTHER"); return nil }
		}, map[string]string{home: jwt}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l, n := newLogin(t, c.document, c.server), &network{at: map[string]string{home: "BOX"}, takes: jwt}
			require.NoError(t, l.ReadAccount(t.Context()))
			if c.change != nil {
				c.change(l, n)
			}
			r, err := probed(t, l, n)
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, c.sent, n.sent)
			assert.Equal(t, c.accepted, r.TokenAccepted)
			assert.NotContains(t, l.document, "_jwt_server")
		})
	}
}
