package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// keeper is a web app that keeps its visitors' logins.
type keeper struct {
	*world
	logins *plexauth.PlexAuth
	store  *fallibleStore
	links  atomic.Int32 // how often the app was asked where to keep a login
}

// fallibleStore fails when it is told to.
type fallibleStore struct {
	plexauth.ConfigStore
	load, update, commit atomic.Pointer[error] // before a read, before a write, after a write
}

func (s *fallibleStore) Load(ctx context.Context, ns string) (json.RawMessage, error) {
	if err := s.load.Load(); err != nil {
		return nil, *err
	}
	return s.ConfigStore.Load(ctx, ns)
}

func (s *fallibleStore) Update(ctx context.Context, ns string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	if err := s.update.Load(); err != nil {
		return *err
	}
	err := s.ConfigStore.Update(ctx, ns, edit)
	if after := s.commit.Load(); after != nil && err == nil {
		err = *after
	}
	return err
}

var errStoreDown = errors.New("the database is down")

// newKeeper returns an app that lets everyone in, and keeps each login in a document of
// its own.
func newKeeper(t *testing.T, change ...func(*keeper, *signin.Options)) *keeper {
	t.Helper()
	k := &keeper{store: &fallibleStore{ConfigStore: plexauth.NewMemoryStore()}}
	k.world = newWorld(t, func(w *world, o *signin.Options) {
		k.world = w
		var err error
		k.logins, err = plexauth.New(plexauth.Options{Product: "My App", Store: k.store, HTTPClient: w.plex.Client()})
		require.NoError(t, err)
		k.keep(w, o)
		for _, f := range change {
			f(k, o)
		}
	})
	return k
}

// keep lets in everyone but eve, and keeps their logins.
func (k *keeper) keep(w *world, o *signin.Options) {
	o.Policy = func(_ context.Context, v signin.Visitor) (bool, error) { return v.Account.ID != w.eve.ID, nil }
	o.Link = func(a plexauth.Account) *plexauth.PlexAuth {
		k.links.Add(1)
		return k.of(a.ID)
	}
}

// replica returns a Handler of another process with the same store.
func (k *keeper) replica(change ...func(*world, *signin.Options)) *signin.Handler {
	k.t.Helper()
	logins, err := plexauth.New(plexauth.Options{Product: "My App", Store: &fallibleStore{ConfigStore: k.store}, HTTPClient: k.plex.Client()})
	require.NoError(k.t, err)
	return k.handler(append([]func(*world, *signin.Options){k.keep, func(_ *world, o *signin.Options) {
		o.Link = func(a plexauth.Account) *plexauth.PlexAuth {
			return logins.Namespace("plex/" + strconv.FormatInt(a.ID, 10))
		}
	}}, change...)...)
}

// of returns the login that the app keeps of an account.
func (k *keeper) of(id int64) *plexauth.PlexAuth {
	return k.logins.Namespace("plex/" + strconv.FormatInt(id, 10))
}

// hasLogin asserts that the app keeps a login of u that works, under this identifier.
func (k *keeper) hasLogin(u *plextest.User, clientID string) {
	k.t.Helper()
	s, err := k.of(u.ID).Verify(k.t.Context())
	require.NoError(k.t, err)
	assert.True(k.t, s.Connected)
	assert.Equal(k.t, u.Username, s.User)
	v, err := k.of(u.ID).Settings(k.t.Context())
	require.NoError(k.t, err)
	assert.Equal(k.t, clientID, v.ClientID)
	assert.Equal(k.t, k.plex.Token(u, clientID), v.AccountToken.Secret())
}

// finish signs in as u with a new browser. It returns the last answer, and the client
// identifier of the sign-in.
func (k *keeper) finish(u *plextest.User) (*httptest.ResponseRecorder, string) {
	k.t.Helper()
	b, q := k.approved(k, u)
	return b.post("/signin/finish"), q.Get("clientID")
}

