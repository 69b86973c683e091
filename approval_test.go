package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
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

// G10: a token that is rejected right after its approval is known as such.
func TestRejectedAtLogin(t *testing.T) {
	w := newWorld(t)
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1001})
	s, err := w.Finish(t.Context())
	require.ErrorIs(t, err, plexauth.ErrTokenRejected)
	assert.True(t, s.NeedsLogin)
}

// G22: relinking the same account keeps identifier and server choice; another
// account is refused unless told, and leaves the old login as it was.
func TestRelink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		require.NoError(t, w.store.Update(t.Context(), plexauth.Namespace, func(cur jsonRaw) (jsonRaw, error) {
			s := strings.Replace(string(cur), `{`, `{"server_url":"https://plex.example.org","machine_id":"m1","account_id":1,`, 1)
			return jsonRaw(s), nil
		}))
		before, err := w.Settings(t.Context())
		require.NoError(t, err)

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		again, err := w.Settings(t.Context())
		require.NoError(t, err)
		assert.False(t, before.AccountToken.Equal(again.AccountToken), "plex.tv gave a new token")
		again.AccountToken, before.AccountToken = plexauth.Token{}, plexauth.Token{}
		assert.Equal(t, before, again, "only the token changed")

		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		s, err := w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.True(t, s.Connected)
		assert.Equal(t, "alice", s.User)
		v, err := w.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, w.plex.Token(w.alice, v.ClientID), v.AccountToken.Secret())
		assert.Empty(t, w.plex.Token(w.bob, v.ClientID), "the other account's token was revoked")
		_, err = w.Verify(t.Context())
		require.NoError(t, err)

		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		v, err = w.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", v.Username)
		assert.Equal(t, fmt.Sprint(w.bob.ID), v.CloudAccountID)
		assert.Empty(t, v.AccountID, "the other account's number on the server is gone")
		assert.Equal(t, "https://plex.example.org", v.ServerURL)
		assert.Equal(t, before.ClientID, v.ClientID)
	})
}

// G22, G23: a login that is refused, because another account approved it, has
// retired that account's token in another profile: the new one goes there.
func TestMismatchLeavesOthersConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p2 := w.Instance("P2")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p2, w.bob, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, p2} {
			s, err := p.Verify(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
		}
	})
}

// G23, G22: plex.tv keeps one token an account and identifier: the profiles on
// the same account get the new one, those of others keep theirs.
func TestSuccessorToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p1, p2 := w.Instance("PLEX-P01"), w.Instance("PLEX-P02")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p2, w.bob, plexauth.PinOptions{})
		w.signIn(t, p1, w.alice, plexauth.PinOptions{})
		for p, u := range map[*plexauth.PlexAuth]*plextest.User{w.PlexAuth: w.alice, p1: w.alice, p2: w.bob} {
			v, err := p.Settings(t.Context())
			require.NoError(t, err)
			assert.Equal(t, w.plex.Token(u, v.ClientID), v.AccountToken.Secret())
			_, err = p.Verify(t.Context())
			assert.NoError(t, err)
		}
		ids, err := w.Instances(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"default", "PLEX-P02", "PLEX-P01"}, ids)

		_, err = p1.SignOut(t.Context())
		require.NoError(t, err)
		for p, connected := range map[*plexauth.PlexAuth]bool{w.PlexAuth: false, p1: false, p2: true} {
			s, err := p.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, connected, s.Connected)
		}
		assert.Empty(t, w.plex.Token(w.alice, mustSettings(t, w.PlexAuth).ClientID))
	})
}

