package inspect_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
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
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Addresses of the server BOX, and one of another.
const (
	home   = "https://192.168.1.5:32400"
	remote = "https://box.example:32400"
	other  = "https://192.168.1.6:32400"
)

// What is stored: a token, or also the server BOX, found at home.
const (
	onlyToken = `{"account_token":"TEST_t","client_id":"app"}`
	saved     = `{"account_token":"TEST_t","client_id":"app","machine_id":"BOX","server_url":"` + home + `","server_url_found":"` + home + `","pms_token":"TEST_box","pms_token_server":"` + home + `","_server_account":{"account":7,"url":"` + home + `","machine_id":"BOX","owner":7}}`
)

var (
	errChoose = errors.New("choose one")
	errOff    = &plextv.Failure{Op: "test", Where: "plex.tv", Sentinel: fault.ErrUnavailable, Temporary: true}
)

// box is the account's own server, with two addresses.
var box = plextv.MediaServer{Name: "Box", MachineID: "BOX", Owned: true, Token: secret.New("TEST_box"), Connections: []plextv.Connection{
	{URI: home, Address: "192.168.1.5", Port: 32400, Local: true}, {URI: remote, Address: "box.example", Port: 32400},
}}

// publicError is a failure in the form that callers see.
type publicError struct{ error }

func (e publicError) Unwrap() error { return e.error }

// login is the login of the account 7.
type login struct {
	t         *testing.T
	document  string
	account   error                           // of ReadAccount
	servers   func() []plextv.MediaServer     // nil: plex.tv does not answer
	hang      func(ctx context.Context) error // is called by Update first
	listHangs bool
}

func newLogin(t *testing.T, document string, servers ...plextv.MediaServer) *login {
	return &login{t: t, document: document, servers: func() []plextv.MediaServer { return servers }}
}

func (l *login) Load(context.Context) (*profile.Profile, error) {
	stored, err := profile.Parse([]byte(l.document))
	require.NoError(l.t, err)
	return stored.Document().Profile(profile.DefaultInstance), nil
}

func (l *login) Update(ctx context.Context, edit func(*profile.Profile) error, _ ...secret.Value) error {
	if l.hang != nil {
		if err := l.hang(ctx); err != nil {
			return err
		}
	}
	p, err := l.Load(ctx)
	if err == nil {
		err = edit(p)
	}
	if err == nil {
		stored, _ := p.Stored()
		l.document = string(stored.Bytes())
	}
	return err
}

func (l *login) ReadAccount(ctx context.Context) error {
	if l.account != nil {
		return l.account
	}
	p, err := l.Load(ctx)
	require.NoError(l.t, err)
	p.Adopt(profile.Owner{ID: 7, Name: "Anna", Username: "anna"})
	stored, _ := p.Stored()
	l.document = string(stored.Bytes())
	return nil
}

func (l *login) Servers(ctx context.Context) ([]plextv.MediaServer, error) {
	if l.listHangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l.servers == nil {
		return nil, l.Public(errOff)
	}
	return l.servers(), nil
}

func (l *login) UsableToken(ctx context.Context) (secret.Value, string, error) {
	p, err := l.Load(ctx)
	return p.AccountToken(), p.ClientID(), err
}

func (l *login) ToChoose([]plextv.MediaServer) error { return errChoose }

func (l *login) Public(err error) error {
	if f, ok := err.(*plextv.Failure); ok {
		return publicError{f}
	}
	return err
}

func (l *login) Info(context.Context, string) {}

// network has a media server at some origins, which takes some tokens.
type network struct {
	at    map[string]string // origin to machine identifier
	takes string            // the token that every server takes

	mu   sync.Mutex
	sent map[string]string // origin to the token that it got
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	origin, token := r.URL.Scheme+"://"+r.URL.Host, r.Header.Get("X-Plex-Token")
	machine := n.at[origin]
	if machine == "" {
		return nil, errors.New("nothing there")
	}
	if token != "" {
		if n.sent == nil {
			n.sent = map[string]string{}
		}
		n.sent[origin] = token
	}
	status := http.StatusOK
	if r.URL.Path == "/" && token != n.takes {
		status = http.StatusUnauthorized
	}
	body := `{"MediaContainer":{"machineIdentifier":"` + machine + `","version":"1.2"}}`
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (n *network) client() *plextv.Client {
	return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: n}})
}

