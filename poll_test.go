package plexauth_test

import (
	"bytes"
	"context"
	"errors"
	"io"
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

// pinRequests are the requests about a PIN.
func pinRequests(f plextest.Fault) plextest.Fault {
	f.Method, f.Path = http.MethodGet, "/api/v2/pins/*"
	return f
}

// G5, G8: a caller leaves, whatever its Wait is doing. It gets the error of its own context,
// nothing looks like trouble, and the login goes on.
func TestCallerLeaves(t *testing.T) {
	const waiting = "waiting for the approval"
	type scene struct {
		*world
		store *hookedStore
		p     *plexauth.PlexAuth
		pin   *plexauth.Pin
	}
	for name, c := range map[string]struct {
		after time.Duration
		doing string // as the error tells
		busy  func(t *testing.T, s scene)
	}{
		"between two polls": {2500 * time.Millisecond, waiting, func(*testing.T, scene) {}},
		"in a request": {3500 * time.Millisecond, waiting, func(_ *testing.T, s scene) {
			s.plex.Inject(pinRequests(plextest.Fault{Hang: true, Times: -1}))
		}},
		"behind another caller": {3500 * time.Millisecond, waiting, func(t *testing.T, s scene) {
			s.plex.Inject(pinRequests(plextest.Fault{Hang: true}))
			go func() { _, _ = s.p.Finish(t.Context()) }()
			synctest.Wait()
		}},
		"in a read of the store": {7 * time.Second, waiting, func(_ *testing.T, s scene) {
			time.AfterFunc(time.Second, func() { s.store.set(hooks{beforeLoad: hang}) })
		}},
		"while the token is saved": {2500 * time.Millisecond, "saving the token", func(t *testing.T, s scene) {
			require.NoError(t, s.plex.Approve(s.pin.Code, s.alice))
			s.store.set(hooks{beforeUpdate: hang})
		}},
		"while the account is read": {2500 * time.Millisecond, waiting, func(t *testing.T, s scene) {
			require.NoError(t, s.plex.Approve(s.pin.Code, s.alice))
			s.plex.Inject(plextest.Fault{Path: "/api/v2/user", Hang: true, Times: -1})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				logged := w.fromNowLogged()
				c.busy(t, scene{w, store, p, pin})
				ctx, cancel := context.WithTimeout(t.Context(), c.after)
				defer cancel()
				_, err = p.Wait(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, plexauth.ErrUnavailable)
				assert.ErrorContains(t, err, c.doing)
				assert.Empty(t, logged())

				w.plex.ResetFaults()
				store.set(hooks{})
				_ = w.plex.Approve(pin.Code, w.alice) // unless it is approved
				s, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// A Finish whose context ends in a request, or in a second read of a slow store, returns its
// error.
func TestFinishIsLeft(t *testing.T) {
	for name, busy := range map[string]func(w *world, store *hookedStore){
		"request": func(w *world, _ *hookedStore) { w.plex.Inject(pinRequests(plextest.Fault{Hang: true})) },
		"account": func(w *world, _ *hookedStore) {
			_ = w.plex.Approve(w.plex.PendingCodes()[0], w.alice)
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Hang: true})
		},
		"read": func(_ *world, store *hookedStore) {
			slow, hangs := calls(1, 1, takes(6*time.Second)), calls(2, 2, hang)
			store.set(hooks{beforeLoad: func(ctx context.Context) error { return errors.Join(slow(ctx), hangs(ctx)) }})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
				busy(w, store)
				ctx, leave := context.WithCancel(t.Context())
				time.AfterFunc(8*time.Second, leave)
				s, err := p.Finish(ctx)
				require.ErrorIs(t, err, context.Canceled)
				assert.False(t, s.Connected)
			})
		})
	}
}

