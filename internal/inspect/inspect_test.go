package inspect_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/inspect"
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
	damaged   bool                            // Load fails
	account   func(ctx context.Context) error // is called by ReadAccount first
	servers   func() []plextv.MediaServer     // nil: plex.tv does not answer
	listHangs bool
	renewal   func() error                    // is called by UsableToken
	hang      func(ctx context.Context) error // is called by Update first
	late      error                           // of Update, after the edit

	asked, listed int      // how often ReadAccount and Servers were called
	secrets       []string // that no error of Update may quote
	logged        []string
}

func newLogin(t *testing.T, document string, servers ...plextv.MediaServer) *login {
	return &login{t: t, document: document, servers: func() []plextv.MediaServer { return servers }}
}

func (l *login) Load(context.Context) (*profile.Profile, error) {
	if l.damaged {
		return nil, fault.ErrStore
	}
	stored, err := profile.Parse([]byte(l.document))
	require.NoError(l.t, err)
	return stored.Document().Profile(profile.DefaultInstance), nil
}

func (l *login) Update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	for _, s := range secrets {
		l.secrets = append(l.secrets, s.Secret())
	}
	if l.hang != nil {
		if err := l.hang(ctx); err != nil {
			return err
		}
	}
	p, err := l.Load(ctx)
	if err == nil {
		err = cmp.Or(edit(p), l.late)
	}
	if err == nil {
		stored, _ := p.Stored()
		l.document = string(stored.Bytes())
	}
	return err
}

func (l *login) ReadAccount(ctx context.Context) error {
	l.asked++
	if l.account != nil {
		if err := l.account(ctx); err != nil {
			return err
		}
	}
	p, err := l.Load(ctx)
	require.NoError(l.t, err)
	p.Adopt(profile.Owner{ID: 7, Name: "Anna", Username: "anna"})
	stored, _ := p.Stored()
	l.document = string(stored.Bytes())
	return nil
}

func (l *login) Servers(ctx context.Context) ([]plextv.MediaServer, error) {
	l.listed++
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
	var failed error
	if l.renewal != nil {
		failed = l.renewal()
	}
	p, err := l.Load(ctx)
	return p.AccountToken(), p.ClientID(), cmp.Or(failed, err)
}

func (l *login) ToChoose([]plextv.MediaServer) error { return errChoose }

func (l *login) Public(err error) error {
	if f, ok := err.(*plextv.Failure); ok {
		return publicError{f}
	}
	return err
}

func (l *login) Info(_ context.Context, what string) { l.logged = append(l.logged, what) }

// network has a media server at some origins, which takes some tokens.
type network struct {
	at    map[string]string        // origin to machine identifier
	fails map[string]error         // origin to the error of a request
	slow  map[string]time.Duration // origin to how long an answer takes
	takes string                   // the token that every server takes; "broken": each fails when it gets one

	mu   sync.Mutex
	sent map[string]string // origin to the token that it got
	got  map[string]int    // origin to how many requests it got
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	origin, token := r.URL.Scheme+"://"+r.URL.Host, r.Header.Get("X-Plex-Token")
	select {
	case <-time.After(n.slow[origin]):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.got == nil {
		n.got = map[string]int{}
	}
	n.got[origin]++
	machine := n.at[origin]
	if machine == "" {
		return nil, cmp.Or(n.fails[origin], errors.New("nothing there"))
	}
	if token != "" {
		if n.sent == nil {
			n.sent = map[string]string{}
		}
		n.sent[origin] = token
	}
	status := http.StatusOK
	switch {
	case r.URL.Path != "/" || token == n.takes:
	case n.takes == "broken":
		return nil, errors.New("broken")
	default:
		status = http.StatusUnauthorized
	}
	body := `{"MediaContainer":{"machineIdentifier":"` + machine + `","version":"1.2"}}`
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (n *network) client() *plextv.Client {
	return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: n}})
}

