package plexauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
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

// Login shows a PIN, waits for its approval, and saves the token.
func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var shown *plexauth.Pin
		s, err := w.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			shown = pin
			time.AfterFunc(20*time.Second, func() { _ = w.plex.Approve(pin.Code, w.alice) })
			return nil
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Equal(t, "alice", s.User)
		assert.Nil(t, s.Pending)
		assert.Len(t, shown.Code, 4)
		v, err := w.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, w.plex.Token(w.alice, v.ClientID), v.AccountToken.Secret())
		assert.Regexp(t, `^[0-9a-f]{24}$`, v.ClientID)
	})
}

// Login cancels its PIN if it cannot be shown.
func TestLoginShowFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		oops := errors.New("no screen")
		_, err := w.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return oops })
		require.ErrorIs(t, err, oops)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.Nil(t, s.Pending)
		_, err = w.Wait(context.Background())
		assert.ErrorIs(t, err, plexauth.ErrNoPendingPin)
	})
}

// Login reports the end of its own PIN, which may be finished or replaced while it is
// shown.
func TestLoginFollowsItsPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, err := w.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			return errOf(w.Finish(t.Context()))
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
		_, err = w.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(*plexauth.Pin) error {
			pin, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
			require.NoError(t, err)
			return w.plex.Approve(pin.Code, w.alice)
		})
		require.ErrorIs(t, err, plexauth.ErrPinSuperseded)
		_, err = w.Login(t.Context(), plexauth.PinOptions{}, nil)
		require.ErrorContains(t, err, "shows the PIN")
	})
}

// G8: the process dies during a login, and the PIN is approved before the next one
// starts. The next process finds the approval.
func TestRestartInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, kill := context.WithCancel(t.Context())
		pin, err := w.Start(ctx, plexauth.PinOptions{})
		require.NoError(t, err)
		time.AfterFunc(5*time.Second, kill)
		_, err = w.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		time.Sleep(5 * time.Minute)

		p := w.open(t)
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		require.NotNil(t, s.Pending)
		assert.Equal(t, pin.Code, s.Pending.Code)
		assert.Equal(t, pin.URL(), s.Pending.URL())
		s, err = p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Equal(t, "alice", s.User)
	})
}

// G8, G12: clicks in several replicas make one PIN. The replica that finds the
// approval finishes the login for all.
func TestOneLivePIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		replicas := []*plexauth.PlexAuth{w.PlexAuth, w.open(t), w.open(t)}
		codes := make([]string, 9)
		var wg sync.WaitGroup
		for i := range codes {
			wg.Go(func() {
				pin, err := replicas[i%3].Start(t.Context(), plexauth.PinOptions{})
				if assert.NoError(t, err) {
					codes[i] = pin.Code
				}
			})
		}
		wg.Wait()
		for _, code := range codes {
			assert.Equal(t, codes[0], code)
		}
		assert.LessOrEqual(t, w.count("POST", "/api/v2/pins"), 3, "no more than one a process")
		for _, p := range replicas {
			wg.Go(func() {
				s, err := p.Wait(t.Context())
				assert.NoError(t, err)
				assert.True(t, s.Connected)
			})
		}
		time.Sleep(10 * time.Second)
		require.NoError(t, w.plex.Approve(codes[0], w.alice))
		wg.Wait()
	})
}

// A Start with other options supersedes the PIN at once in this process. A late
// approval of that PIN does not overwrite the newer login.
func TestSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() {
			_, err := w.Wait(t.Context())
			ended <- err
		}()
		time.Sleep(2500 * time.Millisecond)
		b, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		synctest.Wait()
		select {
		case err := <-ended:
			assert.ErrorIs(t, err, plexauth.ErrPinSuperseded)
		default:
			t.Error("the older Wait goes on")
		}
		require.NoError(t, w.plex.Approve(b.Code, w.alice))
		s, err := w.Wait(t.Context())
		require.NoError(t, err)
		require.True(t, s.Connected)
		before := w.doc(t)
		require.NoError(t, w.plex.Approve(a.Code, w.bob))
		_, err = w.Finish(t.Context())
		require.NoError(t, err)
		assert.Equal(t, before, w.doc(t))
	})
}