// G29: the login of a visitor whom the policy lets in is kept where the app says, before
// the app starts a session. The login of anyone else is not.
func TestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, func(k *keeper, o *signin.Options) {
			started := o.OnSignIn
			o.OnSignIn = func(w http.ResponseWriter, r *http.Request, a plexauth.Account) {
				s, err := k.of(a.ID).Status(r.Context())
				assert.NoError(t, err)
				assert.True(t, s.Connected)
				started(w, r, a)
			}
		})
		rec, clientID := k.finish(k.bob)
		assert.Equal(t, http.StatusSeeOther, rec.Code)
		require.Len(t, k.signedIn, 1)
		k.hasLogin(k.bob, clientID)

		rec, clientID = k.finish(k.eve)
		assert.Equal(t, http.StatusForbidden, rec.Code)
		assert.EqualValues(t, 1, k.links.Load())
		assert.Empty(t, k.plex.Token(k.eve, clientID))
		assert.NotContains(t, k.log.b.String(), "FAKE_")
	})
}

// G29: without a place for it, a visitor's token is revoked.
func TestLinkNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, func(_ *keeper, o *signin.Options) {
			o.Link = func(plexauth.Account) *plexauth.PlexAuth { return nil }
		})
		rec, clientID := k.finish(k.bob)
		assert.Equal(t, http.StatusSeeOther, rec.Code)
		assert.Len(t, k.signedIn, 1)
		assert.Empty(t, k.plex.Token(k.bob, clientID))
	})
}

// G29: a login of the same account that works stays, and the new one is signed out. One
// that plex.tv has ended is replaced.
func TestLinkAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		_, first := k.finish(k.bob)
		rec, second := k.finish(k.bob)
		assert.Equal(t, http.StatusSeeOther, rec.Code)
		k.hasLogin(k.bob, first)
		assert.Empty(t, k.plex.Token(k.bob, second))

		k.plex.Revoke(k.bob)
		rec, third := k.finish(k.bob)
		assert.Equal(t, http.StatusSeeOther, rec.Code)
		k.hasLogin(k.bob, third)
		assert.Len(t, k.signedIn, 3)
	})
}

// G29: a login that works, but soon needs a new one, is replaced.
func TestLinkOverALoginThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		device, err := plexauth.New(plexauth.Options{Product: "My App", Store: k.store, HTTPClient: k.plex.Client(), DeviceKey: true, Namespace: fmt.Sprint("plex/", k.bob.ID)})
		require.NoError(t, err)
		_, err = device.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return k.plex.Approve(pin.Code, k.bob) })
		require.NoError(t, err)
		require.NoError(t, k.store.Update(t.Context(), fmt.Sprint("plex/", k.bob.ID), func(doc json.RawMessage) (json.RawMessage, error) {
			return regexp.MustCompile(`"secret":"[^"]*"`).ReplaceAll(doc, []byte(`"secret":"damaged"`)), nil
		}))
		rec, clientID := k.finish(k.bob)
		assert.Equal(t, http.StatusSeeOther, rec.Code)
		k.hasLogin(k.bob, clientID)
	})
}

// G29, G10: a login that plex.tv cannot be asked about stays, and the visitor gets in.
func TestLinkUnverified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		_, first := k.finish(k.bob)
		b, q := k.approved(k, k.bob)
		k.plex.Inject(plextest.Fault{Path: "/api/v2/user", Skip: 2, Times: -1, Status: 502}) // the visitor's own account was read
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		k.plex.ResetFaults()
		k.hasLogin(k.bob, first)
		assert.Empty(t, k.plex.Token(k.bob, q.Get("clientID")))
	})
}

