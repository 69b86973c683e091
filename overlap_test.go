package plexauth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// G22: Disconnect runs while the first request of a Transport reads the store.
func TestTransportBesideADisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.forgive = "another client identifier" // the token is another program's
		tok := w.plex.IssueToken(w.alice, "foreign")
		put(t, w.store, `{"account_token":"`+tok+`"}`)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		rt := p.Transport(w.plex.Client().Transport)
		store.set(hooks{afterLoad: calls(2, 2, does(func() {
			store.set(hooks{})
			_, err := p.Disconnect(t.Context())
			assert.NoError(t, err)
		}))})
		resp, err := rt.RoundTrip(request(t, "GET", "https://plex.tv/api/v2/user", nil))
		t.Log("concurrent:", err)
		if err == nil {
			resp.Body.Close()
		}
		time.Sleep(time.Second)
		resp, err = rt.RoundTrip(request(t, "GET", "https://plex.tv/api/v2/user", nil))
		if err == nil {
			resp.Body.Close()
			t.Log(resp.Status)
		}
		assert.ErrorIs(t, err, plexauth.ErrNotConnected)
	})
}

// G8: a login that begins between the Update of Disconnect (or SignOut) and its end goes on.
func TestDisconnectBesideAStart(t *testing.T) {
	for name, end := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Disconnect": func(p *plexauth.PlexAuth, ctx context.Context) error { return errOf(p.Disconnect(ctx)) },
		"SignOut":    func(p *plexauth.PlexAuth, ctx context.Context) error { return errOf(p.SignOut(ctx)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				var wg sync.WaitGroup
				store.set(hooks{afterUpdate: once(func() { // the store has done it, its answer takes a moment
					pin, err := p.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					wg.Go(func() {
						s, err := p.Wait(t.Context())
						assert.NoError(t, err)
						assert.True(t, s.Connected)
					})
					time.Sleep(100 * time.Millisecond)
					time.AfterFunc(10*time.Second, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				})})
				require.NoError(t, end(p, t.Context()))
				wg.Wait()
				s, err := p.Status(t.Context())
				t.Log(s.Pending, s.Connected, err)
			})
		})
	}
}

// G8: another process has finished the login. Cancel, a moment later, finds it finished.
func TestCancelOfALoginFinishedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		pin := start(t, w)
		var wg sync.WaitGroup
		wg.Go(func() {
			s, err := w.Wait(t.Context())
			assert.NoError(t, err)
			assert.True(t, s.Connected)
		})
		time.Sleep(2300 * time.Millisecond)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		other := w.open(t)
		s, err := other.Finish(t.Context())
		require.NoError(t, err)
		require.True(t, s.Connected)
		require.NoError(t, w.Cancel(t.Context()))
		wg.Wait()
	})
}

// G9: a Start and a Cancel overlap, because the store and plex.tv are slow. The login that
// Cancel ends is not polled any more.
func TestCancelBesideAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		slow := false
		p := w.open(t, withStore(store), func(o *plexauth.Options) {
			next := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(r)
				if slow && r.Method == http.MethodPost {
					time.Sleep(1500 * time.Millisecond)
				}
				return resp, err
			})}
		})
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		slow = true
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := p.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(*plexauth.Pin) error { return nil })
			t.Log("Login:", err, time.Now())
		})
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		store.set(hooks{beforeLoad: takes(time.Second)})
		require.NoError(t, p.Cancel(t.Context()))
		cancelled := time.Now()
		t.Log("cancelled:", cancelled)
		time.Sleep(20 * time.Second)
		t.Log(w.doc(t))
		after := 0
		for _, at := range w.looks(cancelled) {
			if at >= 0 {
				after++
			}
		}
		assert.Zero(t, after, "looks after Cancel has returned")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_ = p.Cancel(ctx)
		wg.Wait()
	})
}

// G27: a slow read of the store does not count as a late one.
func TestNoticedDespiteASlowRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		store.set(hooks{afterLoad: calls(1, 1, takes(8*time.Second))}) // the first read is slow
		began := time.Now()
		time.AfterFunc(2*time.Second, func() { assert.NoError(t, w.Cancel(t.Context())) })
		_, err = p.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
	})
}

// G8: another process finishes the login, and the store fails once when this process hears
// that the PIN has gone.
func TestFinishedElsewhereWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: true})
		for n := int64(1); n <= 3; n++ {
			store := w.hooked(hooks{})
			p := w.open(t, withStore(store))
			pin, err := p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
			require.NoError(t, err)
			var wg sync.WaitGroup
			wg.Go(func() {
				s, err := p.Wait(t.Context())
				assert.NoError(t, err, n)
				assert.True(t, s.Connected)
			})
			time.Sleep(2300 * time.Millisecond)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			_, err = w.open(t).Finish(t.Context())
			require.NoError(t, err)
			store.set(hooks{beforeLoad: calls(n, n, fails(errDisk))})
			wg.Wait()
			store.set(hooks{})
		}
	})
}

