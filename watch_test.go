package plexauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
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

// watched is a Watch under way.
type watched struct {
	cancel context.CancelFunc
	ended  chan error

	mu   sync.Mutex
	told []plexauth.Status
}

// watching begins a Watch of p.
func watching(t *testing.T, p *plexauth.PlexAuth) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		w.ended <- p.Watch(ctx, func(s plexauth.Status) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, s)
		})
	}()
	synctest.Wait()
	return w
}

// stop ends the Watch.
func (w *watched) stop() error {
	w.cancel()
	return <-w.ended
}

// all returns what was told so far.
func (w *watched) all() []plexauth.Status {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

// last returns what was told last.
func (w *watched) last(t *testing.T) plexauth.Status {
	t.Helper()
	all := w.all()
	require.NotEmpty(t, all)
	return all[len(all)-1]
}

// G28: Watch tells the present state, and each change: at once if its own PlexAuth has made
// it, and within 15 seconds if another process has.
func TestWatchTellsChanges(t *testing.T) {
	for name, within := range map[string]time.Duration{"in this process": 0, "in another process": 15 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p, other := w.Instance("PLEX-P01"), w.Instance("PLEX-P01")
				if within > 0 {
					other = w.open(t).Instance("PLEX-P01")
				}
				watch := watching(t, p)
				none := plexauth.Status{Label: "Plex (PLEX-P01)", Instance: "PLEX-P01"}
				assert.Equal(t, []plexauth.Status{none}, watch.all())

				after := func(change func()) plexauth.Status {
					time.Sleep(7 * time.Second) // in between two reads
					change()
					time.Sleep(within)
					now, told := watch.last(t), len(watch.all())
					time.Sleep(time.Minute)
					assert.Len(t, watch.all(), told, "nothing has changed")
					return now
				}
				var pin *plexauth.Pin
				s := after(func() {
					var err error
					pin, err = other.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
				})
				require.NotNil(t, s.Pending)
				assert.Equal(t, pin.Code, s.Pending.Code)
				s = after(func() {
					other2, err := other.Start(t.Context(), plexauth.PinOptions{Strong: true})
					require.NoError(t, err)
					pin = other2
				})
				require.NotNil(t, s.Pending)
				assert.Equal(t, pin.Code, s.Pending.Code, "another PIN")
				s = after(func() { require.NoError(t, other.Cancel(t.Context())) })
				assert.Equal(t, none, s)
				s = after(func() { w.signIn(t, other, w.alice, plexauth.PinOptions{}) })
				assert.True(t, s.Connected)
				assert.Equal(t, "alice", s.User)
				assert.Nil(t, s.Pending)
				s = after(func() { w.signIn(t, other, w.bob, plexauth.PinOptions{SwitchAccount: true}) })
				assert.True(t, s.Connected)
				assert.Equal(t, "bob", s.User)
				s = after(func() {
					w.plex.Revoke(w.bob)
					assert.ErrorIs(t, errOf(other.Verify(t.Context())), plexauth.ErrTokenRejected)
				})
				assert.False(t, s.Connected)
				assert.True(t, s.NeedsLogin)
				s = after(func() { w.signIn(t, other, w.bob, plexauth.PinOptions{}) })
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)
				s = after(func() { require.NoError(t, errOf(other.Disconnect(t.Context()))) })
				assert.Equal(t, none, s)
				require.ErrorIs(t, watch.stop(), context.Canceled)
			})
		})
	}
}

// Whatever another program does to the document, Watch tells what is there now.
func TestWatchTellsWhatOtherProgramsDo(t *testing.T) {
	const account = `"username":"alice","_cloud":{"account_id":%d}`
	login := func(id int) string {
		return fmt.Sprintf(`{"client_id":"app","account_token":"TEST_a",`+account+`}`, id)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		put(t, w.store, login(1))
		watch := watching(t, w.PlexAuth)
		for name, doc := range map[string]string{
			"another account with that name": login(2), "the token is deleted": `{"client_id":"app"}`, "all is deleted": `{}`,
		} {
			put(t, w.store, doc)
			told := len(watch.all())
			time.Sleep(15 * time.Second)
			assert.Len(t, watch.all(), told+1, name)
			assert.Equal(t, strings.Contains(doc, "token"), watch.last(t).Connected)
			put(t, w.store, login(1))
			time.Sleep(15 * time.Second)
			assert.True(t, watch.last(t).Connected)
		}
		require.ErrorIs(t, watch.stop(), context.Canceled)
	})
}

