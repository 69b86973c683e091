package plexauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G17: a store that cannot be written is noticed before a PIN is made.
func TestStoreFailsBeforeThePIN(t *testing.T) {
	for name, store := range map[string]plexauth.ConfigStore{
		"Check":  &checkedStore{plexauth.NewMemoryStore(), errReadOnly},
		"Update": &hookedStore{ConfigStore: plexauth.NewMemoryStore(), hooks: hooks{beforeUpdate: fails(errReadOnly)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(t, withStore(store))
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrStore)
			assert.ErrorContains(t, err, "read-only file system")
			assert.Empty(t, w.plex.Requests())
		})
	}
}

// G8: a store that fails for some seconds does not lose an approved token.
func TestSaveFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := approved(t, newWorld(t))
		failed := 0
		flaky := w.hooked(hooks{refuse: func(next jsonRaw) error {
			if failed++; failed > 20 {
				return nil
			}
			return quotes(next)
		}})
		s, err := w.open(t, withStore(flaky)).Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.NotContains(t, w.log.String(), "FAKE_", "G13: the store's careless error is not passed on")
	})
}

// G8: if the store stays broken, Wait returns its error after five minutes. The login
// can still be finished.
func TestSaveFailsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := approved(t, newWorld(t))
		flaky := w.hooked(hooks{})
		p := w.open(t, withStore(flaky))
		flaky.set(hooks{refuse: quotes})
		began := time.Now()
		s, err := p.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.False(t, s.Connected)
		assert.NotContains(t, err.Error(), "FAKE_")
		assert.InDelta(t, 5*time.Minute, time.Since(began), float64(10*time.Second))
		flaky.set(hooks{})
		s, err = p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G8: the token is saved even if the caller's context ends during the save.
func TestContextEndsWithTheTokenInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		slow := w.hooked(hooks{})
		p := w.open(t, withStore(slow))
		pin, err := p.Start(ctx, plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		slow.set(hooks{beforeUpdate: func(ctx context.Context) error {
			cancel()
			return takes(500 * time.Millisecond)(ctx)
		}})
		s, err := p.Wait(ctx)
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// A call waits for a slow store as long as its context allows, and reports the
// success.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{beforeLoad: takes(1200 * time.Millisecond)})))
		s, err := p.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, w.alice) })
		require.NoError(t, err)
		assert.True(t, s.Connected)
		s, err = p.Disconnect(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
	})
}

// If the store hangs, Wait returns the error of the caller's context.
func TestContextEndsWhileSaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: calls(3, 3, hang)})))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := p.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, w.alice) })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, context.Canceled)
	})
}

// G8: a single failed read of the store does not lose an approval, whichever read it
// is.
func TestStoreUnreadableForAMoment(t *testing.T) {
	for _, over := range []string{"nothing", "alice", "someone", "alice, beside someone"} {
		for nth := int64(2); nth <= 8; nth++ { // the first is Wait's own
			t.Run(fmt.Sprint(over, nth), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					if over != "nothing" {
						w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					}
					store := w.hooked(hooks{})
					p := w.open(t, withStore(store))
					pin, err := p.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					switch over {
					case "someone":
						w.forgetAccount(t, nil)
					case "alice, beside someone":
						w.signIn(t, w.Instance("second"), w.bob, plexauth.PinOptions{})
						w.asOlderVersion(t)
					}
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					store.set(hooks{beforeLoad: calls(nth, nth, fails(errDisk))})
					s, err := p.Wait(t.Context())
					require.NoError(t, err)
					assert.True(t, s.Connected)
				})
			})
		}
	}
}

// Start succeeds once its PIN is stored, even if a read fails after that.
func TestStoreUnreadableAfterThePIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		result := make(chan error, 1)
		go func() {
			_, err := p.Wait(t.Context())
			result <- err
		}()
		time.Sleep(1500 * time.Millisecond)
		store.set(hooks{afterUpdate: calls(2, 2, does(func() { // the next PIN is saved, which ends the Wait for the first
			assert.ErrorIs(t, <-result, plexauth.ErrPinSuperseded)
			store.set(hooks{beforeLoad: calls(1, 1, fails(errDisk))})
		}))})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G10: a rejected token is not sent with every look if the rejection cannot be saved.
func TestRejectedWithAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.forgetAccount(t, nil)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		_, err = p.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable) // the token is parked
		w.plex.ResetFaults()
		store.set(hooks{beforeUpdate: fails(errDisk)})
		asked := w.fromNow()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		_, err = p.Wait(ctx)
		require.Error(t, err)
		assert.LessOrEqual(t, len(only(asked(), "GET", "/api/v2/user")), 2, "once about the new token, and once about the old one")
		store.set(hooks{})
		w.forgive = "used again" // the rejection could not be saved
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G7: a store that hangs does not hold a Wait beyond its PIN, nor another call for
// more than half a minute. The error blames the store, not the caller's context.
func TestStoreHangs(t *testing.T) {
	for name, hangs := range map[string]hooks{
		"Load":   {beforeLoad: hang},
		"Update": {beforeUpdate: hang},
		"both":   {beforeLoad: hang, beforeUpdate: hang},
	} {
		begin := func(t *testing.T) (*world, *plexauth.PlexAuth, *hookedStore, *plexauth.Pin) {
			w := newWorld(t)
			store := w.hooked(hooks{})
			p := w.open(t, withStore(store))
			pin, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			return w, p, store, pin
		}
		t.Run(name+", to the end", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, p, store, pin := begin(t)
				time.AfterFunc(3500*time.Millisecond, func() { store.set(hangs) })
				_, err := p.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrPinExpired)
				assert.Less(t, time.Since(pin.ExpiresAt), time.Minute)
			})
		})
		t.Run(name+", for a while", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, p, store, pin := begin(t)
				time.AfterFunc(3500*time.Millisecond, func() { store.set(hangs) })
				time.AfterFunc(10*time.Second, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				time.AfterFunc(40*time.Second, func() { store.set(hooks{}) })
				s, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.Less(t, time.Since(pin.CreatedAt), 2*time.Minute)
			})
		})
		for call, do := range loginCalls {
			if call == "Wait" {
				continue
			}
			t.Run(name+", "+call, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, p, store, pin := begin(t)
					time.Sleep(2 * time.Second)
					store.set(hangs)
					began := time.Now()
					err := do(t.Context(), p)
					assert.LessOrEqual(t, time.Since(began), 31*time.Second)
					if call == "Start" || call == "Cancel" || name == "both" {
						require.ErrorIs(t, err, plexauth.ErrStore)
					}
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
					store.set(hooks{})
					if call != "Cancel" && call != "Start" {
						require.NoError(t, w.plex.Approve(pin.Code, w.alice))
						s, err := p.Wait(t.Context())
						require.NoError(t, err)
						assert.True(t, s.Connected)
					}
				})
			})
		}
	}
}

// G23: SignOut cannot save, and another process disconnects this profile at the same
// time. The token is not revoked, since another profile lives on it.
func TestSignOutNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p1 := w.Instance("P1")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p1, w.alice, plexauth.PinOptions{})
		store := w.hooked(hooks{refuse: func(jsonRaw) error { return errors.Join(errOf(w.Disconnect(t.Context())), errDisk) }})
		_, err := w.open(t, withStore(store)).SignOut(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		_, err = p1.Verify(t.Context())
		require.NoError(t, err)
	})
}

