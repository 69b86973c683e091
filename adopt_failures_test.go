package plexauth_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
)

// G29, G10, G13: where plex.tv does not accept the token or does not answer, nothing is
// saved, the login that is there stays, and a pending one goes on.
func TestAdoptFails(t *testing.T) {
	for name, test := range map[string]struct {
		fault plextest.Fault
		want  error
	}{
		"rejected":     {plextest.Fault{Code: 1001}, plexauth.ErrTokenRejected},
		"expired":      {plextest.Fault{Status: 498, Code: 498, Message: "The token has expired"}, plexauth.ErrTokenExpired},
		"rate-limited": {plextest.Fault{Code: 1003}, plexauth.ErrRateLimited},
		"refused":      {plextest.Fault{Code: 1013}, plexauth.ErrUnavailable},
		"down":         {plextest.Fault{Status: 502, Body: "<html>", ContentType: "text/html"}, plexauth.ErrUnavailable},
		"reset":        {plextest.Fault{Reset: true}, plexauth.ErrUnavailable},
		"not its API":  {plextest.Fault{Body: "{}", ContentType: "application/json"}, plexauth.ErrUnavailable},
	} {
		for _, before := range []string{"no login", "bob's login"} {
			t.Run(name+" over "+before, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					if before != "no login" {
						w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
					}
					pin := start(t, w)
					doc, token := w.doc(t), w.issued(w.alice, elsewhere)
					test.fault.Path, test.fault.Times = "/api/v2/user", -1
					w.plex.Inject(test.fault)
					s, err := w.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: elsewhere, SwitchAccount: true})
					require.ErrorIs(t, err, test.want)
					assert.Equal(t, before != "no login", s.Connected)
					assert.Equal(t, doc, w.doc(t))
					secrets := canary.New()
					secrets.Add("adopted token", token.Secret())
					w.assertHidden(t, secrets, err)

					w.plex.ResetFaults()
					time.Sleep(time.Minute)
					require.NoError(t, w.plex.Approve(pin.Code, w.bob))
					s, err = w.Wait(t.Context())
					require.NoError(t, err)
					assert.Equal(t, "bob", s.User)
				})
			})
		}
	}
}

// G29: Adopt succeeds once the token is stored, even if the store cannot be read after that,
// and says so in the log.
func TestAdoptThenStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		store.set(hooks{afterUpdate: does(func() { store.set(hooks{beforeLoad: fails(errDisk)}) })})
		s := adopt(t, w.open(t, withStore(store)), w.issued(w.alice, elsewhere), elsewhere)
		assert.Equal(t, "alice", s.User)
		assert.Contains(t, w.log.String(), "login of another program taken over")
	})
}

// G12, G29: the caller's context ends Adopt while another call of the profile has its turn.
func TestAdoptWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Hang: true})
		starting, stop := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() { assert.ErrorIs(t, errOf(w.Start(starting, plexauth.PinOptions{})), context.Canceled) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.Adopt(ctx, w.issued(w.alice, elsewhere), plexauth.AdoptOptions{ClientID: elsewhere})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Zero(t, w.count("GET", "/api/v2/user"))
		stop()
		calls.Wait()
	})
}

// G29, G8: an approved login that cannot be finished first, because plex.tv does not tell its
// account, ends Adopt. Both can be done later.
func TestAdoptCannotFinishAnApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		answers := &verdict{RoundTripper: w.plex.Client().Transport, token: w.plex.Token(w.alice, mustSettings(t, w.PlexAuth).ClientID), path: "/api/v2/user", status: 503, body: "{}"}
		p := w.open(t, withTransport(answers), noRetries)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		token := w.issued(w.alice, elsewhere)
		_, err := p.Adopt(ctx, token, plexauth.AdoptOptions{ClientID: elsewhere})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.NoError(t, ctx.Err())
		adopt(t, w.PlexAuth, token, elsewhere)
		assert.NoError(t, errOf(w.Instance("sibling").Verify(t.Context())))
	})
}

// G18, G29: a read of the store that fails before the token is saved ends Adopt, and nothing changes.
func TestAdoptCannotReadTheStore(t *testing.T) {
	for nth := int64(1); nth <= 5; nth++ {
		t.Run(fmt.Sprintf("read %d", nth), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := pendingBesideASibling(t)
				doc, token := w.doc(t), w.issued(w.bob, elsewhere)
				p := w.open(t, withStore(w.hooked(hooks{beforeLoad: calls(nth, nth, fails(errDisk))})))
				_, err := p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: elsewhere})
				require.ErrorIs(t, err, plexauth.ErrStore)
				assert.Equal(t, doc, w.doc(t))
			})
		})
	}
}

// G12, G29: the context ends Adopt once it has finished an approved login.
func TestAdoptEndsAfterAnApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := w.open(t, withStore(w.hooked(hooks{afterUpdate: does(func() {
			if w.stored(t)["_pending_pin"] == nil {
				cancel()
			}
		})})))
		token := w.issued(w.alice, elsewhere)
		_, err := p.Adopt(ctx, token, plexauth.AdoptOptions{ClientID: elsewhere})
		require.ErrorIs(t, err, context.Canceled)
		have := mustSettings(t, w.PlexAuth).AccountToken
		assert.False(t, have.IsZero() || have.Equal(token), "the approved login is saved")
	})
}

// untiringStore reads also for a context that has ended.
type untiringStore struct{ plexauth.ConfigStore }

func (s untiringStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	return s.ConfigStore.Load(context.WithoutCancel(ctx), ns)
}

// G12, G29: the context ends Adopt between two attempts, even if the store can still be read and
// another process has adopted the token.
func TestAdoptEndsBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		w.replicas = true
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		token := w.issued(w.alice, elsewhere)
		p := w.open(t, withStore(untiringStore{w.hooked(hooks{afterUpdate: does(func() {
			if w.stored(t)["_pending_pin"] == nil && ctx.Err() == nil {
				adopt(t, w.open(t), token, elsewhere)
				cancel()
			}
		})})}))
		_, err := p.Adopt(ctx, token, plexauth.AdoptOptions{ClientID: elsewhere})
		require.ErrorIs(t, err, context.Canceled)
	})
}