// G18, G28: a document that is cut short changes nothing that is told.
func TestWatchOverADamagedDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := signedIn(t)
		store := &cutStore{ConfigStore: w.store}
		p := w.open(t, withStore(store))
		watch := watching(t, p)
		store.cut.Store(true)
		time.Sleep(time.Minute)
		require.Len(t, watch.all(), 1)
		assert.Equal(t, 1, strings.Count(w.log.String(), "cannot read the store"))
		store.cut.Store(false)
		time.Sleep(time.Minute)
		require.Len(t, watch.all(), 1)
		require.NoError(t, errOf(p.Disconnect(t.Context())))
		assert.False(t, watch.last(t).Connected)
		require.ErrorIs(t, watch.stop(), context.Canceled)
	})
}

// G28: a JWT without its key ends by itself, which is told although no one has written.
func TestWatchTellsAnExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.credentials(t)
		time.Sleep(6 * day)
		put(t, w.store, jsonText(map[string]any{"client_id": b.Device.ClientID, "account_token": b.AccountToken}))
		watch := watching(t, w.open(t))
		assert.True(t, watch.last(t).Connected)
		time.Sleep(day)
		assert.False(t, watch.last(t).Connected)
		assert.True(t, watch.last(t).NeedsLogin)
		require.ErrorIs(t, watch.stop(), context.Canceled)
	})
}

// A pending login that no one finishes is told, and that it is over. Watch does not ask
// plex.tv about it.
func TestWatchReportsAPendingLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin := start(t, w)
		watch := watching(t, w.open(t))
		require.NotNil(t, watch.last(t).Pending)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		time.Sleep(16 * time.Minute)
		assert.Nil(t, watch.last(t).Pending)
		assert.Len(t, watch.all(), 2)
		assert.Zero(t, w.count(http.MethodGet, "/api/v2/pins/{id}"))
		require.ErrorIs(t, watch.stop(), context.Canceled)
	})
}

// G28: all Watches of a profile together read the store once in 15 seconds, which is enough to
// tell what another process does.
func TestWatchReadsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := signedIn(t)
		var reads atomic.Int64
		store := w.hooked(hooks{beforeLoad: does(func() { reads.Add(1) })})
		p := w.open(t, withStore(store))
		var all []*watched
		for range 5 {
			all = append(all, watching(t, p))
			time.Sleep(4 * time.Second)
		}
		for _, watch := range all {
			require.Len(t, watch.all(), 1, "the present state")
		}
		reads.Store(0)
		time.Sleep(10 * time.Minute)
		const check = 3 // reads, if the daily one falls into the ten minutes
		assert.LessOrEqual(t, reads.Load(), int64(10*60/15+1+check))

		require.NoError(t, errOf(w.Disconnect(t.Context())))
		time.Sleep(15 * time.Second)
		for _, watch := range all {
			assert.False(t, watch.last(t).Connected)
			require.ErrorIs(t, watch.stop(), context.Canceled)
		}
	})
}

// G9: a Watch keeps one entry of its profile, and drops it when it ends.
func TestWatchKeepsOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := signedIn(t)
		first, second := watching(t, w.PlexAuth), watching(t, w.Instance("default"))
		time.Sleep(3 * day)
		assert.Equal(t, 1, plexauth.ProfilesInUse(w.PlexAuth))
		require.ErrorIs(t, first.stop(), context.Canceled)
		assert.Equal(t, 1, plexauth.ProfilesInUse(w.PlexAuth))
		require.ErrorIs(t, second.stop(), context.Canceled)
		assert.Zero(t, plexauth.ProfilesInUse(w.PlexAuth))
	})
}

// A slow function is never called twice at once, and is told the latest state.
func TestWatchSlowFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := signedIn(t)
		ctx, cancel := context.WithCancel(t.Context())
		var told []plexauth.Status
		var inside atomic.Int32
		ended := make(chan error, 1)
		go func() {
			ended <- w.Watch(ctx, func(s plexauth.Status) {
				assert.EqualValues(t, 1, inside.Add(1))
				told = append(told, s)
				time.Sleep(time.Minute)
				inside.Add(-1)
			})
		}()
		synctest.Wait()
		for range 7 { // while the first call runs
			require.NoError(t, errOf(w.Disconnect(t.Context())))
			w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		}
		require.NoError(t, errOf(w.Disconnect(t.Context())))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, told, 2)
		assert.False(t, told[1].Connected)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		assert.Len(t, told, 2)
	})
}

// The function may use the PlexAuth, also to change what is told.
func TestWatchFunctionCallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := signedIn(t)
		ctx, cancel := context.WithCancel(t.Context())
		var told []bool
		err := w.Watch(ctx, func(s plexauth.Status) {
			told = append(told, s.Connected)
			if !s.Connected {
				cancel()
				return
			}
			assert.NoError(t, errOf(w.SignOut(t.Context())))
		})
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, []bool{true, false}, told)
	})
}