// G18: a store that cannot be read is an error in every call, and never a first run.
func TestFailClosed(t *testing.T) {
	for name, doc := range map[string]string{"list": `[]`, "text": `"x"`, "cut": `{"account_token":"TEST_cut`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(t, withStore(rawStore(doc)))
			for op, err := range map[string]error{
				"Status":     errOf(p.Status(t.Context())),
				"Settings":   errOf(p.Settings(t.Context())),
				"Token":      errOf(p.Token(t.Context())),
				"Start":      errOf(p.Start(t.Context(), plexauth.PinOptions{})),
				"Finish":     errOf(p.Finish(t.Context())),
				"Wait":       errOf(p.Wait(t.Context())),
				"Verify":     errOf(p.Verify(t.Context())),
				"Disconnect": errOf(p.Disconnect(t.Context())),
				"SignOut":    errOf(p.SignOut(t.Context())),
				"Instances":  errOf(p.Instances(t.Context())),
			} {
				assert.ErrorIs(t, err, plexauth.ErrCorruptConfig, op)
				assert.ErrorIs(t, err, plexauth.ErrStore, op)
				assert.NotContains(t, err.Error(), "TEST_")
			}
			assert.Empty(t, w.plex.Requests())
		})
	}
}

// rawStore returns its text as the document, whatever that is.
type rawStore string

func (s rawStore) Load(context.Context, string) (jsonRaw, error) { return jsonRaw(s), nil }

func (s rawStore) Update(_ context.Context, _ string, edit func(jsonRaw) (jsonRaw, error)) error {
	_, err := edit(jsonRaw(s))
	return err
}

// quotingStore cannot read, and quotes the document in its error.
type quotingStore struct {
	plexauth.ConfigStore
	say func(raw jsonRaw) error
}

func (s quotingStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	raw, err := s.ConfigStore.Load(ctx, ns)
	if err != nil {
		return nil, err
	}
	return nil, s.say(raw)
}

func (s quotingStore) Check(ctx context.Context) error {
	_, err := s.Load(ctx, plexauth.Namespace)
	return err
}

// G13: an error of a store that quotes its content is not passed on, in whatever form.
func TestStoreThatQuotes(t *testing.T) {
	const doc = `{"account_token":"TEST_account","pms_token": "TEST_server","home_pin":"TEST_home","_device":{"secret":"TEST_key"},"_pending_pin":{"id":471100815,"code":"TEST_code"}}`
	for name, say := range map[string]func(jsonRaw) error{
		"as it is": func(raw jsonRaw) error { return fmt.Errorf("cannot read %s", raw) },
		"quoted":   func(raw jsonRaw) error { return fmt.Errorf("cannot read %q", raw) },
		"twice":    func(raw jsonRaw) error { return fmt.Errorf("cannot read %q", fmt.Sprintf("%q", raw)) },
		"truncated": func(raw jsonRaw) error {
			return fmt.Errorf("unexpected end: %s", raw[:len(`{"account_token":"TEST_acco`)])
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := plexauth.NewMemoryStore()
			put(t, store, doc)
			p, err := plexauth.New(plexauth.Options{Product: "Test", Store: quotingStore{store, say}})
			require.NoError(t, err)
			for _, call := range []func() error{
				func() error { _, err := p.Status(t.Context()); return err },
				func() error { _, err := p.Start(t.Context(), plexauth.PinOptions{}); return err },
			} {
				err := call()
				require.ErrorIs(t, err, plexauth.ErrStore)
				for _, secret := range []string{"TEST_", "4711008"} {
					assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), secret)
				}
			}
		})
	}
}

// G17: the remedy stands at the end of a store's error, which may be long. It reaches
// the caller of Start and the panel.
func TestStoreRemedyReachesThePerson(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volume1", "docker", "appdata", "plex-companion", "config")
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o700))
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	store := plexauth.NewFileStore(filepath.Join(dir, "a-rather-long-name-of-a-config.json"))
	want := store.Check(t.Context()).Error()
	require.Greater(t, len(want), 400)
	require.Contains(t, want, "check that "+dir+" is a directory")

	w := newWorld(t, withStore(store))
	_, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.Contains(t, err.Error(), strings.TrimPrefix(want, plexauth.ErrStore.Error()))
	rec := openPanel(t, w.PlexAuth).do(http.MethodPost, "/start", "{}")
	assert.Contains(t, rec.Body.String(), "check that "+dir+" is a directory")
}