// G23: what is stored of one account never stands beside another's token, also
// where only its name is known.
func TestAccountsDoNotMix(t *testing.T) {
	const stored = `{"server_url":"http://10.0.0.2:32400","account_token":"TEST_old","pms_token":"TEST_pms","client_id":"abc","machine_id":"m1","username":"alice","account_id":5,"home_pin":"1234","pms_token_server":"http://10.0.0.2:32400"}`
	for user, kept := range map[string]bool{"alice": true, "bob": false} {
		t.Run(user, func(t *testing.T) {
			w := newWorld(t)
			put(t, w.store, stored)
			pin, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, map[string]*plextest.User{"alice": w.alice, "bob": w.bob}[user]))
			s, err := w.Finish(t.Context())
			require.NoError(t, err)
			assert.Equal(t, user, s.User)
			assert.Equal(t, kept, strings.Contains(w.doc(t), "TEST_pms"))
			assert.Equal(t, kept, strings.Contains(w.doc(t), "1234"))
			assert.Contains(t, w.doc(t), `"machine_id":"m1"`)
		})
	}
}

// SwitchAccount forgets what was another account's, and only that.
func TestSwitchToTheSameAccount(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	put(t, w.store, strings.Replace(w.doc(t), "{", `{"server_url":"http://10.0.0.2:32400","machine_id":"m1","pms_token":"TEST_pms","pms_token_server":"http://10.0.0.2:32400","account_id":7,`, 1))
	pin, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	_, err = w.Finish(t.Context())
	require.NoError(t, err)
	assert.Contains(t, w.doc(t), "TEST_pms")
	assert.Equal(t, "7", mustSettings(t, w.PlexAuth).AccountID)
	assert.NotContains(t, w.doc(t), "_was")
}

// G8, G22: the account cannot be read when the approval comes. The token is
// parked, the old login stays, and the account decides whenever it can be
// read: also after a restart and past the PIN's end.
func TestParkedToken(t *testing.T) {
	for name, finish := range map[string]func(*plexauth.PlexAuth, context.Context) (plexauth.Status, error){
		"Wait":   (*plexauth.PlexAuth).Wait,
		"Finish": (*plexauth.PlexAuth).Finish,
		"Verify": (*plexauth.PlexAuth).Verify,
		"Cancel": func(p *plexauth.PlexAuth, ctx context.Context) (plexauth.Status, error) {
			if err := p.Cancel(ctx); err != nil {
				return plexauth.Status{}, err
			}
			return p.Status(ctx)
		},
		"Start": func(p *plexauth.PlexAuth, ctx context.Context) (plexauth.Status, error) {
			if _, err := p.Start(ctx, plexauth.PinOptions{}); err != nil {
				return plexauth.Status{}, err
			}
			return p.Status(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				old, err := w.Settings(t.Context())
				require.NoError(t, err)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
				s, err := w.Finish(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.False(t, s.Connected)
				v, err := w.Settings(t.Context())
				require.NoError(t, err)
				assert.True(t, v.AccountToken.Equal(old.AccountToken))
				time.Sleep(time.Hour)
				w.plex.ResetFaults()

				s, err = finish(w.open(t), t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				v, err = w.Settings(t.Context())
				require.NoError(t, err)
				assert.Equal(t, w.plex.Token(w.alice, v.ClientID), v.AccountToken.Secret())
			})
		})
	}
}

// G8: a token that is parked while another Start is on its way is not lost to
// the new PIN.
func TestStartKeepsAnApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Delay: 3 * time.Second})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = w.Wait(t.Context()) })
		wg.Go(func() { _, _ = w.Start(t.Context(), plexauth.PinOptions{Strong: true}) })
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		time.Sleep(30 * time.Second)
		w.plex.ResetFaults()
		wg.Wait()
		s, err := w.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G8: another process settles a parked token just when Start or Cancel is about