// A panic of what the program has handed in reaches the caller of Watch, which leaves
// nothing behind and can begin again.
func TestWatchPanics(t *testing.T) {
	boom := errors.New("boom")
	panics := func() { panic(boom) }
	for name, c := range map[string]struct {
		store   hooks
		changed func()
	}{
		"function": {hooks{}, panics},
		"load":     {hooks{beforeLoad: calls(3, 3, does(panics))}, func() {}},
		"check":    {hooks{beforeUpdate: does(panics)}, func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := signedIn(t)
				p := w.open(t, withStore(w.hooked(c.store)))
				assert.PanicsWithValue(t, boom, func() {
					_ = p.Watch(t.Context(), func(plexauth.Status) { c.changed() })
				})
				assert.Zero(t, plexauth.ProfilesInUse(p))
				watch := watching(t, p)
				assert.True(t, watch.last(t).Connected)
				require.ErrorIs(t, watch.stop(), context.Canceled)
			})
		})
	}
}

func TestWatchWithoutAFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), 8*day)
		defer cancel()
		require.ErrorIs(t, w.Watch(ctx, nil), context.DeadlineExceeded)
		assert.NotZero(t, w.count(http.MethodPost, exchanges), "the login was kept alive")
	})
}

func TestWatchOfABadName(t *testing.T) {
	w := newWorld(t)
	assert.ErrorContains(t, w.Instance("a\nb").Watch(t.Context(), nil), "Instance")
	assert.ErrorContains(t, w.Namespace("a\nb").Watch(t.Context(), nil), "Namespace")
}

// G9: Watch returns within a second of its context's end, whatever is under way then.
func TestWatchStops(t *testing.T) {
	for name, where := range map[string]struct {
		store func(hang hook) hooks
		path  string // of requests that hang
	}{
		"idle":                       {},
		"reading the store":          {store: func(hang hook) hooks { return hooks{beforeLoad: calls(3, 1000, hang)} }},
		"before a check or renewal":  {store: func(hang hook) hooks { return hooks{beforeUpdate: hang} }},
		"in a check":                 {path: "/api/v2/user"},
		"in a renewal":               {path: nonces},
		"late in a renewal":          {path: exchanges},
		"when a check is not undone": {store: func(hang hook) hooks { return hooks{beforeUpdate: calls(2, 1000, hang)} }, path: "/api/v2/user"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				ctx, cancel := context.WithTimeout(t.Context(), 6*day)
				defer cancel()
				var stopped atomic.Pointer[time.Time]
				stop := func() {
					now := time.Now()
					stopped.CompareAndSwap(nil, &now)
					cancel()
				}
				hang := func(ctx context.Context) error {
					time.AfterFunc(300*time.Millisecond, stop)
					return hang(ctx)
				}
				p := w.open(t, func(o *plexauth.Options) {
					if where.store != nil {
						o.Store = w.hooked(where.store(hang))
					}
					o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
						if r.URL.Path == where.path {
							return nil, hang(r.Context())
						}
						return w.plex.Client().Transport.RoundTrip(r)
					})}
				})
				err := p.Watch(ctx, nil)
				if name == "idle" {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				require.ErrorIs(t, err, context.Canceled)
				assert.LessOrEqual(t, time.Since(*stopped.Load()), time.Second)
			}) // the bubble panics if a goroutine stays behind
		})
	}
}

// G28: a token that plex.tv has ended is told within a day, whenever that was, and plex.tv
// is then left alone. plex.tv is asked once a day.
func TestToldWithinADay(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*plexauth.Options)
		store   hooks
		asked   string
		atMost  int // in nine days
		revoked func(w *world)
	}{
		"a long-lived token": {func(*plexauth.Options) {}, hooks{}, "/api/v2/user", 10, func(w *world) { w.plex.Revoke(w.alice) }},
		"a store that cannot be written": {func(*plexauth.Options) {}, hooks{beforeUpdate: fails(errReadOnly)}, "/api/v2/user", 10,
			func(w *world) { w.plex.Revoke(w.alice) }},
		"a device": {deviceKey, hooks{}, "/api/v2/user", 10, func(w *world) {
			w.plex.RevokeDevice(w.credentials(w.t).Device.ClientID)
			w.plex.Revoke(w.alice)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 5 {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, c.change)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					p := w.open(t, c.change, withStore(w.hooked(c.store)))
					asked := w.fromNow()
					watch := watching(t, p)
					time.Sleep(8*day + time.Duration(i)*5*time.Hour)
					require.Len(t, watch.all(), 1, "nothing has changed")
					assert.GreaterOrEqual(t, len(only(asked(), http.MethodGet, c.asked)), 8)
					assert.LessOrEqual(t, len(only(asked(), http.MethodGet, c.asked)), c.atMost)
					w.t = t
					c.revoked(w)
					time.Sleep(day)
					require.Len(t, watch.all(), 2)
					assert.False(t, watch.last(t).Connected)
					assert.True(t, watch.last(t).NeedsLogin)
					asked = w.fromNow()
					time.Sleep(3 * day)
					assert.Empty(t, asked())
					require.ErrorIs(t, watch.stop(), context.Canceled)
				})
			}
		})
	}
}

