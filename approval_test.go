package plexauth_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G10: a token that is rejected right after its approval is reported as rejected.
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

// G8, G22: plex.tv cannot say whose an approved token is. The token is parked, and the
// old login stays. The account decides as soon as it can be read, even after a restart
// and after the PIN's end.
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

// G8: a token that is parked while another Start is in progress is not lost to the new
// PIN.
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

// G8, G22: a call that is about to give up a login finds its approval. Before the call saves the
// token, another process, which cannot ask plex.tv, removes the login. The token goes to the profile
// whose own it has retired, also if the context of the call ends then.
func TestApprovalFoundAfterACancelElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		giveUp func(context.Context, *plexauth.PlexAuth) error
		update int64         // which saves the token
		leaves bool          // the caller does
		slow   time.Duration // the account's answer
		lag    time.Duration // of the store's reads
	}{
		"Cancel":                 {giveUp: givingUp["Cancel"], update: 1},
		"Start":                  {giveUp: givingUp["Start"], update: 2},
		"Cancel, interrupted":    {giveUp: givingUp["Cancel"], update: 1, leaves: true, slow: 500 * time.Millisecond},
		"Cancel, a slow plex.tv": {giveUp: givingUp["Cancel"], update: 1, slow: 4 * time.Second},
		"Cancel, slow reads":     {giveUp: givingUp["Cancel"], update: 1, lag: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.replicas = true
				require.NoError(t, w.plex.Approve(start(t, w).Code, w.alice))
				time.Sleep(10 * time.Second)
				met := false
				var left time.Time
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				store := &laggingStore{}
				store.ConfigStore = w.hooked(hooks{beforeUpdate: calls(c.update, c.update, does(func() {
					met = true
					store.lag(t, c.lag)
					w.plex.Inject(pinRequests(plextest.Fault{Status: 502, Times: -1}))
					require.NoError(t, w.Cancel(t.Context()))
					w.plex.ResetFaults()
					w.plex.Inject(plextest.Fault{Path: accountPath, Delay: c.slow})
					if c.leaves {
						left = time.Now()
						leave()
					}
				}))})
				err := c.giveUp(ctx, w.open(t, withStore(store)))
				assert.Equal(t, c.leaves, err != nil)
				assert.True(t, met, "the moment was met")
				if c.leaves {
					assert.LessOrEqual(t, time.Since(left), time.Second)
				}
				time.Sleep(c.lag)
				w.plex.ResetFaults()
				s, err := w.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// G23: a call that is about to give up a login finds its approval, and another process ends the
// login before the token is saved. Nothing is done with the token if that process has refused it as
// another account's, and so revoked it, or if it is a device key's, which has retired no other one.
func TestApprovalFoundAfterAnEndElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		keys     bool
		signOuts int // at plex.tv, after the other process has ended the login
		end      func(context.Context, *plexauth.PlexAuth) error
	}{
		"refused": {false, 1, func(ctx context.Context, p *plexauth.PlexAuth) error {
			_, _ = p.Finish(ctx)
			return nil
		}},
		"disconnected, with a device key": {true, 0, func(ctx context.Context, p *plexauth.PlexAuth) error {
			return errOf(p.Disconnect(ctx))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey = c.keys })
				w.replicas = true
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				require.NoError(t, w.plex.Approve(start(t, w).Code, w.bob))
				time.Sleep(10 * time.Second)
				var asked func() []plextest.Request
				p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: once(func() {
					require.NoError(t, c.end(t.Context(), w.PlexAuth))
					asked = w.fromNow()
				})})))
				require.NoError(t, errOf(p.SignOut(t.Context())))
				for _, r := range asked() {
					assert.Equal(t, "/api/v2/users/signout", r.Path)
				}
				assert.Len(t, asked(), c.signOuts, "of alice's token alone")
			})
		})
	}
}

// G10: Verify changes none of the stored settings, whatever name the profile has.
func TestVerifyKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		w.forgetAccount(t, map[string]any{"username": "Kid", "account_id": 23456, "home_pin": "1234"})
		want := w.stored(t)
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		got := w.stored(t)
		assert.Contains(t, got, "_cloud")
		delete(got, "_cloud")
		assert.Equal(t, want, got)
	})
}

// G8, G22: two profiles of one account are approved while plex.tv is slow to say whose
// the first token is. The second approval has ended the first token by then. Both
// profiles get the second token.
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

// G10: a rejection is noted for all profiles with that token, even if the caller has
// left before it arrives. Then plex.tv is left alone.
func TestRejectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := w.hooked(hooks{})
		p := w.open(t, withStore(slow))
		second := p.Instance("second")
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		w.signIn(t, second, w.alice, plexauth.PinOptions{})
		w.plex.Revoke(w.alice)
		slow.set(hooks{beforeUpdate: takes(200 * time.Millisecond)})
		asked := w.fromNow()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := p.Verify(ctx)
			cancel()
			require.Error(t, err)
			time.Sleep(time.Second)
		}
		assert.Len(t, asked(), 1, "plex.tv is left alone after its rejection")
		s, err := second.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		_, err = second.Verify(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.Len(t, asked(), 1, "on behalf of this profile, too")
	})
}

// Callers that wait get the rejection of their login even if a Start replaces it while
// the rejection is being saved. They do not get the error of another caller's context.
func TestRejectedWhileStartComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := w.hooked(hooks{})
		p := w.open(t, withStore(slow))
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
		time.Sleep(1500 * time.Millisecond) // it has the token, and asks for the account
		w.plex.Revoke(w.alice)
		slow.set(hooks{beforeUpdate: does(func() { time.Sleep(200 * time.Millisecond) })})
		time.Sleep(700 * time.Millisecond) // the rejection has come, and is being saved
		_, err = p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
		require.NoError(t, err)
		err = <-result
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.NotErrorIs(t, err, context.Canceled)
	})
}