// to. That is as good, and no error.
func TestSettledAtTheSameTime(t *testing.T) {
	for name, tc := range map[string]struct {
		at   int // the Update of the settling
		call func(*plexauth.PlexAuth, context.Context) error
	}{
		"Start":  {2, func(p *plexauth.PlexAuth, c context.Context) error { return second(p.Start(c, plexauth.PinOptions{})) }},
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
				store := &interruptedStore{ConfigStore: w.store, at: tc.at}
				store.by = func() { assert.ErrorIs(t, second(w.Verify(t.Context())), plexauth.ErrAccountMismatch) }
				p := w.open(t, func(o *plexauth.Options) { o.Store = store })
				require.NoError(t, tc.call(p, t.Context()))
				assert.LessOrEqual(t, store.at, 0, "the moment was met")
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

// interruptedStore is edited by somebody else just before one of its Updates.
type interruptedStore struct {
	plexauth.ConfigStore
	at int // which one
	by func()
}

func (s *interruptedStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.at--; s.at == 0 {
		s.by()
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

// A login that somebody else has settled is a success for all who wait, without
// another request.
func TestSettledByAnother(t *testing.T) {
	for name, settle := range map[string]func(*plexauth.PlexAuth, context.Context) error{
		"Cancel": func(p *plexauth.PlexAuth, c context.Context) error { return p.Cancel(c) },
		"Verify": func(p *plexauth.PlexAuth, c context.Context) error { return second(p.Verify(c)) },
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
				looks := len(w.looks(pin.CreatedAt))
				require.NoError(t, settle(w.PlexAuth, t.Context()))
				assert.NoError(t, <-ended)
				assert.Len(t, w.looks(pin.CreatedAt), looks)
			})
		})
	}
}

// withoutCloud is what a config says that other programs have written: whose the
// login is, by name only.
func (w *world) withoutCloud(t *testing.T, more map[string]any) {
	t.Helper()
	doc := w.stored(t)
	delete(doc, "_cloud")
	maps.Copy(doc, more)
	raw, err := json.Marshal(doc)
	require.NoError(t, err)
	put(t, w.store, string(raw))
}

// G22: another account is refused also where it is not known yet whose login is
// stored: Start finds that out.
func TestMismatchWithAnUnknownAccount(t *testing.T) {
	for _, how := range []string{"could not be read", "another program's config"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if how == "could not be read" {
					w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
				}
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.ResetFaults()
				if how != "could not be read" {
					w.withoutCloud(t, nil)
				}
				old := mustSettings(t, w.PlexAuth).AccountToken
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				_, err = w.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				assert.True(t, old.Equal(mustSettings(t, w.PlexAuth).AccountToken))
			})
		})
	}
}

// G23: a login that retires the token of another profile gives it the next one,
// also where it was not known whose that was.
func TestSuccessorForAnUnknownAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.ResetFaults()
		w.signIn(t, w.Instance("second"), w.alice, plexauth.PinOptions{})
		_, err := w.Verify(t.Context())
		require.NoError(t, err)
	})
}

// G23: nothing of the account before serves the next one, neither while plex.tv
// cannot tell whose the login is, nor where it never told whose the last one was;
// what is called alike is not the same.
func TestNextAccountInheritsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		before  func(t *testing.T, w *world) // alice's profile is made to look so
		weather bool                         // while the next login is made
	}{
		"linked, weather":        {weather: true},
		"never read":             {before: func(t *testing.T, w *world) { w.withoutCloud(t, map[string]any{"username": ""}) }, weather: true},
		"by name only":           {before: func(t *testing.T, w *world) { w.withoutCloud(t, nil) }, weather: true},
		"by name only, rejected": {before: func(t *testing.T, w *world) { w.withoutCloud(t, nil); w.plex.Revoke(w.alice) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, true)
				box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
				theirs := w.plex.ServerToken(w.alice, box)
				_, err := w.Inspect(t.Context())
				require.NoError(t, err)
				w.edit(t, map[string]any{"home_pin": "QXYZ"})
				if c.before != nil {
					c.before(t, w)
				}
				if c.weather {
					w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
				}
				mallory := w.plex.AddUser(plextest.User{Username: "mallory", Title: "Alice"})
				w.signIn(t, w.PlexAuth, mallory, plexauth.PinOptions{SwitchAccount: true})
				for range 2 {
					s := mustSettings(t, w.PlexAuth)
					assert.NotEqual(t, theirs, s.ServerToken.Secret())
					assert.NotEqual(t, "1", s.AccountID)
					assert.NotContains(t, []any{"QXYZ"}, w.stored(t)["home_pin"])
					w.plex.ResetFaults()
					_, _ = w.Inspect(t.Context())
				}
				assert.NotContains(t, w.doc(t), theirs)
				assert.NotContains(t, w.doc(t), "QXYZ")
				assert.NotContains(t, w.doc(t), "_was")
			})
		})
	}
}

