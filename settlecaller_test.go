package plexauth_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G6: a transport that ends a request by a context of its own is trouble with plex.tv, and not
// another caller that wants a turn.
func TestTransportEndsTheRequestForTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.startAndApprove(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		p := w.open(t, withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == accountPath {
				return nil, context.Canceled
			}
			return w.plex.Client().Transport.RoundTrip(r)
		})))
		require.ErrorIs(t, errOf(p.Finish(t.Context())), plexauth.ErrUnavailable)
	})
}

// The context of a caller ends while plex.tv is asked whose the approved token is. The caller is
// told so, and the next one finishes the login.
func TestContextEndsWhileTheAccountIsRead(t *testing.T) {
	for _, name := range []string{"Finish", "Wait"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				p := w.openInterrupted(t, accountPath, cancel)
				w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
				require.ErrorIs(t, loginCalls[name](ctx, p), context.Canceled)
				s, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// Two callers wait for a login. The context of one ends when the token has just been stored. It is
// told so, and the other one that the login has succeeded.
func TestContextEndsOnceTheTokenIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		ctx, cancel := context.WithCancel(t.Context())
		p := w.open(t, func(o *plexauth.Options) {
			o.Logger = slog.New(plexauth.NewLogHandler(func(_, _, message string) {
				if strings.Contains(message, "token stored") {
					cancel()
					time.Sleep(time.Second) // for the other caller
				}
			}))
		})
		w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: accountPath, Delay: 3 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() {
			s, err := p.Wait(t.Context())
			assert.NoError(t, err)
			assert.True(t, s.Connected)
		})
		time.Sleep(1500 * time.Millisecond) // the account is asked for
		wg.Go(func() { assert.ErrorIs(t, errOf(p.Wait(ctx)), context.Canceled) })
		wg.Wait()
		assert.Error(t, ctx.Err(), "the moment was met")
	})
}

// G8: the context of a Finish ends, or a Cancel comes, while the approved token is stored with its
// account. Finish tells of the success all the same.
func TestFinishIsInterruptedAtTheEnd(t *testing.T) {
	for name, interrupt := range map[string]func(t *testing.T, p *plexauth.PlexAuth, cancel context.CancelFunc){
		"its context ends": func(_ *testing.T, _ *plexauth.PlexAuth, cancel context.CancelFunc) { cancel() },
		"a Cancel": func(t *testing.T, p *plexauth.PlexAuth, _ context.CancelFunc) {
			assert.NoError(t, p.Cancel(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				defer wg.Wait()
				store.set(hooks{beforeUpdate: calls(2, 2, func(ctx context.Context) error { // the first one saves the token alone
					wg.Go(func() { interrupt(t, p, cancel) })
					return takes(300 * time.Millisecond)(ctx)
				})})
				s, err := p.Finish(ctx)
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// A caller's context that ends while a decision is made again, by other tokens, is nothing that
// the next caller hears of. G6: plex.tv is not asked about the PIN again within a second.
func TestContextEndsBetweenTwoDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		pin := start(t, w)
		store := w.hooked(hooks{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := w.openInterrupted(t, accountPath, func() {
			w.edit(t, map[string]any{"account_token": "TEST_of-another-program"})
			store.set(hooks{beforeLoad: calls(1, 1, func(ctx context.Context) error {
				cancel()
				return ctx.Err()
			})})
		}, withStore(store))
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		require.ErrorIs(t, errOf(p.Finish(ctx)), context.Canceled)
		require.NoError(t, errOf(p.Finish(t.Context())))
		time.Sleep(time.Second)
		s, err := p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G6: a Cancel that interrupts the request for the account, and cannot finish the login either,
// does not let plex.tv be asked about the PIN again within a second.
func TestCancelFailsWhileTheAccountIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.startAndApprove(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: accountPath, Hang: true})
		w.plex.Inject(plextest.Fault{Path: accountPath, Status: http.StatusServiceUnavailable})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { assert.NoError(t, errOf(w.Wait(t.Context()))) })
		time.Sleep(1200 * time.Millisecond) // the token has come
		require.ErrorIs(t, w.Cancel(t.Context()), plexauth.ErrUnavailable)
	})
}

// G6: the context of a caller ends while a token that is not plex.tv's own is dropped. The next
// one neither hears of that nor asks plex.tv within a second.
func TestContextEndsAtATokenThatIsNotGenuine(t *testing.T) {
	for name, c := range map[string]struct {
		at   func(cancel context.CancelFunc) hooks // the first Update saves it
		next error
	}{
		"before it is dropped": {func(cancel context.CancelFunc) hooks {
			return hooks{beforeUpdate: calls(2, 2, func(ctx context.Context) error {
				cancel()
				return ctx.Err()
			})}
		}, nil},
		"once it is dropped": {func(cancel context.CancelFunc) hooks {
			return hooks{afterUpdate: calls(2, 2, does(cancel))}
		}, plexauth.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, deviceKey, withStore(store), w.withPIN(t, false, func(_, _ map[string]any) {}))
				w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				store.set(c.at(cancel))
				require.ErrorIs(t, errOf(p.Finish(ctx)), plexauth.ErrUnavailable)
				require.ErrorIs(t, errOf(p.Finish(t.Context())), c.next)
			})
		})
	}
}

// G8: the last look at a PIN brings a token that is not plex.tv's own, and the context of its
// caller ends then. One that waits gets plex.tv's own token.
func TestContextEndsAtTheLastLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		answers, through := w.tamper("/api/v2/pins/")
		p := w.open(t, deviceKey, withStore(store), through)
		w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
		plexauth.MoveDeadline(p, -time.Hour) // the process believes that the PIN's life is over
		answers.change = func(body []byte) []byte {
			var pin map[string]any
			require.NoError(t, json.Unmarshal(body, &pin))
			pin["authToken"] = forge(t, pin["authToken"].(string), func(_, _ map[string]any) {})
			return []byte(jsonText(pin))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		defer wg.Wait()
		store.set(hooks{afterUpdate: calls(2, 2, does(func() { // the token has been dropped
			answers.change = nil
			wg.Go(func() { assert.NoError(t, errOf(p.Wait(t.Context()))) })
			time.Sleep(time.Second)
			cancel()
		}))})
		require.ErrorIs(t, errOf(p.Finish(ctx)), plexauth.ErrUnavailable)
	})
}

// A caller that leaves during a poll does not hide from the next one that plex.tv has just failed.
func TestFailureIsToldAfterAnInterruptedPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		w.plex.Inject(pinRequests(plextest.Fault{Status: 502, Times: 1}))
		require.ErrorIs(t, errOf(w.Finish(t.Context())), plexauth.ErrUnavailable)
		w.plex.ResetFaults()
		w.plex.Inject(pinRequests(plextest.Fault{Hang: true}))
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, errOf(w.Finish(ctx)), context.DeadlineExceeded)
		require.ErrorIs(t, errOf(w.Finish(t.Context())), plexauth.ErrUnavailable)
	})
}

// Once a PIN is approved, no one is told of a failure from before.
func TestOldFailureIsForgottenAtTheApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		pin := start(t, w)
		w.plex.Inject(pinRequests(plextest.Fault{Status: 502, Times: 1}))
		require.ErrorIs(t, errOf(w.Finish(t.Context())), plexauth.ErrUnavailable)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: accountPath, Hang: true})
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, errOf(w.Finish(ctx)), context.DeadlineExceeded)
		s, err := w.Finish(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
	})
}
