package plexauth_test

import (
	"context"
	"errors"
	"fmt"
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

// Login follows its own PIN: finished or replaced while it was being shown.
func TestLoginFollowsItsPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, err := w.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			return second(w.Finish(t.Context()))
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

// G8: the process dies with the login pending; the approval comes while nobody
// looks; the next process finds it.
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

// G8, G12: two replicas, double clicks: one PIN, and whoever looks finishes
// it for all.
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

// A PIN with less than a minute left is not shown again.
func TestStartNearTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.Sleep(13 * time.Minute)
		b, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.Equal(t, a.Code, b.Code)
		time.Sleep(90 * time.Second)
		c, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.NotEqual(t, a.Code, c.Code)
	})
}

// Another Start with other options supersedes the PIN, in this process at
// once, and its late approval does not overwrite the newer login.
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

// G8: a replica cancels or replaces the login that this one waits for.
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

// Connected speaks of this login: an older token is not its success.
func TestFinishSpeaksOfThisLogin(t *testing.T) {
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

// G9, G6: when Cancel returns nothing more is asked about the PIN, and all who
// wait are told.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
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
		n := len(w.looks(pin.CreatedAt))
		wg.Wait()
		time.Sleep(time.Hour)
		assert.Len(t, w.looks(pin.CreatedAt), n)
		require.NoError(t, w.Cancel(t.Context()), "nothing pending is no error")
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

// G17: a store that cannot be written is found before a PIN is made.
func TestStoreFailsBeforeThePIN(t *testing.T) {
	for name, store := range map[string]plexauth.ConfigStore{
		"Check":  &checkedStore{plexauth.NewMemoryStore(), errors.New("read-only file system")},
		"Update": brokenStore{},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(t, func(o *plexauth.Options) { o.Store = store })
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrStore)
			assert.ErrorContains(t, err, "read-only file system")
			assert.Empty(t, w.plex.Requests())
		})
	}
}

type checkedStore struct {
	plexauth.ConfigStore
	err error
}

func (s *checkedStore) Check(context.Context) error { return s.err }

type brokenStore struct{}

var errBroken = errors.New("read-only file system")

func (brokenStore) Load(context.Context, string) (jsonRaw, error) { return nil, errBroken }
func (brokenStore) Update(context.Context, string, func(jsonRaw) (jsonRaw, error)) error {
	return errBroken
}

// betweenStore lets something happen right after a Load.
type betweenStore struct {
	plexauth.ConfigStore
	after func()
}

func (s *betweenStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	raw, err := s.ConfigStore.Load(ctx, ns)
	if after := s.after; after != nil {
		s.after = nil
		after()
	}
	return raw, err
}

// G6, G9: a login that has ended while the store was being read is not taken up
// again: no look is made at its PIN, and who waits for it hears at once.
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
				store := &betweenStore{ConfigStore: w.store}
				p := w.open(t, func(o *plexauth.Options) { o.Store = store }) // after a restart
				store.after = func() { assert.NoError(t, end(p, t.Context())) }
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

// A read that is old does not end the login that has begun since.
func TestBegunWhileBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		store := &betweenStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true}) // a replica
		require.NoError(t, err)
		var code string
		result := make(chan error, 1)
		store.after = func() {
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
		}
		_, err = p.Finish(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(code, w.alice))
		assert.NoError(t, <-result)
	})
}

// afterStore lets something happen right after an Update.
type afterStore struct {
	plexauth.ConfigStore
	after func()
}

func (s *afterStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	err := s.ConfigStore.Update(ctx, ns, edit)
	if s.after != nil {
		s.after()
	}
	return err
}