// G22: what is the account's own comes back with it, the weather notwithstanding,
// and a token that served as the server's too does so again.
func TestSameAccountFindsItsThings(t *testing.T) {
	for _, sameToken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, true)
			w.plex.SetQuirks(plextest.Quirks{OwnedTokenIsAccountToken: sameToken})
			box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
			_, err := w.Inspect(t.Context())
			require.NoError(t, err)
			w.edit(t, map[string]any{"home_pin": "1234", "account_id": 23456, "username": "Kid"})
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{SwitchAccount: true})
			assert.True(t, mustSettings(t, w.PlexAuth).ServerToken.IsZero(), "not before it is known whose the login is")
			w.plex.ResetFaults()
			_, err = w.Verify(t.Context())
			require.NoError(t, err)
			s := mustSettings(t, w.PlexAuth)
			want := w.plex.ServerToken(w.alice, box)
			if sameToken {
				want = w.plex.Token(w.alice, s.ClientID)
			}
			assert.Equal(t, want, s.ServerToken.Secret())
			assert.Equal(t, "23456", s.AccountID)
			assert.Equal(t, "Kid", s.Username)
			assert.Equal(t, "1234", w.stored(t)["home_pin"])
			assert.NotContains(t, w.doc(t), "_was")
		})
	}
}

// G10: asking whose a token is changes nothing of what is known, whatever the
// profile is called.
func TestVerifyKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		w.withoutCloud(t, map[string]any{"username": "Kid", "account_id": 23456, "home_pin": "1234"})
		want := w.stored(t)
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		got := w.stored(t)
		assert.Contains(t, got, "_cloud")
		delete(got, "_cloud")
		assert.Equal(t, want, got)
	})
}

// G8, G22: two profiles of one account are approved while plex.tv takes its time to
// say whose the first token is. The second approval has retired that by then; it
// takes nobody's place, and both profiles live on the second.
func TestRetiredWhileItsAccountIsRead(t *testing.T) {
	for _, linked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			second := w.Instance("second")
			if linked {
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.signIn(t, second, w.alice, plexauth.PinOptions{})
			}
			var codes []string
			results := make(chan error, 2)
			for _, p := range []*plexauth.PlexAuth{w.PlexAuth, second} {
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				codes = append(codes, pin.Code)
				go func() {
					_, err := p.Wait(t.Context())
					results <- err
				}()
			}
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Drip: 3 * time.Millisecond})
			require.NoError(t, w.plex.Approve(codes[0], w.alice))
			time.Sleep(1500 * time.Millisecond)
			require.NoError(t, w.plex.Approve(codes[1], w.alice))
			assert.NoError(t, <-results)
			assert.NoError(t, <-results)
			for _, p := range []*plexauth.PlexAuth{w.PlexAuth, second} {
				s, err := p.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			}
		})
	}
}

// G22: where Start could not find out whose the stored login is, the approval does,
// before anything is replaced.
func TestMismatchFoundOutLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.withoutCloud(t, nil)
		old := mustSettings(t, w.PlexAuth).AccountToken
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503}) // once, at Start
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.True(t, old.Equal(mustSettings(t, w.PlexAuth).AccountToken))
		_, err = w.Verify(t.Context())
		require.NoError(t, err)

		// The same account's approval has retired the old token: nobody can be asked.
		w.withoutCloud(t, nil)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
	})
}

// G10: a rejection is that of the token: all who live on it hear of it, and plex.tv
// is left alone, also where the caller has gone when it comes.
func TestRejectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := &lazyStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = slow })
		second := p.Instance("second")
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		w.signIn(t, second, w.alice, plexauth.PinOptions{})
		w.plex.Revoke(w.alice)
		slow.update = 200 * time.Millisecond
		asked := w.count("GET", "/api/v2/user")
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := p.Verify(ctx)
			cancel()
			require.Error(t, err)
			time.Sleep(time.Second)
		}
		assert.Equal(t, asked+1, w.count("GET", "/api/v2/user"))
		s, err := second.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		_, err = second.Verify(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.Equal(t, asked+1, w.count("GET", "/api/v2/user"))
	})
}