// fails returns a function that fails.
func fails(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// hangs waits until ctx ends.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
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
		"at home":              {map[string]string{home: "BOX", remote: "BOX"}, []plextv.MediaServer{box}, nil, "", home, nil},
		"on the way":           {map[string]string{remote: "BOX"}, []plextv.MediaServer{box}, nil, "", remote, nil},
		"nowhere":              {nil, []plextv.MediaServer{box}, nil, "", "", fault.ErrUnavailable},
		"another one is there": {map[string]string{home: "OTHER"}, []plextv.MediaServer{box}, nil, "", "", fault.ErrUnavailable},
		"a stranger is chosen": {map[string]string{other: "OTHER"}, []plextv.MediaServer{box}, nil, other, "", fault.ErrServerToken},
		"the store is damaged": {nil, nil, func(l *login) { l.damaged = true }, "", "", fault.ErrStore},
		"two to choose from":   {map[string]string{home: "BOX"}, []plextv.MediaServer{box, second}, nil, "", "", errChoose},
		"one is chosen":        {map[string]string{home: "BOX"}, []plextv.MediaServer{box, second}, nil, "BOX", home, nil},
		"no list":              {map[string]string{home: "BOX"}, nil, func(l *login) { l.servers = nil }, "", "", fault.ErrUnavailable},
		"no account":           {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) { l.account = fails(l.Public(errOff)) }, "", home, fault.ErrUnavailable},
		"too many requests":    {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) { l.account = fails(fault.ErrRateLimited) }, "", home, fault.ErrRateLimited},
		"a slow account":       {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) { l.account = hangs }, "", home, fault.ErrUnavailable},
		"an account at the last moment": {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) {
			l.account = func(context.Context) error { time.Sleep(2 * plextv.AttemptLimit); return nil }
		}, "", home, nil},
		"the store at the last moment": {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) {
			l.hang = func(context.Context) error { time.Sleep(time.Minute); return nil }
		}, "", home, nil},
		"nothing to save":       {map[string]string{home: "BOX"}, []plextv.MediaServer{box, second}, func(l *login) { l.hang = fails(fault.ErrStore) }, "", "", errChoose},
		"the token is rejected": {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) { l.account = fails(fault.ErrTokenRejected) }, "", "", fault.ErrTokenRejected},
		"another login since then": {map[string]string{home: "BOX"}, []plextv.MediaServer{box}, func(l *login) {
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
				for _, other := range []error{fault.ErrUnavailable, fault.ErrStore} {
					assert.Equal(t, c.err == other, errors.Is(err, other), other)
				}
				if err != nil {
					assert.NotContains(t, err.Error(), "could not be saved", "no time is over")
				}
				l.damaged = false
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
		"the store": {func(l *login) { l.hang = hangs }, fault.ErrStore},
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

// The account is asked for only if its number, its name or the user is not known.
func TestInspectAsksForTheAccount(t *testing.T) {
	bound := fmt.Sprintf(`{"account_token":"TEST_t","client_id":"app","_cloud":{"account_id":7,"bound_to":%q`, secret.Fingerprint(secret.New("TEST_t")))
	for name, c := range map[string]struct {
		document string
		asked    int
	}{
		"all is known":       {bound + `,"user":{"id":7,"name":"Anna"}},"username":"Anna"}`, 0},
		"no number":          {`{"account_token":"TEST_t","client_id":"app","username":"Anna"}`, 1},
		"no user":            {bound + `,"user":{"id":7,"name":"Anna"}}}`, 1},
		"no account's name":  {bound + `},"username":"kid","_home_user":{"id":55,"name":"kid","account":7}}`, 1},
		"nothing but tokens": {onlyToken, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, n := newLogin(t, c.document, box), &network{at: map[string]string{home: "BOX"}}
				require.NoError(t, inspect.Inspect(t.Context(), n.client(), l, ""))
				assert.Equal(t, c.asked, l.asked)
			})
		})
	}
}