// A Finish that finds the token reads the store three times at most: to find the PIN, to
// save the token, and to save whose it is. Nothing but a read makes it parse anything.
func TestFinishReadsTheStoreThreeTimes(t *testing.T) {
	for name, o := range map[string]plexauth.Options{
		"a long-lived token": {}, "a device key": {DeviceKey: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var reads atomic.Int64
			count := does(func() { reads.Add(1) })
			store := w.hooked(hooks{beforeLoad: count, beforeUpdate: count})
			p := w.open(t, withStore(store), func(to *plexauth.Options) { to.DeviceKey = o.DeviceKey })
			for _, login := range []string{"the first", "over the first"} {
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err, login)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				reads.Store(0)
				s, err := p.Finish(t.Context())
				require.NoError(t, err, login)
				assert.True(t, s.Connected, login)
				assert.Equal(t, "alice", s.User, login)
				assert.LessOrEqual(t, reads.Load(), int64(3), login)
				fresh, err := p.Status(t.Context())
				require.NoError(t, err)
				assert.Equal(t, fresh, s, login)
			}
		})
	}
}

// G16: a call that reads the store more than once sees what another program has written in
// between, and keeps it.
func TestChangesBetweenTwoReads(t *testing.T) {
	for name, wrap := range map[string]func(plexauth.ConfigStore) plexauth.ConfigStore{
		"in memory": func(s plexauth.ConfigStore) plexauth.ConfigStore { return s },
		"as JSON":   func(s plexauth.ConfigStore) plexauth.ConfigStore { return &hookedStore{ConfigStore: s} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.signInNow(t)
			writes := func(key, value string) func() { return func() { w.edit(t, map[string]any{key: value}) } }
			starting := w.openInterrupted(t, "/api/v2/pins", writes("another_program", "during Start"), withStore(wrap(w.store)))
			pin, err := starting.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			assert.Equal(t, "during Start", w.stored(t)["another_program"])

			finishing := w.openInterrupted(t, fmt.Sprintf("/api/v2/pins/%d", pin.ID), writes("account_token", "TEST_another"), withStore(wrap(w.store)))
			before, err := finishing.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "alice", before.User)
			s, err := finishing.Finish(t.Context())
			require.NoError(t, err)
			require.NotNil(t, s.Pending)
			assert.Empty(t, s.User, "alice's token is gone")
		})
	}
}

// Finish does not report an older token as the success of this login.
func TestFinishReportsThisLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err := w.Finish(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		require.NotNil(t, s.Pending)
		s, err = w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected, "the old token still works")
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err = w.Finish(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected, "within a second a Finish answers from the last look")
		time.Sleep(time.Second)
		s, err = w.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// A login that begins while the store is being read is not ended by that old read.
func TestBegunWhileBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true}) // a replica
		require.NoError(t, err)
		var code string
		result := make(chan error, 1)
		store.set(hooks{afterLoad: once(func() {
			shown := make(chan bool)
			go func() {
				_, err := p.Login(t.Context(), plexauth.PinOptions{Strong: true}, func(pin *plexauth.Pin) error {
					code = pin.Code
					close(shown)
					return nil
				})
				result <- err
			}()
			<-shown
		})})
		_, err = p.Finish(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(code, w.alice))
		assert.NoError(t, <-result)
	})
}

// A second click finds a login that is being approved at this moment, and succeeds
// with it.
func TestStartDuringTheApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		store.set(hooks{afterUpdate: once(func() {
			time.Sleep(time.Second)
			s, err := p.Finish(t.Context())
			require.NoError(t, err)
			require.True(t, s.Connected)
		})})
		s, err := p.Login(t.Context(), plexauth.PinOptions{}, func(again *plexauth.Pin) error {
			assert.Equal(t, pin.Code, again.Code)
			return nil
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// The success of an earlier login does not count for one that is cancelled as it
// begins.
func TestEarlierLoginDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice)) // without a look
		time.Sleep(2 * time.Second)
		store.set(hooks{afterUpdate: does(func() {
			if s, err := p.Status(t.Context()); err == nil && s.Pending != nil && s.Pending.Code != pin.Code {
				store.set(hooks{})
				assert.NoError(t, p.Cancel(t.Context()))
			}
		})})
		_, err = p.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(*plexauth.Pin) error { return nil })
		require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
	})
}