// G28: many Watches over one store, in one process and in several, ask once a day together.
func TestOneCheckForAllWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := signedIn(t)
		asked := w.fromNow()
		var all []*watched
		for range 4 {
			p := w.open(t)
			all = append(all, watching(t, p), watching(t, p))
		}
		time.Sleep(10 * day)
		assert.GreaterOrEqual(t, len(asked()), 10)
		assert.LessOrEqual(t, len(asked()), 11)
		w.plex.Revoke(w.alice)
		time.Sleep(day + 15*time.Second)
		for _, watch := range all {
			assert.True(t, watch.last(t).NeedsLogin)
			require.ErrorIs(t, watch.stop(), context.Canceled)
		}
	})
}

// G28: a program that is restarted every hour asks about once a day, also if it runs for a
// few minutes only, or cannot write to the store.
func TestCheckAcrossRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		runs, rests   time.Duration
		store         hooks
		least, atMost int // requests in 20 days
	}{
		"restarted every hour":                   {time.Hour, 0, hooks{}, 19, 21},
		"ten minutes each hour":                  {10 * time.Minute, 50 * time.Minute, hooks{}, 15, 21},
		"never at its time of day":               {8 * time.Hour, 16 * time.Hour, hooks{}, 19, 21},
		"restarted every hour, store read-only":  {time.Hour, 0, hooks{beforeUpdate: fails(errReadOnly)}, 19, 80},
		"ten minutes each hour, store read-only": {10 * time.Minute, 50 * time.Minute, hooks{beforeUpdate: fails(errReadOnly)}, 0, 40},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := signedIn(t)
				first := watching(t, w.open(t, withStore(w.hooked(c.store))))
				time.Sleep(day + 8*time.Hour) // the profile's time of day is a quarter past six
				require.ErrorIs(t, first.stop(), context.Canceled)
				asked := w.fromNow()
				for range 20 * day / (c.runs + c.rests) {
					watch := watching(t, w.open(t, withStore(w.hooked(c.store))))
					time.Sleep(c.runs)
					require.ErrorIs(t, watch.stop(), context.Canceled)
					time.Sleep(c.rests)
				}
				assert.GreaterOrEqual(t, len(asked()), c.least)
				assert.LessOrEqual(t, len(asked()), c.atMost)
			})
		})
	}
}

// checkedOnce returns a world with a login that was checked less than two hours ago, at the
// profile's time of day, which is a quarter past six.
func checkedOnce(t *testing.T) *world {
	w := signedIn(t)
	first := watching(t, w.open(t))
	time.Sleep(day + 8*time.Hour)
	require.ErrorIs(t, first.stop(), context.Canceled)
	return w
}

// G28: a check that a program has begun as it ended is made by the next one.
func TestCheckOfAProgramThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := checkedOnce(t)
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		p := w.open(t, withStore(w.hooked(hooks{afterUpdate: once(cancel)})))
		require.ErrorIs(t, p.Watch(ctx, nil), context.Canceled)
		require.Greater(t, time.Since(began), 20*time.Hour)
		w.plex.Revoke(w.alice)
		watch := watching(t, w.open(t))
		time.Sleep(time.Hour)
		assert.True(t, watch.last(t).NeedsLogin)
		require.ErrorIs(t, watch.stop(), context.Canceled)
	})
}

// G28: a rejection that the store could not take is saved soon after it can, so that other
// programs hear of it.
func TestRejectionIsSavedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := checkedOnce(t)
		store := w.hooked(hooks{refuse: func(next jsonRaw) error {
			if bytes.Contains(next, []byte(`"_rejected"`)) {
				return errDisk
			}
			return nil
		}})
		one, other := watching(t, w.open(t, withStore(store))), watching(t, w.open(t, withStore(store)))
		w.plex.Revoke(w.alice)
		time.Sleep(day)
		assert.NotEqual(t, one.last(t).NeedsLogin, other.last(t).NeedsLogin, "one has asked")
		store.set(hooks{})
		time.Sleep(2 * time.Hour)
		assert.True(t, one.last(t).NeedsLogin)
		assert.True(t, other.last(t).NeedsLogin)
		require.ErrorIs(t, one.stop(), context.Canceled)
		require.ErrorIs(t, other.stop(), context.Canceled)
	})
}

