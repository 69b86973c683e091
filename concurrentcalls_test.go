package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G6: after a restart, too, only one caller at a time looks at a PIN. The world
// reports looks that overlap.
func TestOneLookAtATimeAfterARestart(t *testing.T) {
	call := func(ctx context.Context, p *plexauth.PlexAuth, name string) {
		if name == "SignOut" {
			_, _ = p.SignOut(ctx)
			return
		}
		_ = loginCalls[name](ctx, p)
	}
	for _, first := range []string{"Start", "Cancel", "Finish", "SignOut"} {
		for _, next := range []string{"Start", "Cancel", "Finish", "Wait", "SignOut"} {
			t.Run(first+" and "+next, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					_, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					time.Sleep(5 * time.Second)
					p := w.open(t)
					w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Times: -1, Delay: 1900 * time.Millisecond})
					ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
					defer cancel()
					var both sync.WaitGroup
					both.Go(func() { call(ctx, p, first) })
					synctest.Wait()
					time.Sleep(time.Second)
					both.Go(func() { call(ctx, p, next) })
					both.Wait()
				})
			})
		}
	}
}

// panicking is a transport and a store that panic at one of their uses.
type panicking struct {
	http.RoundTripper
	plexauth.ConfigStore
	what string
	left int
}

func (p *panicking) use(what string) {
	if p.what != what {
		return
	}
	if p.left--; p.left == 0 {
		panic("a " + what + " of the program's")
	}
}

func (p *panicking) RoundTrip(r *http.Request) (*http.Response, error) {
	p.use("request")
	return p.RoundTripper.RoundTrip(r)
}

func (p *panicking) Load(ctx context.Context, ns string) (jsonRaw, error) {
	p.use("load")
	return p.ConfigStore.Load(ctx, ns)
}

func (p *panicking) Update(ctx context.Context, ns string, edit edit) error {
	p.use("update")
	return p.ConfigStore.Update(ctx, ns, func(current jsonRaw) (jsonRaw, error) {
		p.use("edit")
		return edit(current)
	})
}

// G8: a panic in the caller's transport or store, which an HTTP server recovers, does
// not block the next login.
func TestPanicBlocksNoLogin(t *testing.T) {
	for name, call := range loginCalls {
		for _, what := range []string{"request", "load", "update", "edit"} {
			for n := 1; n <= 5; n++ {
				for _, approved := range []bool{false, true} {
					t.Run(fmt.Sprint(name, what, n, approved), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							w := newWorld(t)
							w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
							x := &panicking{ConfigStore: w.store}
							p := w.open(t, func(o *plexauth.Options) {
								x.RoundTripper, o.HTTPClient, o.Store = o.HTTPClient.Transport, &http.Client{Transport: x}, x
							})
							w.replicas = true // after a panic it is not known when the last look left
							pin, err := p.Start(t.Context(), plexauth.PinOptions{})
							require.NoError(t, err)
							if approved {
								require.NoError(t, w.plex.Approve(pin.Code, w.alice))
							}
							ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
							defer cancel()
							x.what, x.left = what, n
							func() {
								defer func() { _ = recover() }()
								_ = call(ctx, p)
							}()
							x.what = ""
							ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
							defer cancel()
							pin, err = p.Start(ctx, plexauth.PinOptions{Strong: true})
							require.NoError(t, err)
							require.NoError(t, w.plex.Approve(pin.Code, w.alice))
							s, err := p.Wait(ctx)
							require.NoError(t, err)
							assert.True(t, s.Connected)
							time.Sleep(time.Minute) // net/http ends a request that panicked at its timeout
						})
					})
				}
			}
		}
	}
}

// G10: two callers, in one process or two, handle one approval by another account. The
// slower one gets the mismatch, too, and does not take the revoked token for the
// profile's.
func TestMismatchReachesAllCallers(t *testing.T) {
	for name := range loginCalls {
		for _, elsewhere := range []bool{false, true} {
			for _, asked := range []bool{false, true} {
				t.Run(fmt.Sprint(name, elsewhere, asked), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testMismatch(t, name, elsewhere, asked) })
				})
			}
		}
	}
}

// testMismatch makes Verify meet the slower call of that name, in the same process or
// elsewhere, before or after that call has read the account.
func testMismatch(t *testing.T, name string, elsewhere, asked bool) {
	w := newWorld(t)
	w.replicas = true
	w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.bob))
	w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502})
	_, err = w.open(t, noRetries).Finish(t.Context())
	require.ErrorIs(t, err, plexauth.ErrUnavailable) // the token is parked

	var met atomic.Bool
	var first *plexauth.PlexAuth
	meet := func() {
		if !met.Swap(true) {
			assert.ErrorIs(t, errOf(first.Verify(t.Context())), plexauth.ErrAccountMismatch)
		}
	}
	p := w.open(t, func(o *plexauth.Options) {
		next := o.HTTPClient.Transport
		o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path != "/api/v2/user" {
				return next.RoundTrip(r)
			}
			if !asked {
				meet()
			}
			resp, err := next.RoundTrip(r)
			if asked {
				meet()
			}
			return resp, err
		})}
	})
	if first = p; elsewhere {
		first = w.open(t)
	}
	time.Sleep(2 * time.Second)
	err = loginCalls[name](t.Context(), p)
	if name == "Start" || name == "Cancel" { // these go on, as after any other end of a login
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
	}
	assert.NotErrorIs(t, err, plexauth.ErrTokenRejected)
	s, err := p.Status(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Connected)
	assert.False(t, s.NeedsLogin)
	assert.Equal(t, "alice", s.User)
}