// lazyStore takes its time, or hangs.
type lazyStore struct {
	plexauth.ConfigStore
	load, update time.Duration
	hangs        func() bool
}

func (s *lazyStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	time.Sleep(s.load)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.ConfigStore.Load(ctx, ns)
}

func (s *lazyStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.hangs != nil && s.hangs() {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(s.update):
		return s.ConfigStore.Update(ctx, ns, edit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A store that is slow is waited for as long as the caller waits: what has
// succeeded is not told to have failed.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, func(o *plexauth.Options) { o.Store = &lazyStore{ConfigStore: w.store, load: 1200 * time.Millisecond} })
		s, err := p.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, w.alice) })
		require.NoError(t, err)
		assert.True(t, s.Connected)
		s, err = p.Disconnect(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
	})
}

// What ends a Wait while a save hangs is the caller's context, by its own error.
func TestContextEndsWhileSaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		updates := 0
		p := w.open(t, func(o *plexauth.Options) {
			o.Store = &lazyStore{ConfigStore: w.store, hangs: func() bool { updates++; return updates == 3 }}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := p.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, w.alice) })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, context.Canceled)
	})
}

// A login that another process has cancelled has not succeeded, though the profile
// has got another token since, by the login of another one.
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

// G8: an approval that nobody has seen yet has retired the token that the profile
// lives on. Who cancels the login, or begins another, does not lose it.
func TestGivenUpAfterTheApproval(t *testing.T) {
	for name, giveUp := range map[string]func(t *testing.T, w *world) error{
		"Cancel": func(t *testing.T, w *world) error { return w.Cancel(t.Context()) },
		"Start": func(t *testing.T, w *world) error {
			_, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
			return err
		},
		"another process": func(t *testing.T, w *world) error { return w.open(t).Cancel(t.Context()) },
		"the panel": func(t *testing.T, w *world) error {
			rec := httptest.NewRecorder()
			w.Handler(t.Context()).ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/cancel", nil))
			assert.Equal(t, http.StatusOK, rec.Code)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				old := mustSettings(t, w.PlexAuth).AccountToken
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				require.NoError(t, giveUp(t, w))
				s, err := w.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.False(t, old.Equal(mustSettings(t, w.PlexAuth).AccountToken))
			})
		})
	}
}

// Where there is nothing to lose, or plex.tv does not answer, a login is cancelled
// all the same.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		asked, began := len(w.plex.Requests()), time.Now()
		require.NoError(t, w.Cancel(t.Context()))
		assert.Len(t, w.plex.Requests(), asked)
		assert.Zero(t, time.Since(began))

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		for _, f := range []plextest.Fault{{Hang: true}, {Reset: true}, {Status: 503}, {Code: 1003}} {
			_, err = w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			w.plex.Inject(f)
			began = time.Now()
			require.NoError(t, w.Cancel(t.Context()))
			assert.LessOrEqual(t, time.Since(began), 4*time.Second)
			s, err := w.Status(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
			assert.Nil(t, s.Pending)
			time.Sleep(time.Minute)
		}

		// Login cancels when its PIN cannot be shown, and has little time for that.
		for _, after := range []time.Duration{0, 5 * time.Second} {
			w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: "/api/v2/pins/*", Hang: true})
			_, err = w.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(*plexauth.Pin) error {
				time.Sleep(after)
				return errors.New("no screen")
			})
			require.ErrorContains(t, err, "no screen")
			s, err := w.Status(t.Context())
			require.NoError(t, err)
			assert.Nil(t, s.Pending)
			w.plex.ResetFaults()
		}
	})
}

