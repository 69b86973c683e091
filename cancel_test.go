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

// G9, G6: once Cancel has returned, plex.tv is not asked about the PIN any more, and
// all callers of Wait have been told.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Hang: true, Times: -1})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := w.Wait(t.Context())
				assert.ErrorIs(t, err, plexauth.ErrNoPendingPin)
			})
		}
		time.Sleep(1500 * time.Millisecond) // a look hangs
		began := time.Now()
		require.NoError(t, w.Cancel(t.Context()))
		assert.Less(t, time.Since(began), time.Second)
		asked := w.fromNow()
		wg.Wait()
		time.Sleep(time.Hour)
		assert.Empty(t, asked())
		require.NoError(t, w.Cancel(t.Context()), "without a pending login it does nothing")
	})
}

// G9: the end of a context stops all work at once, whatever hangs.
func TestCleanStop(t *testing.T) {
	for _, hang := range []string{"POST", "GET", "-"} {
		t.Run(hang, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if hang != "POST" {
					_, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
				}
				w.plex.Inject(plextest.Fault{Method: hang, Hang: true, Times: -1})
				ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
				defer cancel()
				began := time.Now()
				_, err := w.Login(ctx, plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, plexauth.ErrUnavailable)
				assert.Less(t, time.Since(began), 4500*time.Millisecond)
			}) // the bubble panics if a goroutine stays behind
		})
	}
}

// G8: Wait returns when another replica cancels or replaces its login.
func TestEndedByAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		go func() {
			time.Sleep(10 * time.Second)
			assert.NoError(t, w.open(t).Cancel(t.Context()))
		}()
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNoPendingPin)

		_, err = w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		go func() {
			time.Sleep(10 * time.Second)
			_, err := w.open(t).Start(t.Context(), plexauth.PinOptions{Strong: true})
			assert.NoError(t, err)
		}()
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrPinSuperseded)
	})
}

// A login that another process has cancelled fails, even if another login has given
// the profile a new token since.
func TestCancelledElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		p := w.open(t, func(o *plexauth.Options) { o.PollInterval = 10 * time.Second })
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		result := make(chan error, 1)
		go func() {
			_, err := p.Wait(t.Context())
			result <- err
		}()
		time.Sleep(11 * time.Second) // one look
		require.NoError(t, w.Cancel(t.Context()))
		w.signIn(t, w.Instance("second"), w.alice, plexauth.PinOptions{})
		assert.ErrorIs(t, <-result, plexauth.ErrNoPendingPin)
	})
}

// G6, G9: a login that ends while the store is being read is not resumed. Its PIN is
// not looked at, and Wait returns at once.
func TestEndedWhileBeingRead(t *testing.T) {
	for name, end := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Cancel": (*plexauth.PlexAuth).Cancel,
		"Disconnect": func(p *plexauth.PlexAuth, ctx context.Context) error {
			_, err := p.Disconnect(ctx)
			return err
		},
		"Finish": func(p *plexauth.PlexAuth, ctx context.Context) error {
			_, err := p.Finish(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				looks := 0
				if name == "Finish" {
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					looks = 1
				}
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store)) // after a restart
				store.set(hooks{afterLoad: once(func() { assert.NoError(t, end(p, t.Context())) })})
				began := time.Now()
				_, err = p.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
				assert.Zero(t, time.Since(began))
				time.Sleep(time.Minute)
				assert.Len(t, w.looks(began), looks)
			})
		})
	}
}

// G6: a login that is cancelled at the moment when its PIN has been saved is not
// started.
func TestCancelledWhileBeingSaved(t *testing.T) {
	for name, end := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Cancel": (*plexauth.PlexAuth).Cancel,
		"Disconnect": func(p *plexauth.PlexAuth, ctx context.Context) error {
			return errOf(p.Disconnect(ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				store.set(hooks{afterUpdate: calls(2, 2, does(func() { // the PIN is there
					assert.NoError(t, end(p, t.Context()))
				}))})
				began := time.Now()
				_, err := p.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })
				require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
				assert.Empty(t, w.looks(began))
			})
		})
	}
}