// A Finish that waits for the poll of another one has its result, or the error of its own
// context.
func TestFinishBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin := start(t, w)
		w.plex.Inject(pinRequests(plextest.Fault{Delay: 5 * time.Second}))
		var wg sync.WaitGroup
		for _, limit := range []time.Duration{time.Minute, 2 * time.Second, time.Minute} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				s, err := w.Finish(ctx)
				if limit < time.Minute {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				assert.NoError(t, err)
				assert.True(t, s.Connected)
			})
			synctest.Wait() // one after the other
		}
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		wg.Wait()
		assert.Equal(t, 1, w.count("GET", "/api/v2/pins/{id}"))
	})
}

// A poll that Cancel interrupts is no failure: Finish reports none, and Wait is told of the
// Cancel. It makes no difference what the poll is doing.
func TestPollIsInterrupted(t *testing.T) {
	for name, busy := range map[string]func(w *world, store *hookedStore){
		"a request": func(w *world, _ *hookedStore) {
			w.plex.Inject(pinRequests(plextest.Fault{Hang: true}))
		},
		"a read of the store": func(_ *world, store *hookedStore) {
			store.set(hooks{beforeLoad: calls(2, 2, hang)}) // the second one of a Finish
		},
	} {
		for call, do := range map[string]func(*plexauth.PlexAuth, context.Context) (plexauth.Status, error){
			"Finish": (*plexauth.PlexAuth).Finish, "Wait": (*plexauth.PlexAuth).Wait,
		} {
			t.Run(name+", "+call, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					store := w.hooked(hooks{})
					p := w.open(t, withStore(store), func(o *plexauth.Options) { o.PollInterval = 6 * time.Second })
					require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
					logged := w.fromNowLogged()
					busy(w, store)
					var wg sync.WaitGroup
					wg.Go(func() {
						s, err := do(p, t.Context())
						if call == "Wait" {
							assert.ErrorIs(t, err, plexauth.ErrNoPendingPin)
						} else {
							assert.NoError(t, err)
						}
						assert.False(t, s.Connected)
					})
					time.Sleep(7 * time.Second)
					store.set(hooks{})
					began := time.Now()
					require.NoError(t, p.Cancel(t.Context()))
					assert.Zero(t, time.Since(began))
					wg.Wait()
					assert.Equal(t, []string{"INFO login cancelled"}, logged())
				})
			})
		}
	}
}

// Callers that wait for their turn to poll do not delay a Cancel, even if the store is slow and
// does not stop when a context ends.
func TestCancelBeforeManyPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
		store.set(hooks{beforeLoad: does(func() { time.Sleep(5 * time.Second) })})
		w.plex.Inject(pinRequests(plextest.Fault{Hang: true, Times: -1}))
		var tabs sync.WaitGroup
		for _, at := range []time.Duration{0, 2 * time.Second} { // before the Cancel and after it
			time.AfterFunc(at, func() {
				for range 10 {
					tabs.Go(func() { _, _ = p.Finish(t.Context()) })
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		require.NoError(t, p.Cancel(t.Context()))
		assert.LessOrEqual(t, time.Since(began), 20*time.Second, "one read for a poll, and three of its own")
		store.set(hooks{})
		tabs.Wait()
	})
}

// A poll that is interrupted before its request does not count for the pace: Cancel makes the
// last poll at once.
func TestInterruptedBeforeItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		store := &deafStore{ConfigStore: w.store}
		p := w.open(t, withStore(store), func(o *plexauth.Options) { o.PollInterval = 5 * time.Second })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		store.before.Store(2) // one when the login is resumed, one of the poll
		var wait sync.WaitGroup
		wait.Go(func() { _, _ = p.Wait(t.Context()) })
		time.Sleep(6 * time.Second) // the poll reads the store
		require.NoError(t, p.Cancel(t.Context()))
		wait.Wait()
		assert.Len(t, w.looks(pin.CreatedAt), 2, "the one of the first login, and the last one")
		assert.Less(t, time.Since(pin.CreatedAt), 7500*time.Millisecond)
	})
}