// G29, G13: if the login cannot be kept, the visitor is not signed in, sees why, and can
// try again. Their token is revoked, and shown nowhere.
func TestLinkFails(t *testing.T) {
	down := errStoreDown
	for name, c := range map[string]struct {
		fail func(*keeper)
		code int
		says string
	}{
		"the store cannot be read":    {func(k *keeper) { k.store.load.Store(&down) }, http.StatusServiceUnavailable, "could not save your login"},
		"the store cannot be written": {func(k *keeper) { k.store.update.Store(&down) }, http.StatusServiceUnavailable, "could not save your login"},
		"plex.tv is down": {func(k *keeper) {
			k.plex.Inject(plextest.Fault{Path: "/api/v2/user", Skip: 2, Times: 10, Status: 502})
		}, http.StatusBadGateway, "Plex does not answer"},
		"plex.tv asks to slow down": {func(k *keeper) {
			k.plex.Inject(plextest.Fault{Path: "/api/v2/user", Skip: 2, Code: 1003, Times: 10})
		}, http.StatusTooManyRequests, "Try again in"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeper(t)
				b, q := k.approved(k, k.bob)
				token := k.plex.Token(k.bob, q.Get("clientID"))
				c.fail(k)
				began := time.Now()
				rec := b.post("/signin/finish")
				assert.Less(t, time.Since(began), time.Minute)
				assert.Equal(t, c.code, rec.Code)
				assert.Contains(t, rec.Body.String(), c.says)
				assert.Contains(t, rec.Body.String(), "Sign in with Plex again")
				assert.Empty(t, k.signedIn)
				k.plex.ResetFaults()
				assert.Empty(t, k.plex.Token(k.bob, q.Get("clientID")))
				assert.NotContains(t, fmt.Sprint(rec.Header(), rec.Body.String(), k.log.b.String()), token)
				assert.Equal(t, http.StatusGone, b.post("/signin/finish").Code, "it is used up")

				k.store.load.Store(nil)
				k.store.update.Store(nil)
				s, err := k.of(k.bob.ID).Status(t.Context())
				require.NoError(t, err)
				assert.False(t, s.Connected)
				time.Sleep(10 * time.Minute)
				rec, clientID := k.finish(k.bob)
				assert.Equal(t, http.StatusSeeOther, rec.Code)
				k.hasLogin(k.bob, clientID)
			})
		})
	}
}

// G29: a store that has saved the login, but reports an error, has a login that works.
func TestLinkSavedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		b, q := k.approved(k, k.bob)
		down := errStoreDown
		k.store.commit.Store(&down)
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		k.store.commit.Store(nil)
		k.hasLogin(k.bob, q.Get("clientID"))
	})
}

// G29, G23: where another account is linked, the visitor is told so, and that login stays.
func TestLinkOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, func(k *keeper, o *signin.Options) {
			o.Link = func(plexauth.Account) *plexauth.PlexAuth { return k.of(k.bob.ID) }
		})
		_, bobs := k.finish(k.bob)
		rec, clientID := k.finish(k.alice)
		assert.Equal(t, http.StatusConflict, rec.Code)
		assert.Contains(t, rec.Body.String(), "another Plex account")
		assert.Contains(t, rec.Body.String(), "alice")
		assert.NotContains(t, rec.Body.String(), "bob")
		assert.Len(t, k.signedIn, 1)
		assert.Empty(t, k.plex.Token(k.alice, clientID))
		k.hasLogin(k.bob, bobs)
	})
}

// G29: of two browsers of one visitor, both get in, and one login is kept.
func TestLinkOfTwoBrowsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		k.plex.Inject(plextest.Fault{Path: "/api/v2/user", Delay: time.Second, Times: -1})
		var browsers sync.WaitGroup
		var ids []string
		for range 3 {
			b, q := k.approved(k, k.bob)
			ids = append(ids, q.Get("clientID"))
			browsers.Go(func() { assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code) })
		}
		browsers.Wait()
		assert.Len(t, k.signedIn, 3)
		var kept []string
		for _, id := range ids {
			if k.plex.Token(k.bob, id) != "" {
				kept = append(kept, id)
			}
		}
		require.Len(t, kept, 1)
		k.hasLogin(k.bob, kept[0])
	})
}