// G25: the account's server is saved once it has answered. Each thing that could not be
// found out is an error, and the rest is saved.
func TestInspect(t *testing.T) {
	second := box
	second.MachineID = "SECOND"
	for name, c := range map[string]struct {
		at      map[string]string
		servers []plextv.MediaServer
		change  func(*login)
		wanted  string
		url     string // saved afterwards
		err     error
	}{
		"at home":               {map[string]string{home: "BOX", remote: "BOX"}, []plextv.MediaServer{box}, nil, "", home, nil},
		"on the way":            {map[string]string{remote: "BOX"}, []plextv.MediaServer{box}, nil, "", remote, nil},
		"nowhere":               {nil, []plextv.MediaServer{box}, nil, "", "", fault.ErrUnavailable},
		"another one is there":  {map[string]string{home: "OTHER"}, []plextv.MediaServer{box}, nil, "", "", fault.ErrUnavailable},
		"two to choose from":    {map[string]string{home: "BOX"}, []plextv.MediaServer{box, second}, nil, "", "", errChoose},
		"one is chosen":         {map[string]string{home: "BOX"}, []plextv.MediaServer{box, second}, nil, "BOX", home, nil},
		"no list":               {map[string]string{home: "BOX"}, nil, func(l *login) { l.servers = nil }, "", "", fault.ErrUnavailable},
		"no account":            {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) { l.account = l.Public(errOff) }, "", home, fault.ErrUnavailable},
		"the token is rejected": {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) { l.account = fault.ErrTokenRejected }, "", "", fault.ErrTokenRejected},
		"another login meanwhile": {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) {
			l.servers = func() []plextv.MediaServer {
				l.document = `{"account_token":"TEST_u"}`
				return []plextv.MediaServer{box}
			}
		}, "", "", profile.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, n := newLogin(t, onlyToken, c.servers...), &network{at: c.at}
				if c.change != nil {
					c.change(l)
				}
				err := inspect.Inspect(t.Context(), n.client(), l, c.wanted)
				assert.ErrorIs(t, err, c.err)
				p, _ := l.Load(t.Context())
				assert.Equal(t, c.url, p.SavedServer().URL)
				if c.url != "" {
					assert.Equal(t, "TEST_box", p.ServerToken().Secret())
				}
				assert.Empty(t, n.sent, "a probe carries no token")
			})
		})
	}
}

// Inspect ends after half a minute, and says whether plex.tv or the store was too slow.
func TestInspectTakesTooLong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*login)
		err    error
	}{
		"plex.tv":   {func(l *login) { l.listHangs = true }, fault.ErrUnavailable},
		"the store": {func(l *login) { l.hang = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } }, fault.ErrStore},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, n := newLogin(t, onlyToken, box), &network{at: map[string]string{home: "BOX"}}
				c.change(l)
				began := time.Now()
				assert.ErrorIs(t, inspect.Inspect(t.Context(), n.client(), l, ""), c.err)
				assert.Equal(t, 30*time.Second, time.Since(began))
			})
		})
	}
}

// G14: the saved token is tried at the saved address alone, and tells whether the server
// takes it.
func TestProbe(t *testing.T) {
	all := map[string]string{home: "BOX", remote: "BOX", other: "OTHER"}
	for name, c := range map[string]struct {
		document, address string
		at                map[string]string
		url, machine      string
		token             map[string]string // that the servers got
		err               error
	}{
		"the saved server":     {saved, "", all, home, "BOX", map[string]string{home: "TEST_box"}, nil},
		"it has moved":         {saved, "", map[string]string{remote: "BOX"}, remote, "BOX", nil, nil},
		"another one is there": {saved, "", map[string]string{home: "OTHER"}, "", "OTHER", nil, choice.ErrAnotherServer},
		"nothing is there":     {saved, "", nil, "", "", nil, fault.ErrUnavailable},
		"none is saved":        {onlyToken, "", all, "", "", nil, fault.ErrServerChoice},
		"typed":                {onlyToken, " " + other + " ", all, other, "OTHER", nil, nil},
		"typed, but not ours":  {saved, other, all, "", "OTHER", nil, fault.ErrUnavailable},
		"typed, another way":   {saved, remote, all, remote, "BOX", nil, nil},
		"no address":           {saved, "http://", all, "", "", nil, mediaserver.ErrNoAddress},
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
				assert.Equal(t, before, l.document)
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

// G24: whether a server takes the account's JWT is tried where there is no other token,
// and saved.
func TestProbeTriesJWT(t *testing.T) {
	e := base64.RawURLEncoding.EncodeToString
	jwt := e([]byte(`{"alg":"EdDSA"}`)) + "." + e([]byte(`{"user":{"id":7}}`)) + ".c2ln"
	document := strings.NewReplacer("TEST_t", jwt, `"pms_token":"TEST_box",`, "").Replace(saved)
	server := box
	server.Token, server.OnlyJWT = secret.Value{}, true
	synctest.Test(t, func(t *testing.T) {
		l, n := newLogin(t, document, server), &network{at: map[string]string{home: "BOX"}, takes: jwt}
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