// G8: the answer that has the token arrives when its caller has just left. plex.tv gives it
// once only.
func TestApprovalForACallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: true})
		pin := start(t, w)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		ctx, leave := context.WithCancel(t.Context())
		p := w.open(t, withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := w.plex.Client().Transport.RoundTrip(r)
			if err != nil {
				return nil, err
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(bytes.NewReader(body))
			leave()
			return resp, err
		})))
		_, _ = p.Finish(ctx)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G6: a request that its caller has left counts for the pace, because plex.tv may have seen it.
func TestPaceAfterALeftRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t) // it reports polls that follow too soon
		start(t, w)
		asked := w.fromNow()
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			p := w.PlexAuth
			w.plex.Inject(pinRequests(plextest.Fault{Drip: 20 * time.Millisecond}))
			_, _ = p.Finish(ctx)
			cancel()
		}
		assert.Len(t, asked(), 1)
	})
}

// G8: plex.tv refuses a poll for good, when another process has just saved the approval that
// it has found beside its PIN. That approval is not lost, even if its account can be read
// only later.
func TestRefusedBesideASavedApproval(t *testing.T) {
	for _, outage := range []time.Duration{time.Millisecond, 5 * time.Second} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.replicas = true
				pin := start(t, w)
				var wg sync.WaitGroup
				wg.Go(func() {
					s, err := w.Wait(t.Context())
					assert.NoError(t, err)
					assert.True(t, s.Connected)
				})
				time.Sleep(1500 * time.Millisecond) // the store was read lately
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				require.ErrorIs(t, errOf(w.open(t, w.noAccount(), noRetries).Finish(t.Context())), plexauth.ErrUnavailable)
				w.plex.Inject(pinRequests(plextest.Fault{Code: 1004, Times: -1}))
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1, For: outage})
				wg.Wait()
				require.NoError(t, errOf(w.Verify(t.Context())))
			})
		})
	}
}

// Another process changes the login while this one gives up a PIN that plex.tv refuses. The
// end is what that process has made of it.
func TestRefusedBesideAnotherProcess(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, other *plexauth.PlexAuth) error
		want error
	}{
		"superseded": {func(t *testing.T, other *plexauth.PlexAuth) error {
			return errOf(other.Start(t.Context(), plexauth.PinOptions{Strong: true}))
		}, plexauth.ErrPinSuperseded},
		"linked": {func(t *testing.T, other *plexauth.PlexAuth) error {
			token := plexauth.NewToken("TEST_adopted")
			return errOf(other.Adopt(t.Context(), token, plexauth.AdoptOptions{}))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				other := w.open(t, withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == "/api/v2/user" {
						return &http.Response{
							StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
							Body: io.NopCloser(bytes.NewReader([]byte(payload(t, "user.json")))),
						}, nil
					}
					return w.plex.Client().Transport.RoundTrip(r)
				})))
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
				w.plex.Inject(pinRequests(plextest.Fault{Code: 1004}))
				store.set(hooks{beforeUpdate: once(func() { require.NoError(t, c.do(t, other)) })})
				s, err := p.Finish(t.Context())
				require.ErrorIs(t, err, c.want)
				assert.Equal(t, c.want == nil, s.Connected)
			})
		})
	}
}