// G29: a request that reaches a second replica as well, because a proxy has repeated it, does
// not end the login that the first one has kept.
func TestLinkOnTwoReplicas(t *testing.T) {
	for _, behind := range []time.Duration{0, time.Second, 3 * time.Second, time.Minute} {
		t.Run(behind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeper(t)
				b, q := k.approved(k, k.bob)
				repeated := k.browser(k.handler(k.keep))
				repeated.cookies = maps.Clone(b.cookies)
				k.plex.Inject(plextest.Fault{Path: "/api/v2/user", Delay: time.Second, Times: -1})
				var requests sync.WaitGroup
				requests.Go(func() { assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code) })
				requests.Go(func() {
					time.Sleep(1500*time.Millisecond + behind) // not within a second: see G6
					assert.Equal(t, http.StatusSeeOther, repeated.post("/signin/finish").Code)
				})
				requests.Wait()
				k.hasLogin(k.bob, q.Get("clientID"))
			})
		})
	}
}

// G29: of two browsers of one visitor that finish on two replicas at a time, both get in. One
// login is kept, and no other one stays valid at plex.tv. So it is where a dead one is replaced.
func TestLinkOfTwoBrowsersOnTwoReplicas(t *testing.T) {
	for _, again := range []bool{false, true} {
		for _, behind := range []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 3 * time.Second} {
			t.Run(fmt.Sprintf("again %t, %s behind", again, behind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := newKeeper(t)
					if again {
						k.finish(k.bob)
						k.plex.Revoke(k.bob)
						_, err := k.of(k.bob.ID).Verify(t.Context())
						require.ErrorIs(t, err, plexauth.ErrTokenRejected)
					}
					first, q1 := k.approved(k, k.bob)
					second, q2 := k.approved(k.replica(), k.bob)
					k.plex.Inject(plextest.Fault{Path: "/api/v2/user", Delay: time.Second, Times: -1})
					var requests sync.WaitGroup
					requests.Go(func() { assert.Equal(t, http.StatusSeeOther, first.post("/signin/finish").Code) })
					requests.Go(func() {
						time.Sleep(behind)
						assert.Equal(t, http.StatusSeeOther, second.post("/signin/finish").Code)
					})
					requests.Wait()
					kept, dropped := q1.Get("clientID"), q2.Get("clientID")
					if k.plex.Token(k.bob, kept) == "" {
						kept, dropped = dropped, kept
					}
					k.hasLogin(k.bob, kept)
					assert.Empty(t, k.plex.Token(k.bob, dropped), "no one keeps this token")
				})
			})
		}
	}
}

// G29: the same holds if plex.tv does not answer the second replica.
func TestLinkOnTwoReplicasUnverified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t)
		b, q := k.approved(k, k.bob)
		repeated := k.browser(k.handler(k.keep))
		repeated.cookies = maps.Clone(b.cookies)
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		time.Sleep(time.Second)
		k.plex.Inject(plextest.Fault{Path: "/api/v2/user", Skip: 2, Delay: time.Minute, Times: -1}) // the visitor's own account was read
		assert.Equal(t, http.StatusSeeOther, repeated.post("/signin/finish").Code)
		k.plex.ResetFaults()
		k.hasLogin(k.bob, q.Get("clientID"))
	})
}

// G29, G8: a visitor's token is revoked if the app's own function or its store panics.
func TestLinkPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, func(_ *keeper, o *signin.Options) {
			o.Link = func(plexauth.Account) *plexauth.PlexAuth { panic(http.ErrAbortHandler) }
		})
		b, q := k.approved(k, k.bob)
		assert.Panics(t, func() { b.post("/signin/finish") })
		assert.Empty(t, k.signedIn)
		assert.Empty(t, k.plex.Token(k.bob, q.Get("clientID")))
	})
}