// G22, G23: a login that plex.tv will say nothing more about is in no new one's way,
// though nobody has noted whose it was; a JWT tells that itself.
func TestRelinkOverAJWTThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.open(t, deviceKey), w.alice, plexauth.PinOptions{})
		old := mustSettings(t, w.PlexAuth)
		put(t, w.store, fmt.Sprintf(`{"client_id":%q,"account_token":%q}`, old.ClientID, old.AccountToken.Secret()))
		time.Sleep(8 * 24 * time.Hour)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		require.True(t, s.NeedsLogin)
		before := w.doc(t)

		login := func(u *plextest.User, o plexauth.PinOptions) error {
			_, err := w.Login(t.Context(), o, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, u) })
			return err
		}
		require.NoError(t, login(w.alice, plexauth.PinOptions{}))
		put(t, w.store, before)
		require.ErrorIs(t, login(w.bob, plexauth.PinOptions{}), plexauth.ErrAccountMismatch)
		require.NoError(t, login(w.bob, plexauth.PinOptions{SwitchAccount: true}))
		s, err = w.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", s.User)
	})
}

// verdict answers what is asked with one token.
type verdict struct {
	http.RoundTripper
	token  string
	status int
	body   string
}

func (v *verdict) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("X-Plex-Token") != v.token {
		return v.RoundTripper.RoundTrip(r)
	}
	return &http.Response{StatusCode: v.status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(v.body)), Request: r}, nil
}

// G22, G23: what plex.tv says of the token before, and is no rejection, gives nobody
// the place of whoever that may be: the same person's approval would have ended it.
// The login waits, and is refused at its end; whoever says so gets in.
func TestRelinkOverARefusal(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		lasts  bool
	}{
		{403, `{"errors":[{"code":1009,"message":"Managed users may not do this","status":403}]}`, true},
		{401, `{"errors":[{"code":1029,"message":"Please enter the verification code","status":401}]}`, true},
		{422, `{"errors":[{"code":1008,"message":"Unprocessable request","status":422}]}`, true},
		{404, `{"errors":[{"code":1002,"message":"Not found","status":404}]}`, false},
		{503, `{"errors":[{"code":1007,"message":"Internal server error","status":503}]}`, false},
		{403, `<html>blocked</html>`, false},
	} {
		t.Run(fmt.Sprint(row.status, row.lasts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.withoutCloud(t, nil)
				v := &verdict{w.plex.Client().Transport, mustSettings(t, w.PlexAuth).AccountToken.Secret(), row.status, row.body}
				p := w.open(t, func(o *plexauth.Options) { o.HTTPClient = &http.Client{Transport: v} })
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				s, err := p.Finish(t.Context())
				require.Error(t, err)
				assert.False(t, s.Connected)
				if !row.lasts {
					v.token = "nobody's"
				}
				_, err = p.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				s, err = p.Status(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "alice", s.User)
				assert.Nil(t, s.Pending)

				w.signIn(t, p, w.bob, plexauth.PinOptions{SwitchAccount: true})
			})
		})
	}
}

// G8, G22: who has approved is the person that is linked, also where plex.tv says of
// the token before, which the approval has ended, what is no rejection: by the name
// that is stored, by the words that plex.tv uses for a dead token, or by what a JWT
// says of itself. Nobody waits for that, and the new token stays.
func TestRelinkBySamePerson(t *testing.T) {
	const (
		xml     = `<?xml version="1.0" encoding="UTF-8"?><errors><error>Invalid authentication token.</error></errors>`
		managed = `{"errors":[{"code":1009,"message":"Managed users may not do this","status":403}]}`
	)
	byKey := func(o *plexauth.Options) { o.DeviceKey, o.Scopes = true, []string{"username"} }
	plain := func(*plexauth.Options) {}
	for name, row := range map[string]struct {
		before, then func(*plexauth.Options)
		more         map[string]any
		status       int
		body         string
	}{
		"404 by words":      {plain, plain, map[string]any{"username": ""}, 404, xml},
		"403 by words":      {plain, plain, map[string]any{"username": ""}, 403, xml},
		"422 by name":       {plain, plain, nil, 422, `{"errors":[{"code":1008,"message":"Unprocessable","status":422}]}`},
		"404 by name":       {plain, plain, nil, 404, `{"errors":[{"code":1002,"message":"Not found","status":404}]}`},
		"403 by e-mail":     {plain, plain, map[string]any{"username": "Alice@Example.com"}, 403, managed},
		"to a key, by name": {plain, byKey, nil, 403, managed},
		"of a key":          {byKey, byKey, map[string]any{"username": ""}, 403, managed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.open(t, row.before), w.alice, plexauth.PinOptions{})
				w.withoutCloud(t, row.more)
				v := &verdict{w.plex.Client().Transport, mustSettings(t, w.PlexAuth).AccountToken.Secret(), row.status, row.body}
				p := w.open(t, row.then, func(o *plexauth.Options) { o.HTTPClient = &http.Client{Transport: v} })
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				s, err := p.Finish(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				s, err = p.Verify(t.Context())
				require.NoError(t, err)
				assert.Contains(t, strings.ToLower(s.User), "alice")
			})
		})
	}
}