// A document that another program has cut is trouble with the store, and ends no login.
func TestDocumentIsCutForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &cutStore{ConfigStore: w.store}
		p := w.open(t, withStore(store))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.AfterFunc(time.Second, func() { store.cut.Store(true) })
		time.AfterFunc(20*time.Second, func() { store.cut.Store(false) })
		time.AfterFunc(30*time.Second, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// cutStore loads the beginning of its document, while it is cut.
type cutStore struct {
	plexauth.ConfigStore
	cut atomic.Bool
}

func (s *cutStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	raw, err := s.ConfigStore.Load(ctx, ns)
	if s.cut.Load() {
		raw = raw[:len(raw)/2]
	}
	return raw, err
}

// G7: a request that hangs when the PIN ends does not prolong the login.
func TestRequestHangsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin := start(t, w)
		time.AfterFunc(time.Until(pin.ExpiresAt)-5*time.Second, func() { w.plex.Inject(pinRequests(plextest.Fault{Hang: true})) })
		require.ErrorIs(t, errOf(w.Wait(t.Context())), plexauth.ErrPinExpired)
		assert.LessOrEqual(t, time.Since(pin.ExpiresAt), 1500*time.Millisecond)
	})
}

// G6: the last poll of a PIN has as much time as those before it, over a slow network.
func TestLastPollIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin := start(t, w)
		p := w.open(t, withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := w.plex.Client().Transport.RoundTrip(r)
			if err := takes(14 * time.Second)(r.Context()); err != nil {
				return nil, err
			}
			return resp, err
		})))
		time.AfterFunc(time.Until(pin.ExpiresAt)-time.Second, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// A request has more time after one that has timed out, and not after another failure.
func TestTimeOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		for _, c := range []struct {
			fault plextest.Fault
			took  time.Duration
		}{
			{plextest.Fault{Status: 503}, 0}, {plextest.Fault{Status: 503}, 0},
			{plextest.Fault{Hang: true}, 10 * time.Second}, {plextest.Fault{Hang: true}, 20 * time.Second},
		} {
			time.Sleep(30 * time.Second)
			w.plex.Inject(pinRequests(c.fault))
			began := time.Now()
			require.ErrorIs(t, errOf(w.Finish(t.Context())), plexauth.ErrUnavailable)
			assert.Equal(t, c.took, time.Since(began))
		}
	})
}

// G8: plex.tv does not know a PIN any more that should live for long. Another process may
// have its token and be about to save it, so the login ends three seconds later, unless its
// store is in memory or its end is near or unknown.
func TestPinIsGoneEarly(t *testing.T) {
	for name, c := range map[string]struct {
		age    time.Duration // of the PIN, which lives for fifteen minutes
		quirks plextest.Quirks
		memory bool
		took   time.Duration
	}{
		"young":            {time.Minute, plextest.Quirks{}, false, 3 * time.Second},
		"almost too old":   {15*time.Minute - 3*time.Second - 1, plextest.Quirks{}, false, 3 * time.Second},
		"old":              {15*time.Minute - 3*time.Second, plextest.Quirks{}, false, 0},
		"of unknown life":  {time.Minute, plextest.Quirks{OmitExpiresIn: true, OmitDates: true}, false, 0},
		"young, in memory": {time.Minute, plextest.Quirks{}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.SetQuirks(c.quirks)
				p := w.PlexAuth
				if !c.memory {
					p = w.open(t, withStore(w.hooked(hooks{})))
				}
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				time.Sleep(c.age)
				require.NoError(t, w.plex.Expire(pin.Code))
				began := time.Now()
				require.ErrorIs(t, errOf(p.Finish(t.Context())), plexauth.ErrPinExpired)
				assert.Equal(t, c.took, time.Since(began))
				assert.Nil(t, must(p.Status(t.Context())).Pending)
			})
		})
	}
}