// G8: a read that fails does not end a login that another replica has begun since, and
// that a caller here waits for.
func TestFailedReadKeepsTheNewerLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		other := w.open(t)
		result := make(chan error, 1)
		var newer *plexauth.Pin
		store.set(hooks{afterUpdate: does(func() {
			if s, err := p.Status(t.Context()); err != nil || s.Pending == nil {
				return
			}
			store.set(hooks{})
			var err error
			newer, err = other.Start(t.Context(), plexauth.PinOptions{Strong: true})
			assert.NoError(t, err)
			go func() {
				_, err := p.Wait(t.Context())
				result <- err
			}()
			time.Sleep(100 * time.Millisecond)
			store.set(hooks{beforeLoad: calls(1, 1, fails(errDisk))})
		})})
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrStore)
		require.NoError(t, w.plex.Approve(newer.Code, w.alice))
		assert.NoError(t, <-result)
	})
}

// G12: concurrent calls of Start make one PIN, even with options that no PIN has yet.
func TestConcurrentStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Times: -1, Delay: 2 * time.Second})
		var all sync.WaitGroup
		pins := make([]*plexauth.Pin, 5)
		for i := range pins {
			all.Go(func() {
				var err error
				pins[i], err = w.Start(t.Context(), plexauth.PinOptions{Strong: true})
				assert.NoError(t, err)
			})
		}
		all.Wait()
		assert.Equal(t, 1, w.count("POST", "/api/v2/pins"), "one PIN for all")
		for _, pin := range pins {
			assert.Equal(t, pins[0].ID, pin.ID)
		}
	})
}

// G9: callers that time out while an approved token waits for its account pass neither
// their error nor their pace to others.
func TestCallersThatTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		_, err = p.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable) // the token is parked
		w.plex.ResetFaults()
		time.Sleep(5 * time.Second)

		store.set(hooks{beforeLoad: takes(50 * time.Millisecond)})
		for range 4 {
			ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond) // in the second read
			_, err = p.Finish(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
			time.Sleep(1100 * time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		defer cancel()
		_, err = p.Finish(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s, err := p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// Login asks a person only if that helps. If the profile is signed in, it returns its
// Status without a request and shows no code.
func TestLoginWhereSignedIn(t *testing.T) {
	weeks := func(t *testing.T, _ *world) { time.Sleep(30 * 24 * time.Hour) }
	for name, tc := range map[string]struct {
		deviceKey bool
		before    func(t *testing.T, w *world)
		o         plexauth.PinOptions
		instance  string
		asks      bool
	}{
		"signed in":                {},
		"other options":            {o: plexauth.PinOptions{Strong: true}},
		"with a device key":        {deviceKey: true},
		"the JWT is to be renewed": {deviceKey: true, before: weeks},
		"a login is pending": {before: func(t *testing.T, w *world) {
			require.NoError(t, errOf(w.Start(t.Context(), plexauth.PinOptions{})))
		}},
		"switch account":  {o: plexauth.PinOptions{SwitchAccount: true}, asks: true},
		"another profile": {instance: "P1", asks: true},
		"signed out here": {asks: true, before: func(t *testing.T, w *world) {
			require.NoError(t, errOf(w.Disconnect(t.Context())))
		}},
		"rejected": {asks: true, before: func(t *testing.T, w *world) {
			w.plex.Revoke(w.alice)
			require.ErrorIs(t, errOf(w.Verify(t.Context())), plexauth.ErrTokenRejected)
		}},
		"the key is damaged": {deviceKey: true, asks: true, before: func(t *testing.T, w *world) {
			put(t, w.store, regexp.MustCompile(`"secret":"[^"]*"`).ReplaceAllString(w.doc(t), `"secret":"x"`))
		}},
		"a JWT without a key has expired": {deviceKey: true, asks: true, before: func(t *testing.T, w *world) {
			put(t, w.store, regexp.MustCompile(`"_device":\{[^}]*\}`).ReplaceAllString(w.doc(t), `"_device":null`))
			weeks(t, w)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey = tc.deviceKey })
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				if tc.before != nil {
					tc.before(t, w)
				}
				p := w.open(t, func(o *plexauth.Options) { o.DeviceKey = tc.deviceKey }).Instance(tc.instance)
				requests, began, asked := w.fromNow(), time.Now(), false
				before, err := p.Status(t.Context())
				require.NoError(t, err)
				s, err := p.Login(t.Context(), tc.o, func(pin *plexauth.Pin) error {
					asked = true
					return w.plex.Approve(pin.Code, w.alice)
				})
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)
				assert.Equal(t, tc.asks, asked)
				if !tc.asks {
					assert.Equal(t, before, s)
					assert.Zero(t, time.Since(began))
					assert.Empty(t, requests())
				}
			})
		})
	}
}