// G22: a login that waits so blocks no other one and no Cancel, whatever date its PIN
// was stored with; and what ends it says what nobody knows.
func TestRefusalBlocksNobody(t *testing.T) {
	for name, end := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Cancel": (*plexauth.PlexAuth).Cancel,
		"Start": func(p *plexauth.PlexAuth, ctx context.Context) error {
			return second(p.Start(ctx, plexauth.PinOptions{SwitchAccount: true}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.withoutCloud(t, nil)
				v := &verdict{w.plex.Client().Transport, mustSettings(t, w.PlexAuth).AccountToken.Secret(), 403, `{"errors":[{"code":1009,"message":"no","status":403}]}`}
				p := w.open(t, func(o *plexauth.Options) { o.HTTPClient = &http.Client{Transport: v} })
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				_, err = p.Finish(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				put(t, w.store, strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(pin.ExpiresAt.AddDate(1, 0, 0).UnixMilli()), 1))
				result := make(chan error, 1)
				go func() {
					_, err := p.Wait(t.Context())
					result <- err
				}()
				time.Sleep(time.Second)
				require.NoError(t, end(p, t.Context()))
				err = <-result
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				assert.ErrorContains(t, err, "bob (plex.tv does not say whose the linked login is)")
				s, err := p.Status(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "alice", s.User)
			})
		})
	}
}

// G8, G22: an approval ends the token of every profile on that account, so it is not
// given up where this profile has none, either.
func TestGivenUpBesideASibling(t *testing.T) {
	for name, giveUp := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Cancel": (*plexauth.PlexAuth).Cancel,
		"Start": func(p *plexauth.PlexAuth, ctx context.Context) error {
			return second(p.Start(ctx, plexauth.PinOptions{Strong: true}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				other := w.Instance("second")
				pin, err := other.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				require.NoError(t, giveUp(other, t.Context()))
				s, err := w.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// failingLoads fails a read when it is told to.
type failingLoads struct {
	plexauth.ConfigStore
	fails func() bool
}

func (s *failingLoads) Load(ctx context.Context, ns string) (jsonRaw, error) {
	if s.fails() {
		return nil, errDisk
	}
	return s.ConfigStore.Load(ctx, ns)
}

// G8: a store that cannot be read for a moment makes no failure of an approval,
// whichever read it is, in a first login or over another one.
func TestStoreUnreadForAMoment(t *testing.T) {
	for _, relink := range []bool{false, true} {
		for nth := 2; nth <= 8; nth++ { // the first is Wait's own
			t.Run(fmt.Sprint(relink, nth), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					if relink {
						w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					}
					loads, counts := 0, false
					p := w.open(t, func(o *plexauth.Options) {
						o.Store = &failingLoads{w.store, func() bool {
							if counts {
								loads++
							}
							return loads == nth
						}}
					})
					pin, err := p.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					counts = true
					s, err := p.Wait(t.Context())
					require.NoError(t, err)
					assert.True(t, s.Connected)
				})
			})
		}
	}
}

// A Start that comes while a verdict is being noted takes nothing away from those who
// wait: they hear the verdict, and no end of a context that is not theirs.
func TestRejectedWhileStartComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var slow atomic.Bool
		p := w.open(t, func(o *plexauth.Options) {
			o.Store = &lazyStore{ConfigStore: w.store, hangs: func() bool {
				if slow.Load() {
					time.Sleep(200 * time.Millisecond)
				}
				return false
			}}
		})
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Delay: time.Second})
		result := make(chan error, 1)
		go func() {
			_, err := p.Wait(t.Context())
			result <- err
		}()
		time.Sleep(1500 * time.Millisecond) // it has the token, and asks whose it is
		w.plex.Revoke(w.alice)
		slow.Store(true)
		time.Sleep(700 * time.Millisecond) // the answer is there, and is being noted
		_, err = p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
		require.NoError(t, err)
		err = <-result
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.NotErrorIs(t, err, context.Canceled)
	})
}