// G9: the end of a context, and a Cancel, end the wait for a token that another process may
// have. It makes no difference whether the store stops when a context ends.
func TestPinIsGoneEarlyAndNoOneWaits(t *testing.T) {
	const after = 1200 * time.Millisecond
	for name, c := range map[string]struct {
		call   func(*plexauth.PlexAuth, context.Context) (plexauth.Status, error)
		deaf   bool
		cancel bool
		want   error
		text   string
	}{
		"Finish":                     {(*plexauth.PlexAuth).Finish, false, false, context.DeadlineExceeded, "plexauth: context"},
		"Wait":                       {(*plexauth.PlexAuth).Wait, false, false, context.DeadlineExceeded, "waiting for the approval"},
		"Wait, Cancel":               {(*plexauth.PlexAuth).Wait, false, true, plexauth.ErrNoPendingPin, "no login is pending"},
		"Wait, Cancel, a deaf store": {(*plexauth.PlexAuth).Wait, true, true, plexauth.ErrNoPendingPin, "no login is pending"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := plexauth.ConfigStore(w.hooked(hooks{}))
				if c.deaf {
					store = &deafStore{ConfigStore: w.store}
				}
				p := w.open(t, withStore(store), func(o *plexauth.Options) { o.PollInterval = 5 * time.Second })
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				time.Sleep(10 * time.Second)
				require.NoError(t, w.plex.Expire(pin.Code))
				ctx, limit := t.Context(), after
				if c.cancel {
					limit = time.Minute
					time.AfterFunc(after, func() { assert.NoError(t, p.Cancel(t.Context())) })
				}
				ctx, cancel := context.WithTimeout(ctx, limit)
				defer cancel()
				began := time.Now()
				_, err = c.call(p, ctx)
				require.ErrorIs(t, err, c.want)
				assert.Equal(t, after, time.Since(began))
				assert.ErrorContains(t, err, c.text)
				pending := must(p.Status(t.Context())).Pending
				assert.Equal(t, c.cancel, pending == nil, "the login goes on, unless it is cancelled")
			})
		})
	}
}

// Another process has ended the login, and plex.tv does not answer. Three polls that fail end
// the Wait, or the end of the PIN.
func TestEndedElsewhereDuringAnOutage(t *testing.T) {
	for name, c := range map[string]struct{ life, took, jitter time.Duration }{
		"after three polls": {15 * time.Minute, 40 * time.Second, 3 * time.Second},
		"at its end":        {25 * time.Second, 25 * time.Second, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.SetPinLifetime(c.life, c.life)
				p := w.open(t, func(o *plexauth.Options) { o.PollInterval = 10 * time.Second })
				require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
				w.plex.Inject(pinRequests(plextest.Fault{Status: 503, Times: -1}))
				time.AfterFunc(15*time.Second, func() { assert.NoError(t, w.Cancel(t.Context())) })
				began := time.Now()
				err := errOf(p.Wait(t.Context()))
				require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
				assert.NotErrorIs(t, err, plexauth.ErrPinExpired)
				assert.InDelta(t, c.took, time.Since(began), float64(c.jitter))
			})
		})
	}
}

// Another process has cancelled the login just before its PIN ends at plex.tv: it has expired.
// One that has refused the approval as another account's says that to all.
func TestEndedElsewhereAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{})), func(o *plexauth.Options) { o.PollInterval = 10 * time.Second })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		began := time.Now()
		time.AfterFunc(9*time.Second, func() {
			assert.NoError(t, w.Cancel(t.Context()))
			assert.NoError(t, w.plex.Expire(pin.Code))
		})
		require.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrPinExpired)
		assert.LessOrEqual(t, time.Since(began), 10*time.Second+500*time.Millisecond, "at once")
	})
}

// G22: all processes that wait for a login say that another account has approved it, also if
// plex.tv shows the token to one of them only.
func TestMismatchReachesAllProcesses(t *testing.T) {
	for name, once := range map[string]bool{"to all": false, "to one": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.replicas = true
				w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: once})
				pin := start(t, w)
				var wg sync.WaitGroup
				for range 2 {
					p := w.open(t)
					wg.Go(func() { assert.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrAccountMismatch) })
					time.Sleep(400 * time.Millisecond)
				}
				time.Sleep(2 * time.Second)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				wg.Wait()
			})
		})
	}
}