// A choice is logged once, after it has been saved. No error of the store may quote the
// server's token.
func TestInspectLogsItsChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, n := newLogin(t, onlyToken, box), &network{at: map[string]string{home: "BOX"}}
		l.late = fault.ErrStore
		require.ErrorIs(t, inspect.Inspect(t.Context(), n.client(), l, ""), fault.ErrStore)
		assert.Empty(t, l.logged, "it was not saved")
		assert.Equal(t, []string{"TEST_box"}, l.secrets)

		l.late = nil
		require.NoError(t, inspect.Inspect(t.Context(), n.client(), l, ""))
		require.NoError(t, inspect.Inspect(t.Context(), n.client(), l, ""))
		assert.Equal(t, []string{"server chosen: Box"}, l.logged)

		l.hang = func(context.Context) error { time.Sleep(time.Minute); return nil }
		assert.NoError(t, inspect.Inspect(t.Context(), n.client(), l, ""), "it was saved, although late")
	})
}

// G14: the server of another account is removed, also if no other can be chosen.
func TestInspectDropsAnotherAccountsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, strings.Replace(saved, `"account":7`, `"account":8`, 1))
		require.ErrorIs(t, inspect.Inspect(t.Context(), (&network{}).client(), l, ""), errChoose)
		p, _ := l.Load(t.Context())
		assert.Empty(t, p.SavedServer().MachineID)
		assert.True(t, p.ServerToken().IsZero())
		assert.Empty(t, l.logged)
	})
}

// A typed address stays if nothing answers there.
func TestInspectKeepsATypedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, `{"account_token":"TEST_t","client_id":"app","server_url":"`+other+`"}`, box)
		require.ErrorIs(t, inspect.Inspect(t.Context(), (&network{}).client(), l, ""), fault.ErrUnavailable)
		p, _ := l.Load(t.Context())
		assert.Equal(t, other, p.SavedServer().URL)
		assert.Empty(t, l.secrets)
	})
}

// The machine is looked for after the saved address if that may not be its own, unless a
// server of the account answers there.
func TestInspectFallsBack(t *testing.T) {
	document := `{"account_token":"TEST_t","client_id":"app","machine_id":"BOX","server_url":"` + other + `","server_url_found":"` + other + `"}`
	for name, c := range map[string]struct {
		document string
		at       map[string]string
		url      string
		atHome   int // requests
	}{
		"nothing at the address":           {document, map[string]string{home: "BOX"}, home, 1},
		"a stranger at the address":        {document, map[string]string{home: "BOX", other: "OTHER"}, home, 1},
		"it is there":                      {document, map[string]string{home: "BOX", other: "BOX"}, other, 0},
		"they belong together, it is gone": {saved, nil, home, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, n := newLogin(t, c.document, box), &network{at: c.at}
				assert.Equal(t, c.at == nil, inspect.Inspect(t.Context(), n.client(), l, "") != nil)
				p, _ := l.Load(t.Context())
				assert.Equal(t, c.url, p.SavedServer().URL)
				assert.Equal(t, c.atHome, n.got[home])
			})
		})
	}
}

// G9: the end of the caller's context is its own error. Nothing is saved after it.
func TestInspectEndsWithItsContext(t *testing.T) {
	for name, change := range map[string]func(*login, *network){
		"at the account": func(l *login, _ *network) { l.account = hangs },
		"at the list":    func(l *login, _ *network) { l.listHangs = true },
		"at the server":  func(_ *login, n *network) { n.slow = map[string]time.Duration{home: time.Minute, remote: time.Minute} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, n := newLogin(t, onlyToken, box), &network{at: map[string]string{home: "BOX"}}
				change(l, n)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				err := inspect.Inspect(ctx, n.client(), l, "")
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, fault.ErrUnavailable)
				p, _ := l.Load(t.Context())
				assert.Empty(t, p.SavedServer().MachineID)
			})
		})
	}
}