// Wrong options and a failing store are errors even if the profile is signed in.
func TestLoginWhereSignedInFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signInNow(t)
		show := func(*plexauth.Pin) error {
			t.Error("a code is shown")
			return nil
		}
		_, err := w.Login(t.Context(), plexauth.PinOptions{ForwardURL: "https://app.example"}, show)
		require.ErrorContains(t, err, "ForwardURL")
		_, err = w.Login(t.Context(), plexauth.PinOptions{}, nil)
		require.ErrorContains(t, err, "shows the PIN")
		_, err = w.Instance("a\nb").Login(t.Context(), plexauth.PinOptions{}, show)
		require.ErrorContains(t, err, "Instance")
		store := w.hooked(hooks{beforeLoad: hang})
		_, err = w.open(t, withStore(store)).Login(t.Context(), plexauth.PinOptions{}, show)
		require.ErrorIs(t, err, plexauth.ErrStore)
	})
}

// G8: another process settles a parked token just before Start or Cancel does. That is
// not an error.
func TestSettledAtTheSameTime(t *testing.T) {
	for name, tc := range map[string]struct {
		at   int64 // the Update of the settling
		call func(*plexauth.PlexAuth, context.Context) error
	}{
		"Start":  {2, func(p *plexauth.PlexAuth, c context.Context) error { return errOf(p.Start(c, plexauth.PinOptions{})) }},
		"Cancel": {1, (*plexauth.PlexAuth).Cancel},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signInNow(t)
				old := start(t, w)
				require.NoError(t, w.plex.Approve(old.Code, w.bob))
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
				_, err := w.Finish(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable, "parked")
				w.plex.ResetFaults()
				met := false
				p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: calls(tc.at, tc.at, does(func() {
					met = true
					assert.ErrorIs(t, errOf(w.Verify(t.Context())), plexauth.ErrAccountMismatch)
				}))})))
				require.NoError(t, tc.call(p, t.Context()))
				assert.True(t, met, "the moment was met")
				s, err := p.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				if name == "Cancel" {
					assert.Nil(t, s.Pending)
				} else if assert.NotNil(t, s.Pending) {
					assert.NotEqual(t, old.Code, s.Pending.Code)
				}
			})
		})
	}
}

// All callers that wait succeed when another call settles their login, without a
// further look.
func TestSettledByAnotherCaller(t *testing.T) {
	for name, settle := range map[string]func(*plexauth.PlexAuth, context.Context) error{
		"Cancel": func(p *plexauth.PlexAuth, c context.Context) error { return p.Cancel(c) },
		"Verify": func(p *plexauth.PlexAuth, c context.Context) error { return errOf(p.Verify(c)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
				ended := make(chan error, 1)
				go func() {
					_, err := w.Wait(t.Context())
					ended <- err
				}()
				time.Sleep(10 * time.Second)
				w.plex.ResetFaults()
				asked := w.fromNow()
				require.NoError(t, settle(w.PlexAuth, t.Context()))
				assert.NoError(t, <-ended)
				assert.Empty(t, only(asked(), "GET", "/api/v2/pins/{id}"))
			})
		})
	}
}

// Answers without headers and lengths, as people write them in tests, are understood.
func TestHandMadeAnswers(t *testing.T) {
	answer := func(status int, body string) *http.Response {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))} // no length, no header
	}
	p := openOver(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.Method == "POST":
			return answer(201, `{"id":1,"code":"ABCD","errors":null}`), nil
		case strings.HasSuffix(r.URL.Path, "/user"):
			return answer(200, `{"id":7,"username":"alice","errors":[]}`), nil
		}
		return answer(200, `{"id":1,"authToken":"TEST_token","errors":[]}`), nil
	}))
	_, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	s, err := p.Finish(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "alice", s.User)
	for _, resp := range []*http.Response{nil, {StatusCode: 200}} {
		p := openOver(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.Method == "POST" {
				return answer(201, `{"id":1,"code":"ABCD"}`), nil
			}
			return resp, nil
		}))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p.Finish(t.Context())
		assert.ErrorIs(t, err, plexauth.ErrUnavailable)
	}
}

// A Finish that ends its login without a token is not connected, although an older token works.
func TestFinishOfARefusedLogin(t *testing.T) {
	w := signedIn(t)
	start(t, w)
	w.plex.Inject(pinRequests(plextest.Fault{Code: 1004}))
	s, err := w.Finish(t.Context())
	require.Error(t, err)
	assert.False(t, s.Connected)
	assert.True(t, must(w.Status(t.Context())).Connected)
}