// G8: an older login does not count as the success of one that this process could never read,
// and that another one has cancelled.
func TestOlderLoginBesideAnUnreadOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
		ended := make(chan error, 1)
		go func() { ended <- errOf(p.Wait(t.Context())) }()
		time.Sleep(1500 * time.Millisecond)
		store.set(hooks{afterUpdate: calls(2, 2, does(func() { // the next PIN is saved, which ends the Wait for the first
			assert.ErrorIs(t, <-ended, plexauth.ErrPinSuperseded)
			store.set(hooks{beforeLoad: calls(1, 1, fails(errDisk))})
		}))})
		s, err := p.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(pin *plexauth.Pin) error {
			require.NoError(t, w.Cancel(t.Context()))
			return w.plex.Expire(pin.Code)
		})
		require.ErrorIs(t, err, plexauth.ErrPinExpired)
		assert.True(t, s.Connected, "with the older token")
	})
}

// staleStore runs each edit on an old document first, as a store does that tries again once
// another process was faster.
type staleStore struct {
	plexauth.ConfigStore
	old jsonRaw
}

func (s *staleStore) Update(ctx context.Context, ns string, edit edit) error {
	if s.old != nil {
		_, _ = edit(s.old)
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

// G8: what an edit has seen in an old document does not count: no PIN, and another token.
func TestRefusedOverAnOldDocument(t *testing.T) {
	w := signedIn(t)
	old := w.doc(t)
	w.relinkNow(t)
	store := &staleStore{ConfigStore: w.store}
	p := w.open(t, withStore(store))
	require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
	store.old = jsonRaw(old)
	w.plex.Inject(pinRequests(plextest.Fault{Code: 1004}))
	var e *plexauth.Error
	require.ErrorAs(t, errOf(p.Finish(t.Context())), &e)
	assert.Equal(t, 1004, e.Code)
	assert.Nil(t, must(w.Status(t.Context())).Pending)
}

// relinkNow signs alice in once more without waiting.
func (w *world) relinkNow(t *testing.T) {
	t.Helper()
	w.startAndApprove(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	require.NoError(t, errOf(w.Finish(t.Context())))
}

// What an Update has seen that was not carried out does not count either.
func TestRefusedWhileTheStoreFails(t *testing.T) {
	w := newWorld(t)
	store := w.hooked(hooks{})
	p := w.open(t, withStore(store))
	require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
	w.plex.Inject(pinRequests(plextest.Fault{Code: 1004}))
	store.set(hooks{
		beforeUpdate: once(func() { require.NoError(t, errOf(w.open(t).Start(t.Context(), plexauth.PinOptions{Strong: true}))) }),
		refuse:       func(jsonRaw) error { return errDisk },
	})
	var e *plexauth.Error
	require.ErrorAs(t, errOf(p.Finish(t.Context())), &e)
	assert.Equal(t, 1004, e.Code)
}

// A key that plex.tv refuses until the PIN ends is removed with it. One that plex.tv does not
// speak of stays, and so does one that a long-lived token is being moved to.
func TestKeyOfARefusedPIN(t *testing.T) {
	for name, c := range map[string]struct {
		moving bool
		fault  plextest.Fault
		kept   bool
	}{
		"refused key":   {false, plextest.Fault{Status: 422, Code: 1008}, false},
		"refused PIN":   {false, plextest.Fault{Code: 1004}, true},
		"a plain login": {true, plextest.Fault{Status: 422, Code: 1008}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.open(t, noRetries, func(o *plexauth.Options) { o.DeviceKey = !c.moving })
				if c.moving {
					w.signInNow(t)
					w.plex.Inject(plextest.Fault{Path: nonces, Status: 503})
					require.Error(t, errOf(p.UseDeviceKey(t.Context())))
				}
				require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
				require.Contains(t, w.stored(t), "_device")
				c.fault.Times = -1
				w.plex.Inject(pinRequests(c.fault))
				require.Error(t, errOf(p.Wait(t.Context())))
				assert.Equal(t, c.kept, w.stored(t)["_device"] != nil)
			})
		})
	}
}