// G9: while Cancel waits for a look to end, no other caller begins the next one.
func TestNoLookWhileCancelWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := false // a look ends slowly even if its context has ended
		p := w.open(t, func(o *plexauth.Options) {
			next := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if slow && r.Method == http.MethodGet {
					time.Sleep(3 * time.Second)
				}
				return next.RoundTrip(r)
			})}
		})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		slow = true
		var tabs sync.WaitGroup
		for range 5 {
			tabs.Go(func() { _, _ = p.Finish(t.Context()) })
		}
		time.Sleep(time.Second)
		require.NoError(t, p.Cancel(t.Context()))
		tabs.Wait()
		assert.LessOrEqual(t, len(w.looks(pin.CreatedAt)), 1)
	})
}

// G9: a look that is still reading the store when Cancel is called does not go on to
// plex.tv.
func TestNoLookAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &deafStore{ConfigStore: w.store}
		p := w.open(t, withStore(store), func(o *plexauth.Options) { o.PollInterval = 5 * time.Second })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		store.before.Store(2) // one when the login is resumed, one of the look
		var look sync.WaitGroup
		look.Go(func() { _, _ = p.Wait(t.Context()) })
		time.Sleep(6 * time.Second) // the look reads the store
		require.NoError(t, p.Cancel(t.Context()))
		look.Wait()
		assert.Empty(t, w.looks(pin.CreatedAt))
	})
}

// deafStore takes two seconds for one Load, and does not notice when a context ends.
type deafStore struct {
	plexauth.ConfigStore
	before atomic.Int64 // the Loads before that one
}

func (s *deafStore) Load(_ context.Context, ns string) (jsonRaw, error) {
	if s.before.Add(-1) == 0 {
		time.Sleep(2 * time.Second)
	}
	return s.ConfigStore.Load(context.Background(), ns)
}

func (s *deafStore) Update(_ context.Context, ns string, edit edit) error {
	return s.ConfigStore.Update(context.Background(), ns, edit)
}

// Cancel does not wait for a poll whose store hangs.
func TestCancelBesideAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		result := make(chan error, 1)
		go func() { result <- errOf(p.Wait(t.Context())) }()
		time.Sleep(4 * time.Second)
		store.set(hooks{beforeLoad: hang})
		time.Sleep(3 * time.Second) // a poll reads the store
		store.set(hooks{})
		began := time.Now()
		require.NoError(t, p.Cancel(t.Context()))
		assert.Less(t, time.Since(began), time.Second)
		assert.ErrorIs(t, <-result, plexauth.ErrNoPendingPin)
	})
}

// givingUp are the ways to end a pending login.
var givingUp = map[string]func(context.Context, *plexauth.PlexAuth) error{
	"Cancel": func(ctx context.Context, p *plexauth.PlexAuth) error { return p.Cancel(ctx) },
	"Start": func(ctx context.Context, p *plexauth.PlexAuth) error {
		return errOf(p.Start(ctx, plexauth.PinOptions{SwitchAccount: true}))
	},
}