var _ = errors.Is
var _ = slog.New
var _ = http.MethodGet
var _ = plextest.Fault{}

// G6: SignOut beside a Cancel that is in its final poll.
func TestSignOutBesideACancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		start(t, w)
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, w.Cancel(t.Context())) })
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		_, err := w.SignOut(t.Context())
		assert.NoError(t, err)
		wg.Wait()
		n := 0
		for _, at := range w.looks(began) {
			if at >= 0 {
				n++
			}
		}
		assert.Equal(t, 1, n, "looks")
	})
}

// G8: another process cancels, and the person approves a moment later. This process, which
// does not know of the cancel yet, fetches the token: it goes to the profile whose own it
// has retired.
func TestApprovedAfterACancelElsewhere(t *testing.T) {
	for _, delay := range []time.Duration{100 * time.Millisecond, 3 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.replicas = true
				second := w.Instance("second")
				w.signIn(t, second, w.alice, plexauth.PinOptions{})
				pin := start(t, w)
				var wg sync.WaitGroup
				wg.Go(func() {
					s, err := w.Wait(t.Context())
					t.Log("Wait:", err, s.Connected)
				})
				time.Sleep(1200 * time.Millisecond) // the store was just read
				require.NoError(t, w.open(t).Cancel(t.Context()))
				time.Sleep(delay)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				wg.Wait()
				_, err := second.Verify(t.Context())
				assert.NoError(t, err, "second has lost its token to an approval that this process has fetched and dropped")
			})
		})
	}
}

// G8: another process cancels while this one saves an approval, and the caller leaves at that
// moment. The token still goes to the profile whose own it has retired.
func TestCallerLeavesAnApprovalThatCameTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		second := w.Instance("second")
		w.signIn(t, second, w.alice, plexauth.PinOptions{})
		ctx, leave := context.WithCancel(t.Context())
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		pin, err := p.Start(ctx, plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		offline := withTransport(roundTripFunc(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("connection reset")
		}))
		store.set(hooks{beforeUpdate: once(func() {
			require.NoError(t, w.open(t, offline).Cancel(t.Context()))
			leave()
		})})
		_, err = p.Finish(ctx)
		require.Error(t, err)
		_, err = second.Verify(t.Context())
		assert.NoError(t, err, "second has lost its token")
	})
}

// G9: a call returns within a second of its context's end, also if it finds out then that its
// approval came too late, and plex.tv does not answer.
func TestApprovalThatCameTooLateEndsInTime(t *testing.T) {
	for name, call := range map[string]func(context.Context, *plexauth.PlexAuth) error{
		"Finish": func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.Finish(ctx)) },
		"Cancel": func(ctx context.Context, p *plexauth.PlexAuth) error { return p.Cancel(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.replicas = true
				before := w.doc(t)
				ctx, leave := context.WithCancel(t.Context())
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				pin, err := p.Start(ctx, plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				var left time.Time
				store.set(hooks{beforeUpdate: once(func() {
					put(t, w.store, before)
					w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Hang: true, Times: -1})
					left = time.Now()
					leave()
					time.Sleep(700 * time.Millisecond)
				})})
				_ = call(ctx, p)
				require.False(t, left.IsZero(), "the moment was met")
				assert.LessOrEqual(t, time.Since(left), time.Second)
			})
		})
	}
}

// G8: bob has approved a code of alice's profile. While one process asks whose the token is,
// another one begins the login again, and drops the token. The first one says so, and asks no
// one to sign in again. Verify answers for the login that goes on.
func TestStartElsewhereDropsAnApproval(t *testing.T) {
	for name, c := range map[string]struct {
		call func(context.Context, *plexauth.PlexAuth) (plexauth.Status, error)
		want error
	}{
		"Wait":   {func(ctx context.Context, p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Wait(ctx) }, plexauth.ErrPinSuperseded},
		"Finish": {func(ctx context.Context, p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Finish(ctx) }, plexauth.ErrPinSuperseded},
		"Verify": {func(ctx context.Context, p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Verify(ctx) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.replicas = true
				pin := start(t, w)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				_, err := w.open(t, w.noAccount()).Finish(t.Context()) // the token is beside its PIN now
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				p := w.openInterrupted(t, "/api/v2/user", func() {
					require.NoError(t, errOf(w.Start(t.Context(), plexauth.PinOptions{Strong: true})))
				})
				s, err := c.call(t.Context(), p)
				assert.ErrorIs(t, err, c.want)
				assert.False(t, s.NeedsLogin)
				assert.NotNil(t, must(w.Status(t.Context())).Pending, "the new login")
			})
		})
	}
}