// lateStore is a store whose calls do not notice that a context has ended.
func (w *world) lateStore() *hookedStore {
	return &hookedStore{ConfigStore: &deafStore{ConfigStore: w.store}}
}

// G8: what a save has done counts, however late the store tells. With a context that has ended a
// save goes on for a moment.
func TestSaveAtTheEndOfItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		save func(t *testing.T, w *world, store *hookedStore, cancel func()) hook
		err  error // nil: signed in
	}{
		"saved when all time is over": {func(_ *testing.T, _ *world, _ *hookedStore, cancel func()) hook {
			return does(func() {
				time.AfterFunc(time.Second, cancel)
				time.Sleep(3 * time.Second)
			})
		}, nil},
		"failed once when the context ends": {func(_ *testing.T, _ *world, _ *hookedStore, cancel func()) hook {
			return calls(1, 1, func(context.Context) error { cancel(); return errDisk })
		}, nil},
		"the context ends just before the limit": {func(_ *testing.T, _ *world, _ *hookedStore, cancel func()) hook {
			time.AfterFunc(5*time.Minute-300*time.Millisecond, cancel)
			return hang
		}, context.Canceled},
		"cancelled elsewhere during a save without end": {func(t *testing.T, w *world, _ *hookedStore, _ func()) hook {
			return calls(1, 1, does(func() {
				time.Sleep(5*time.Minute + time.Second)
				put(t, w.store, `{"client_id":"0123456789abcdef01234567"}`)
			}))
		}, plexauth.ErrNoPendingPin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.lateStore()
				p := w.open(t, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				answers, client := w.tamper("/api/v2/pins/")
				answers.change = func(body []byte) []byte {
					answers.change = nil
					store.set(hooks{beforeUpdate: c.save(t, w, store, cancel)})
					return body
				}
				s, err := w.open(t, client, withStore(store)).Wait(ctx)
				assert.NotErrorIs(t, err, plexauth.ErrStore)
				if c.err != nil {
					require.ErrorIs(t, err, c.err)
					return
				}
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// G24: a new token that the store has saved counts, although it took longer than a renewal waits.
func TestRenewalSavedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{afterUpdate: calls(2, 2, does(func() { time.Sleep(4 * time.Second) }))})))
		time.Sleep(8 * day)
		require.NoError(t, errOf(p.Refresh(t.Context())))
		assert.Equal(t, w.credentials(t).AccountToken, tokenOf(t, p))
		assert.Equal(t, 1, w.count("POST", exchanges))
	})
}

// A store may run an edit more than once, as after a conflict: one PIN is made.
func TestEditsThatRunTwice(t *testing.T) {
	for _, byKey := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(t, withStore(w.hooked(hooks{refuse: func(jsonRaw) error { return nil }})), func(o *plexauth.Options) { o.DeviceKey = byKey })
			for range 2 {
				asked := w.fromNow()
				w.signIn(t, p, w.alice, plexauth.PinOptions{})
				assert.Len(t, only(asked(), http.MethodPost, "/api/v2/pins"), 1)
			}
			assert.Equal(t, 2, strings.Count(w.log.String(), "PIN issued"))
		})
	}
}

// G8: a login whose document was removed ends.
func TestDocumentRemovedDuringALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{})))
		start(t, w)
		time.AfterFunc(2*time.Second, func() { // before Wait reads it again
			assert.NoError(t, w.store.Update(t.Context(), plexauth.Namespace, becomes("")))
		})
		began := time.Now()
		require.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrNoPendingPin)
		assert.Less(t, time.Since(began), 20*time.Second)
	})
}

// No one is warned of a config that only its owner can read.
func TestNoWarningAboutAPrivateFile(t *testing.T) {
	w := newWorld(t)
	p := w.open(t, withStore(plexauth.NewFileStore(filepath.Join(t.TempDir(), "config.json"))))
	require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
	assert.NotContains(t, w.log.String(), "other users")
}