// G8: another process finishes, refuses, cancels or replaces the login while Cancel is at work.
// All who wait here are told which. The login that has its place is cancelled in the last case.
func TestCancelBesideAnEndElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(t *testing.T, w *world, code string)
		want error
	}{
		"finished": {func(t *testing.T, w *world, code string) {
			require.NoError(t, w.plex.Approve(code, w.alice))
			require.NoError(t, errOf(w.Finish(t.Context())))
		}, nil},
		"refused": {func(t *testing.T, w *world, code string) {
			require.NoError(t, w.plex.Approve(code, w.bob))
			require.ErrorIs(t, errOf(w.Finish(t.Context())), plexauth.ErrAccountMismatch)
		}, plexauth.ErrAccountMismatch},
		"cancelled": {func(t *testing.T, w *world, _ string) {
			require.NoError(t, w.Cancel(t.Context()))
		}, plexauth.ErrNoPendingPin},
		"replaced": {func(t *testing.T, w *world, _ string) {
			require.NoError(t, errOf(w.Start(t.Context(), plexauth.PinOptions{Strong: true})))
		}, plexauth.ErrPinSuperseded},
	} {
		for step := int64(1); step <= 4; step++ { // three reads, and a write
			t.Run(fmt.Sprint(name, " at step ", step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := linked(t, false)
					w.replicas = true
					store := w.hooked(hooks{})
					p := w.open(t, withStore(store))
					pin, err := p.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					result := make(chan error, 1)
					go func() { result <- errOf(p.Wait(t.Context())) }()
					time.Sleep(1500 * time.Millisecond) // after a poll
					var met atomic.Bool
					end := does(func() {
						met.Store(true)
						c.end(t, w, pin.Code)
					})
					if step <= 3 {
						store.set(hooks{beforeLoad: calls(step, step, end)})
					} else {
						store.set(hooks{beforeUpdate: calls(1, 1, end)})
					}
					require.NoError(t, p.Cancel(t.Context()))
					assert.True(t, met.Load(), "the moment was met")
					assert.ErrorIs(t, <-result, c.want)
					assert.Nil(t, must(w.Status(t.Context())).Pending)
				})
			})
		}
	}
}

// Another process ends the login of a parked token that another account has approved, while
// Cancel asks whose it is. All who wait here are told how, and no login stays.
func TestCancelOfAParkedTokenBesideAnEndElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(context.Context, *plexauth.PlexAuth) error
		want error
	}{
		"refused": {func(ctx context.Context, p *plexauth.PlexAuth) error {
			_, _ = p.Verify(ctx)
			return nil
		}, plexauth.ErrAccountMismatch},
		"disconnected": {func(ctx context.Context, p *plexauth.PlexAuth) error {
			return errOf(p.Disconnect(ctx))
		}, plexauth.ErrNoPendingPin},
		"replaced": {func(ctx context.Context, p *plexauth.PlexAuth) error {
			return errOf(p.Start(ctx, plexauth.PinOptions{}))
		}, plexauth.ErrPinSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.replicas = true
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				w.park(t, p, w.bob, plexauth.PinOptions{})
				w.plex.Inject(outageOfAccounts)
				result := make(chan error, 1)
				go func() { result <- errOf(p.Wait(t.Context())) }()
				time.Sleep(1500 * time.Millisecond)
				w.plex.ResetFaults()
				store.set(hooks{beforeUpdate: once(func() { assert.NoError(t, c.end(t.Context(), w.PlexAuth)) })})
				require.NoError(t, p.Cancel(t.Context()))
				assert.ErrorIs(t, <-result, c.want)
				assert.Nil(t, must(w.Status(t.Context())).Pending)
			})
		})
	}
}

// Cancel also ends a login that another process begins while Cancel finds none.
func TestCancelBesideAStartElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{afterLoad: once(func() { start(t, w) })})))
		require.NoError(t, p.Cancel(t.Context()))
		assert.Nil(t, must(w.Status(t.Context())).Pending)
	})
}

// All who wait for a login are told that it was cancelled, also if another program has written a
// token in the meantime.
func TestCancelBesideATokenOfAnotherProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		result := make(chan error, 1)
		go func() { result <- errOf(w.Wait(t.Context())) }()
		time.Sleep(1500 * time.Millisecond)
		w.edit(t, map[string]any{"account_token": "TEST_another"})
		require.NoError(t, w.Cancel(t.Context()))
		assert.ErrorIs(t, <-result, plexauth.ErrNoPendingPin)
	})
}