// G7: two processes wait for one PIN until it expires. Both say so.
func TestExpiryInTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		start(t, w)
		other := w.open(t, func(o *plexauth.Options) {
			next := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(r)
				time.Sleep(50 * time.Millisecond) // on the way back
				return resp, err
			})}
		})
		var wg sync.WaitGroup
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, other} {
			wg.Go(func() {
				_, err := p.Wait(t.Context())
				assert.ErrorIs(t, err, plexauth.ErrPinExpired)
			})
			time.Sleep(300 * time.Millisecond)
		}
		wg.Wait()
	})
}

// G7, G8: a store reports that a context of its own has ended, as a closed pool does. That
// is trouble with the store, and the login goes on.
func TestStoreSaysThatAContextHasEnded(t *testing.T) {
	for _, kind := range []error{context.Canceled, context.DeadlineExceeded} {
		t.Run(kind.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				var reads atomic.Int32
				var fails atomic.Bool
				store.set(hooks{beforeLoad: func(ctx context.Context) error {
					if !fails.Load() {
						return nil
					}
					if reads.Add(1) > 2000 { // too many: let the test end
						fails.Store(false)
					}
					return fmt.Errorf("the pool was closed: %w", kind)
				}})
				time.AfterFunc(10*time.Second, func() { fails.Store(true) })
				time.AfterFunc(40*time.Second, func() { fails.Store(false) })
				time.AfterFunc(20*time.Second, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				began := time.Now()
				_, err = p.Wait(t.Context())
				require.NoError(t, err)
				assert.Less(t, reads.Load(), int32(100), "reads of a store that fails")
				assert.Less(t, time.Since(began), 30*time.Second)
			})
		})
	}
}

// G9: SignOut also ends the pending logins of the other profiles that it signs out.
func TestSignOutEndsTheWaitOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		second := w.Instance("second")
		w.signIn(t, second, w.alice, plexauth.PinOptions{})
		pin, err := second.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		var wg sync.WaitGroup
		var ended time.Time
		wg.Go(func() {
			_, err := second.Wait(t.Context())
			ended = time.Now()
			t.Log("second's Wait:", err)
		})
		time.Sleep(1200 * time.Millisecond)
		_, err = w.SignOut(t.Context())
		require.NoError(t, err)
		out := time.Now()
		time.Sleep(300 * time.Millisecond)
		assert.NoError(t, w.plex.Approve(pin.Code, w.alice))
		wg.Wait()
		n := 0
		for _, at := range w.looks(out) {
			if at > 0 {
				n++
			}
		}
		assert.Zero(t, n, "looks after SignOut")
		assert.Less(t, ended.Sub(out), time.Second)
		t.Log(ended.Sub(out))
	})
}

// G8: plex.tv may forget a PIN once its token was read. The process that has the token saves
// it slowly, and another one hears that there is no such PIN.
func TestPinConsumedByAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: true})
		p := w.open(t, withStore(w.hooked(hooks{})))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		store := w.hooked(hooks{beforeUpdate: takes(1500 * time.Millisecond)})
		other := w.open(t, withStore(store))
		var wg sync.WaitGroup
		for _, p := range []*plexauth.PlexAuth{p, other} {
			wg.Go(func() {
				s, err := p.Wait(t.Context())
				assert.NoError(t, err)
				assert.True(t, s.Connected)
			})
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(1600 * time.Millisecond)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		wg.Wait()
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected, "the approval is lost")
	})
}

// G8: while a Start asks for its PIN, another process begins a login of another kind, and the
// person approves that at once. The approval has ended the older token, so it is not lost.
func TestStartBesideAnotherKindOfStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		slow := w.openInterrupted(t, "/api/v2/pins", func() {
			pin, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		})
		_, err := slow.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err := w.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G8: while Cancel writes, another process saves the approval beside its PIN. The approval has
// ended the older token, so Cancel finishes the login.
func TestCancelBesideASavedApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		pin := start(t, w)
		w.replicas = true
		store := w.hooked(hooks{beforeUpdate: once(func() {
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			broken := w.open(t, w.noAccount())
			_, err := broken.Finish(t.Context())
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
		})})
		require.NoError(t, w.open(t, withStore(store)).Cancel(t.Context()))
		assert.Nil(t, must(w.Status(t.Context())).Pending)
		s, err := w.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// noAccount is a network in which plex.tv does not tell whose a token is.
func (w *world) noAccount() func(*plexauth.Options) {
	return withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/api/v2/user" {
			return nil, errors.New("connection reset")
		}
		return w.plex.Client().Transport.RoundTrip(r)
	}))
}