// G28, G10: an outage of days changes nothing that is told. It is logged once, and what it
// has delayed is done soon after its end.
func TestWatchOutlivesOutages(t *testing.T) {
	outage := func(f plextest.Fault) func(*world, *hookedStore) {
		f.Times = -1
		return func(w *world, _ *hookedStore) { w.plex.Inject(f) }
	}
	for name, begin := range map[string]func(*world, *hookedStore){
		"plex.tv is down":      outage(plextest.Fault{Status: 503}),
		"the network is down":  outage(plextest.Fault{Reset: true}),
		"plex.tv hangs":        outage(plextest.Fault{Hang: true}),
		"a captive portal":     outage(plextest.Fault{Status: 200, Body: "<html>", ContentType: "text/html"}),
		"too many requests":    outage(plextest.Fault{Status: 429, Header: http.Header{"Retry-After": {"600"}}}),
		"forbidden":            outage(plextest.Fault{Status: 403}),
		"the store fails":      func(_ *world, s *hookedStore) { s.set(hooks{beforeLoad: fails(errDisk), beforeUpdate: fails(errDisk)}) },
		"the store is corrupt": func(_ *world, s *hookedStore) { s.set(hooks{beforeLoad: fails(plexauth.ErrCorruptConfig)}) },
	} {
		for kind, option := range map[string]func(*plexauth.Options){"long-lived": func(*plexauth.Options) {}, "device": deviceKey} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, option)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					store := w.hooked(hooks{})
					watch := watching(t, w.open(t, option, withStore(store)))
					time.Sleep(4 * day)
					logged := len(w.log.String())
					begin(w, store)
					time.Sleep(3 * day)
					require.Len(t, watch.all(), 1)
					assert.True(t, watch.last(t).Connected)
					news := w.log.String()[logged:]
					assert.NotContains(t, news, "rejected")
					assert.LessOrEqual(t, strings.Count(news, "level=WARN"), 2, "one for the checks, one for the renewal:\n%s", news)
					assert.GreaterOrEqual(t, strings.Count(news, "level=WARN"), 1)

					w.plex.Revoke(w.alice)
					if kind == "device" {
						w.plex.RevokeDevice(w.credentials(t).Device.ClientID)
					}
					w.plex.ResetFaults()
					store.set(hooks{})
					time.Sleep(63*time.Minute + 15*time.Second)
					require.Len(t, watch.all(), 2)
					assert.True(t, watch.last(t).NeedsLogin)
					require.ErrorIs(t, watch.stop(), context.Canceled)
				})
			})
		}
	}
}

// G28: while a renewal has to rest after a failure, the store is read no more often than otherwise.
func TestWatchReadsSeldomWhileItCannotRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.Inject(plextest.Fault{Path: nonces, Status: http.StatusBadGateway, Times: -1})
		time.Sleep(6 * day)
		var reads atomic.Int64
		watch := watching(t, w.open(t, withStore(w.hooked(hooks{beforeLoad: does(func() { reads.Add(1) })}))))
		time.Sleep(time.Hour)
		reads.Store(0)
		time.Sleep(6 * time.Hour)
		const attempt = 10 // reads for each, every seven minutes at most
		assert.LessOrEqual(t, reads.Load(), int64(6*60*60/15+6*60/7*attempt))
		require.ErrorIs(t, watch.stop(), context.Canceled)
	})
}

// G24: Watch alone keeps a login with a device key alive for a month, with one exchange
// for all Watches in all processes.
func TestWatchRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		var all []*watched
		for range 4 {
			p := w.open(t)
			all = append(all, watching(t, p), watching(t, p))
		}
		for range 30 {
			time.Sleep(day)
			s, err := w.Status(t.Context())
			require.NoError(t, err)
			assert.Greater(t, time.Until(s.ExpiresAt), 7*day/4-time.Minute)
		}
		assert.GreaterOrEqual(t, w.count(http.MethodPost, exchanges), 5)
		assert.LessOrEqual(t, w.count(http.MethodPost, exchanges), 6)
		for _, watch := range all {
			assert.Len(t, watch.all(), 1)
			require.ErrorIs(t, watch.stop(), context.Canceled)
		}
	})
}