// Cancel finds another login in the place of one that it was about to cancel, and cannot read the
// store again. All who wait for the first one are told at once that it was replaced.
func TestCancelOfAReplacedLoginFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
		var wg sync.WaitGroup
		var ended time.Time
		wg.Go(func() {
			assert.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrPinSuperseded)
			ended = time.Now()
		})
		time.Sleep(1500 * time.Millisecond)
		store.set(hooks{beforeLoad: calls(2, 2, does(func() {
			require.NoError(t, errOf(w.Start(t.Context(), plexauth.PinOptions{Strong: true})))
			store.set(hooks{beforeLoad: fails(errDisk)})
		}))})
		began := time.Now()
		require.ErrorIs(t, p.Cancel(t.Context()), plexauth.ErrStore)
		wg.Wait()
		assert.Equal(t, began, ended)
	})
}

// Cancel needs the store no more once it has seen that another process has cancelled the login.
func TestCancelOfACancelledLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
		require.NoError(t, w.Cancel(t.Context()))
		store.set(hooks{beforeLoad: calls(3, 10, fails(errDisk))})
		require.NoError(t, p.Cancel(t.Context()))
	})
}

// G8: a Cancel that finds an approval and cannot save it for five minutes says so. It leaves the
// approval to those who wait.
func TestCancelCannotSaveTheApproval(t *testing.T) {
	for name, h := range map[string]hooks{
		"no write begins": {beforeUpdate: fails(errDisk)},
		"no write ends":   {refuse: func(jsonRaw) error { return errDisk }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				result := make(chan error, 1)
				go func() { result <- errOf(p.Wait(t.Context())) }()
				time.Sleep(1500 * time.Millisecond)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				store.set(h)
				time.AfterFunc(6*time.Minute, func() { store.set(hooks{}) })
				began := time.Now()
				require.ErrorIs(t, p.Cancel(t.Context()), plexauth.ErrStore)
				assert.InDelta(t, 5*time.Minute, time.Since(began), float64(10*time.Second))
				assert.NoError(t, <-result)
				assert.NoError(t, errOf(p.Verify(t.Context())))
			})
		})
	}
}

// G8: a Cancel that cannot finish an approved login, or cannot write, ends no Wait.
func TestCancelFails(t *testing.T) {
	for name, trouble := range map[string]func(t *testing.T, w *world, store *hookedStore, code string) error{
		"of a parked token": func(t *testing.T, w *world, _ *hookedStore, code string) error {
			require.NoError(t, w.plex.Approve(code, w.alice))
			w.plex.Inject(outageOfAccounts)
			time.Sleep(20 * time.Second) // it is saved beside its PIN
			return plexauth.ErrUnavailable
		},
		"of the store": func(_ *testing.T, _ *world, store *hookedStore, _ string) error {
			store.set(hooks{refuse: func(jsonRaw) error { return errDisk }})
			return plexauth.ErrStore
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				var wg sync.WaitGroup
				wg.Go(func() { assert.NoError(t, errOf(p.Wait(t.Context()))) })
				time.Sleep(1500 * time.Millisecond)
				want := trouble(t, w, store, pin.Code)
				require.ErrorIs(t, p.Cancel(t.Context()), want)
				store.set(hooks{})
				w.plex.ResetFaults()
				_ = w.plex.Approve(pin.Code, w.alice) // unless it is approved
				wg.Wait()
			})
		})
	}
}

// Another process has cancelled the login, or has replaced it. Cancel says the former at once to
// those who wait here, and cancels the other one in its place.
func TestCancelOfALoginEndedElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(context.Context, *plexauth.PlexAuth) error
		want error
	}{
		"cancelled": {givingUp["Cancel"], plexauth.ErrNoPendingPin},
		"replaced":  {givingUp["Start"], plexauth.ErrPinSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				start(t, w)
				var wg sync.WaitGroup
				var ended time.Time
				wg.Go(func() {
					assert.ErrorIs(t, errOf(w.Wait(t.Context())), c.want)
					ended = time.Now()
				})
				time.Sleep(1500 * time.Millisecond)
				require.NoError(t, c.do(t.Context(), w.open(t)))
				require.NoError(t, w.Cancel(t.Context()))
				now := time.Now()
				wg.Wait()
				assert.Equal(t, now, ended)
				assert.Nil(t, must(w.Status(t.Context())).Pending)
			})
		})
	}
}