// G22: Start finds out whose the logins are that its approval may end: those under
// the identifier of its PIN, which may be the program's own, and also where one of
// them cannot be asked about.
func TestFindsOutWhoseLoginsThereAre(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, w *world) *plexauth.PlexAuth{
		"the program's identifier": func(t *testing.T, w *world) *plexauth.PlexAuth {
			put(t, w.store, `{"client_id":"0123456789abcdef01234567"}`)
			return w.open(t, func(o *plexauth.Options) { o.ClientID = "my-own-client-id" })
		},
		"one that cannot be asked about": func(t *testing.T, w *world) *plexauth.PlexAuth {
			dead := w.open(t, deviceKey)
			w.signIn(t, dead, w.bob, plexauth.PinOptions{})
			jwt := mustSettings(t, dead).AccountToken.Secret()
			require.NoError(t, second(dead.Disconnect(t.Context())))
			put(t, w.store, strings.Replace(w.doc(t), "{", fmt.Sprintf(`{"instances":{"first":{"account_token":%q}},`, jwt), 1))
			time.Sleep(8 * 24 * time.Hour)
			w.forgive = "another client identifier"
			return w.PlexAuth
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := prepare(t, w)
				other := p.Instance("second")
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
				w.signIn(t, other, w.alice, plexauth.PinOptions{})
				w.plex.ResetFaults()
				w.signIn(t, p.Instance("third"), w.alice, plexauth.PinOptions{})
				s, err := other.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// G10: a token that is known to be rejected is not sent with every look where that
// cannot be written down.
func TestRejectedBeforeAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.withoutCloud(t, nil)
		full := false
		p := w.open(t, func(o *plexauth.Options) {
			o.Store = &failingUpdates{w.store, func() bool { return full }}
		})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		_, err = p.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable) // the token is parked
		w.plex.ResetFaults()
		full = true
		asked := w.count("GET", "/api/v2/user")
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		_, err = p.Wait(ctx)
		require.Error(t, err)
		assert.Equal(t, asked+2, w.count("GET", "/api/v2/user"), "about the new one and the old one")
		full = false
		w.forgive = "used again" // once more: nobody could remember
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// failingUpdates writes nothing when it is told to.
type failingUpdates struct {
	plexauth.ConfigStore
	fails func() bool
}

func (s *failingUpdates) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.fails() {
		return errDisk
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

// G9: those who leave while an approved token waits for its account are no trouble to
// the others: neither by their error nor by the pace.
func TestCallersThatLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &hurriedStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		_, err = p.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable) // the token is parked
		w.plex.ResetFaults()
		time.Sleep(5 * time.Second)

		store.load = 50 * time.Millisecond
		for range 4 {
			ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond) // in the third read
			_, err = p.Finish(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
			time.Sleep(1100 * time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
		defer cancel()
		_, err = p.Finish(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s, err := p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// hurriedStore takes its time for a read, unless the caller leaves before.
type hurriedStore struct {
	plexauth.ConfigStore
	load time.Duration
}

func (s *hurriedStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	select {
	case <-time.After(s.load):
		return s.ConfigStore.Load(ctx, ns)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