// G6: a login that is cancelled in the moment in which its PIN has been saved is not
// taken up any more.
func TestCancelledWhileBeingSaved(t *testing.T) {
	for name, end := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Cancel": (*plexauth.PlexAuth).Cancel,
		"Disconnect": func(p *plexauth.PlexAuth, ctx context.Context) error {
			return second(p.Disconnect(ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := &afterStore{ConfigStore: w.store}
				p := w.open(t, func(o *plexauth.Options) { o.Store = store })
				updates := 0
				store.after = func() {
					if updates++; updates == 2 { // the PIN is there
						store.after = nil
						assert.NoError(t, end(p, t.Context()))
					}
				}
				began := time.Now()
				_, err := p.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })
				require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
				assert.Empty(t, w.looks(began))
			})
		})
	}
}

// Names that somebody makes up leave nothing behind, nor do logins that have ended.
func TestNoPlaceIsLeft(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		p := w.Instance(fmt.Sprint("nobody-", i))
		_, err := p.Finish(t.Context())
		require.NoError(t, err)
		_, err = p.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
		require.NoError(t, p.Cancel(t.Context()))
		_, err = p.Disconnect(t.Context())
		require.NoError(t, err)
		_, err = w.Instance(fmt.Sprint("a\nb", i)).Finish(t.Context())
		require.Error(t, err)
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, p.Cancel(t.Context()))
	}
	assert.Zero(t, plexauth.Places(w.PlexAuth))
}

// A second click beside the approval: the login that it finds pending has succeeded
// in the same moment, and so it says.
func TestStartBesideTheApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &afterStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		store.after = func() {
			store.after = nil
			time.Sleep(time.Second)
			s, err := p.Finish(t.Context())
			require.NoError(t, err)
			require.True(t, s.Connected)
		}
		s, err := p.Login(t.Context(), plexauth.PinOptions{}, func(again *plexauth.Pin) error {
			assert.Equal(t, pin.Code, again.Code)
			return nil
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// Start does not fail once its PIN is stored, whatever a read says then.
func TestStoreUnreadAfterThePIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fails := false
		after := &afterStore{ConfigStore: &failingLoads{w.store, func() bool { failed := fails; fails = false; return failed }}}
		p := w.open(t, func(o *plexauth.Options) { o.Store = after })
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		result := make(chan error, 1)
		go func() {
			_, err := p.Wait(t.Context())
			result <- err
		}()
		time.Sleep(1500 * time.Millisecond)
		updates := 0
		after.after = func() {
			if updates++; updates == 2 { // the next PIN is there, which ends the waiting for the first
				assert.ErrorIs(t, <-result, plexauth.ErrPinSuperseded)
				fails = true
			}
		}
		pin, err := p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// What an earlier login has brought in the same Start is no success of the one that
// is cancelled in the moment it begins.
func TestEarlierLoginDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &afterStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice)) // nobody looks
		time.Sleep(2 * time.Second)
		store.after = func() {
			if s, err := p.Status(t.Context()); err == nil && s.Pending != nil && s.Pending.Code != pin.Code {
				store.after = nil
				assert.NoError(t, p.Cancel(t.Context()))
			}
		}
		_, err = p.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(*plexauth.Pin) error { return nil })
		require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
	})
}

// G8: nor does a read that fails then take the place of a login that another replica
// has begun since, and for which somebody waits here.
func TestNewerLoginKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var fails atomic.Bool
		store := &afterStore{ConfigStore: &failingLoads{w.store, func() bool { return fails.Swap(false) }}}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		other := w.open(t)
		result := make(chan error, 1)
		var newer *plexauth.Pin
		store.after = func() {
			if s, err := p.Status(t.Context()); err != nil || s.Pending == nil {
				return
			}
			store.after = nil
			var err error
			newer, err = other.Start(t.Context(), plexauth.PinOptions{Strong: true})
			assert.NoError(t, err)
			go func() {
				_, err := p.Wait(t.Context())
				result <- err
			}()
			time.Sleep(100 * time.Millisecond)
			fails.Store(true)
		}
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrStore)
		require.NoError(t, w.plex.Approve(newer.Code, w.alice))
		assert.NoError(t, <-result)
	})
}
