package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

const accountPath, signOutPath = "/api/v2/user", "/api/v2/users/signout"

// G8, G22: another process has just ended the login in its way when this one gets the token.
// All who wait here are told at the same moment. A token that no profile has is revoked.
func TestTokenOfALoginEndedElsewhere(t *testing.T) {
	refuse := plextest.Fault{Path: accountPath, Code: 1001}
	for name, c := range map[string]struct {
		linked, device bool
		do             func(t *testing.T, w *world, other *plexauth.PlexAuth, code string)
		want           error
		revoked        bool
	}{
		"superseded": {false, false, func(t *testing.T, w *world, other *plexauth.PlexAuth, code string) {
			require.NoError(t, errOf(other.Start(t.Context(), plexauth.PinOptions{Strong: true})))
			require.NoError(t, w.plex.Approve(code, w.alice))
		}, plexauth.ErrPinSuperseded, true},
		"superseded, with a device key": {false, true, func(t *testing.T, w *world, other *plexauth.PlexAuth, code string) {
			require.NoError(t, errOf(other.Start(t.Context(), plexauth.PinOptions{Strong: true})))
			require.NoError(t, w.plex.Approve(code, w.alice))
		}, plexauth.ErrPinSuperseded, false},
		"refused": {true, false, func(t *testing.T, w *world, other *plexauth.PlexAuth, code string) {
			require.NoError(t, w.plex.Approve(code, w.bob))
			w.plex.Inject(noRevocation)
			require.ErrorIs(t, errOf(other.Finish(t.Context())), plexauth.ErrAccountMismatch)
		}, plexauth.ErrAccountMismatch, false},
		"rejected": {false, false, func(t *testing.T, w *world, other *plexauth.PlexAuth, code string) {
			require.NoError(t, w.plex.Approve(code, w.alice))
			w.plex.Inject(refuse)
			require.ErrorIs(t, errOf(other.Finish(t.Context())), plexauth.ErrTokenRejected)
		}, plexauth.ErrTokenRejected, false},
		"saved": {false, false, func(t *testing.T, w *world, other *plexauth.PlexAuth, code string) {
			require.NoError(t, w.plex.Approve(code, w.alice))
			require.NoError(t, errOf(other.Finish(t.Context())))
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.replicas = true
				withKey := func(o *plexauth.Options) { o.DeviceKey = c.device }
				p, other := w.open(t, withKey), w.open(t, withKey, noRetries)
				if c.linked {
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				}
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				var wg sync.WaitGroup
				ended := make([]time.Time, 2)
				for i := range ended {
					wg.Go(func() {
						assert.ErrorIs(t, errOf(p.Wait(t.Context())), c.want)
						ended[i] = time.Now()
					})
				}
				time.Sleep(1500 * time.Millisecond) // the store was read lately
				c.do(t, w, other, pin.Code)
				asked := w.fromNow()
				wg.Wait()
				assert.Equal(t, ended[0], ended[1])
				assert.Less(t, time.Since(pin.CreatedAt), 3*time.Second)
				revocations := 0
				if c.revoked {
					revocations = 1
				}
				assert.Len(t, only(asked(), http.MethodGet, "/api/v2/pins/{id}"), 1, "for both")
				assert.Len(t, only(asked(), http.MethodDelete, signOutPath), revocations)
				assert.Len(t, only(asked(), http.MethodGet, accountPath), revocations, "whose the revoked token is")
			})
		})
	}
}

// G8: the store fails for six minutes. The caller whose save has failed for five is told so,
// and the other one goes on and succeeds.
func TestSaveIsTriedByTheNextCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := approved(t, newWorld(t))
		store := w.hooked(hooks{beforeUpdate: fails(errDisk)})
		p := w.open(t, withStore(store))
		time.AfterFunc(6*time.Minute, func() { store.set(hooks{}) })
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- errOf(p.Wait(t.Context())) }()
		}
		require.ErrorIs(t, <-results, plexauth.ErrStore)
		assert.NoError(t, <-results)
	})
}

// Status at the end of a Wait is what is stored, if the account cannot be saved.
func TestAccountIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
		store.set(hooks{beforeUpdate: calls(2, 99, fails(errDisk))})
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		store.set(hooks{})
		assert.Equal(t, must(p.Status(t.Context())), s)
		assert.Empty(t, s.User)
	})
}

// G8, G22: the profile's token changes, or the store fails, while the account of an approved
// one is read. The decision is made again, by the tokens that are there then.
func TestTokenChangesWhileTheAccountIsRead(t *testing.T) {
	for name, trouble := range map[string]hooks{
		"changes": {}, "changes, and the store fails": {beforeLoad: calls(1, 1, fails(errDisk))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				pin := start(t, w)
				store := w.hooked(hooks{})
				p := w.openInterrupted(t, accountPath, func() {
					w.edit(t, map[string]any{"account_token": "TEST_of-another-program"})
					store.set(trouble)
				}, withStore(store))
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				s, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.Nil(t, s.Pending)
				assert.Equal(t, w.plex.Token(w.alice, w.credentials(t).ClientID), tokenOf(t, w.PlexAuth))
			})
		})
	}
}

// park begins a login over the one of w, which u approves. plex.tv does not say whose the
// token is, so that it is parked.
func (w *world) park(t *testing.T, p *plexauth.PlexAuth, u *plextest.User, o plexauth.PinOptions) *plexauth.Pin {
	t.Helper()
	pin, err := p.Start(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, u))
	w.plex.Inject(outageOfAccounts)
	require.ErrorIs(t, errOf(p.Finish(t.Context())), plexauth.ErrUnavailable)
	w.plex.ResetFaults()
	return pin
}

// A store that cannot be read is an error for the call that would settle a parked token, and
// the token stays.
func TestSettlingWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.park(t, p, w.alice, plexauth.PinOptions{})
		store.set(hooks{beforeLoad: calls(2, 2, fails(errDisk))})
		require.ErrorIs(t, errOf(p.Verify(t.Context())), plexauth.ErrStore)
		s, err := p.Verify(t.Context())
		require.NoError(t, err)
		assert.Nil(t, s.Pending)
	})
}

// G9: a Cancel that comes while the account of the token is read settles it, and all who wait
// are told of its success.
func TestCancelWhileTheAccountIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.startAndApprove(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: accountPath, Hang: true})
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, errOf(w.Wait(t.Context()))) })
		time.Sleep(3 * time.Second)
		began := time.Now()
		require.NoError(t, w.Cancel(t.Context()))
		assert.Zero(t, time.Since(began))
		wg.Wait()
	})
}

// A store that fails for five minutes when the account is known ends the Wait with its error,
// whatever becomes of the previous login. The next one finishes the login.
func TestStoreFailsWhenTheAccountIsKnown(t *testing.T) {
	for name, before := range map[string]map[string]any{
		"as before": nil, "beside another program": {"account_token": "TEST_of-another-program"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				store := w.hooked(hooks{})
				p := w.openInterrupted(t, accountPath, func() { w.edit(t, before) }, withStore(store))
				w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
				updates := 0
				store.set(hooks{refuse: func(jsonRaw) error {
					if updates++; updates == 1 { // it saves the token alone
						return nil
					}
					return errDisk
				}})
				began := time.Now()
				require.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrStore)
				assert.Less(t, time.Since(began), 6*time.Minute)
				store.set(hooks{})
				s, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// A Verify that settles a parked token ends the Wait for it at once.
func TestVerifyEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.park(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.Inject(refusedAccount)
		var wg sync.WaitGroup
		var ended time.Time
		wg.Go(func() {
			assert.NoError(t, errOf(w.Wait(t.Context())))
			ended = time.Now()
		})
		time.Sleep(30 * time.Second) // it rests for a minute
		w.plex.ResetFaults()
		require.NoError(t, errOf(w.Verify(t.Context())))
		now := time.Now()
		wg.Wait()
		assert.Equal(t, now, ended)
	})
}

// G22: an account that plex.tv refuses to tell can wait until the PIN's end, and no longer.
func TestRefusedAccountAtTheEnd(t *testing.T) {
	for name, left := range map[string]time.Duration{"before": 1, "at the end": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				pin := w.park(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
				w.plex.Inject(refusedAccount)
				time.Sleep(time.Until(pin.ExpiresAt) - left)
				require.Error(t, errOf(w.Verify(t.Context())))
				assert.Equal(t, left > 0, must(w.Status(t.Context())).Pending != nil)
			})
		})
	}
}

// G6: Cancel asks once whose a parked token is. A Start, which cannot go on without the
// answer, asks again.
func TestAttemptsToReadTheAccount(t *testing.T) {
	for name, c := range map[string]struct {
		current bool // the account of the login that is there is not known either, and asked for
		do      func(context.Context, *plexauth.PlexAuth) error
		asked   int
	}{
		"Cancel":                    {false, givingUp["Cancel"], 1},
		"Start":                     {false, givingUp["Start"], 4},
		"Cancel, unknown before":    {true, givingUp["Cancel"], 1},
		"Start, unknown before":     {true, givingUp["Start"], 4},
		"Finish, with both unknown": {true, loginCalls["Finish"], 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				old := tokenOf(t, w.PlexAuth)
				w.park(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
				if c.current {
					w.forgetAccount(t, nil)
				}
				v := &verdict{RoundTripper: w.plex.Client().Transport, token: old, path: accountPath, status: 503}
				if !c.current {
					v.token = w.plex.Token(w.bob, w.credentials(t).ClientID)
				}
				time.Sleep(5 * time.Second)
				p := w.open(t, withTransport(v))
				require.ErrorIs(t, c.do(t.Context(), p), plexauth.ErrUnavailable)
				assert.Equal(t, c.asked, v.asked)
				assert.NotNil(t, must(p.Status(t.Context())).Pending, "nothing is decided")
				assert.Equal(t, old, w.credentials(t).AccountToken)
			})
		})
	}
}

// A login that may switch accounts does not ask whose the one before is. With a device key it
// ends no other profile's token, and asks nothing of those either.
func TestSwitchAsksNothingOfTheLoginBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.signIn(t, w.Instance("second"), w.bob, plexauth.PinOptions{})
		p := w.open(t, deviceKey)
		pin, err := p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
		require.NoError(t, err)
		w.asOlderVersion(t)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		asked := w.fromNow()
		require.NoError(t, errOf(p.Wait(t.Context())))
		assert.Len(t, only(asked(), http.MethodGet, accountPath), 1)
	})
}

// G10: the account that a JWT names does not count if plex.tv rejects the JWT.
func TestRejectedJWTAtLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey, scopes("username"))
		approved(t, w)
		w.plex.Inject(plextest.Fault{Path: accountPath, Code: 1001, Times: -1})
		s, err := w.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.False(t, s.Connected)
	})
}

// G22: an outage is no refusal to tell whose the login before is, even if its JWT tells: the
// decision waits.
func TestOutageBesideAJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		old := w.credentials(t).AccountToken
		pin := start(t, w)
		w.forgetAccount(t, nil)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		v := &verdict{RoundTripper: w.plex.Client().Transport, token: old, path: accountPath, status: 503}
		p := w.open(t, deviceKey, withTransport(v))
		require.ErrorIs(t, errOf(p.Finish(t.Context())), plexauth.ErrUnavailable)
		v.status, v.body = 403, `{"errors":[{"code":1009,"message":"no","status":403}]}`
		require.ErrorIs(t, errOf(p.Verify(t.Context())), plexauth.ErrAccountMismatch)
	})
}

// G2, G22: whose the login before is, of another program without an identifier, is asked with
// one. A store in which that cannot be saved delays the decision.
func TestLoginBeforeHasNoIdentifier(t *testing.T) {
	for name, failures := range map[string]int{"the store works": 0, "the store fails": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t) // it reports requests without an identifier
				w.forgive = "another client identifier"
				put(t, w.store, jsonText(map[string]any{"account_token": w.plex.IssueToken(w.alice, "foreign")}))
				store := w.hooked(hooks{})
				p := w.open(t, deviceKey, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				failed := 0
				store.set(hooks{beforeUpdate: calls(2, 2, func(context.Context) error { // the first one saves the approved token
					if failed == failures {
						return nil
					}
					failed++
					return errDisk
				})})
				require.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrAccountMismatch)
				assert.Equal(t, failures, failed)
				assert.NotEmpty(t, w.credentials(t).ClientID)
			})
		})
	}
}

// G22, G23: the JWT is replaced by another program's token while its account is saved, which is
// not that token's.
func TestJWTIsReplacedWhileItsAccountIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		v := &verdict{
			RoundTripper: w.plex.Client().Transport, token: w.credentials(t).AccountToken, path: accountPath,
			status: 403, body: `{"errors":[{"code":1009,"message":"no","status":403}]}`,
		}
		w.startAndApprove(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
		w.forgetAccount(t, map[string]any{"username": ""})
		store := w.hooked(hooks{beforeUpdate: calls(2, 2, does(func() { // the first one saves the approved token
			w.edit(t, map[string]any{"account_token": "TEST_of-another-program"})
		}))})
		s, err := w.open(t, deviceKey, withStore(store), withTransport(v)).Finish(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", s.User)
	})
}

// G22: plex.tv does not tell whose the login before is. It is over if its JWT has expired, and
// not if plex.tv is down and only speaks of an invalid token.
func TestAccountOfAnUnusableLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		jwt := forge(t, w.credentials(t).AccountToken, func(_, claims map[string]any) { delete(claims, "user") })
		v := &verdict{RoundTripper: w.plex.Client().Transport, token: jwt, path: accountPath, status: 498}
		p := w.open(t, withTransport(v))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.forgetAccount(t, map[string]any{"account_token": jwt, "_device": nil, "username": ""})
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", s.User)
	})
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.park(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
		w.forgetAccount(t, nil)
		v := &verdict{
			RoundTripper: w.plex.Client().Transport, token: w.credentials(t).AccountToken, path: accountPath,
			status: 503, body: `{"errors":[{"code":1007,"message":"Invalid authentication token.","status":503}]}`,
		}
		require.ErrorIs(t, errOf(w.open(t, withTransport(v)).Verify(t.Context())), plexauth.ErrUnavailable)
		assert.NotNil(t, must(w.Status(t.Context())).Pending, "nothing is decided")
	})
}

// G10: the rejection of an approved token that cannot be saved is told all the same. If the
// caller leaves in the meantime, the next one hears of it.
func TestRejectionIsNotSaved(t *testing.T) {
	for name, c := range map[string]struct {
		fails hook
		is    []error
		not   error
	}{
		"the store fails":   {fails(errDisk), []error{plexauth.ErrTokenRejected, plexauth.ErrStore}, context.DeadlineExceeded},
		"the caller leaves": {hang, []error{context.DeadlineExceeded}, plexauth.ErrTokenRejected},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.forgive = "used again" // the rejection could not be saved
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				w.park(t, p, w.alice, plexauth.PinOptions{})
				w.plex.Inject(plextest.Fault{Path: accountPath, Code: 1001, Times: -1})
				store.set(hooks{beforeUpdate: c.fails})
				err := waitFor(t, p, 3*time.Second)
				for _, is := range c.is {
					assert.ErrorIs(t, err, is)
				}
				assert.NotErrorIs(t, err, c.not)
				store.set(hooks{})
				require.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrTokenRejected)
			})
		})
	}
}

// G10: the rejection of an approved token is told, even if it is saved only after the caller
// has left.
func TestRejectionIsSavedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.park(t, p, w.alice, plexauth.PinOptions{})
		time.Sleep(time.Second)
		w.plex.Inject(plextest.Fault{Path: accountPath, Code: 1001})
		store.set(hooks{afterUpdate: calls(2, 2, does(func() { time.Sleep(3 * time.Second) }))}) // the first one finds the token parked
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, errOf(p.Finish(ctx)), plexauth.ErrTokenRejected)
	})
}

// A parked token whose account cannot be read is trouble with plex.tv for the log as long as
// its PIN lives, and not of the store for the panel.
func TestTroubleWithAParkedToken(t *testing.T) {
	for name, left := range map[string]time.Duration{"before the end": time.Second, "at the end": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				pin := w.park(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.Inject(outageOfAccounts)
				time.Sleep(time.Until(pin.ExpiresAt) - left)
				p := w.open(t, noRetries) // after a restart
				logged := w.fromNowLogged()
				require.ErrorIs(t, errOf(p.Finish(t.Context())), plexauth.ErrUnavailable)
				assert.Equal(t, left > 0, len(logged()) > 0)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		panel := openPanel(t, w.PlexAuth)
		s := panel.post("/start", "")
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.alice))
		w.plex.Inject(outageOfAccounts)
		time.Sleep(15 * time.Second)
		s = panel.get("/status")
		require.NotNil(t, s.Problem)
		assert.NotEqual(t, "store", s.Problem.Error)
	})
}

// withPIN changes the tokens with which plex.tv answers about PINs, and signs them by a key
// that it lists if genuine is set.
func (w *world) withPIN(t *testing.T, genuine bool, change func(header, claims map[string]any)) func(*plexauth.Options) {
	keys, _ := w.tamper(keysPath)
	if genuine {
		keys.change = func([]byte) []byte {
			return []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"}]}`)
		}
	}
	return withTransport(&tampered{RoundTripper: keys, path: "/api/v2/pins/", change: func(body []byte) []byte {
		var j map[string]any
		_ = json.Unmarshal(body, &j)
		if token, ok := j["authToken"].(string); ok {
			j["authToken"] = forge(t, token, change)
		}
		return []byte(jsonText(j))
	}})
}

// A JWT that names no account does not stand in for plex.tv, which cannot be asked. One that
// is forged is dropped by Cancel.
func TestJWTOfAPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		anonymous := func(_, claims map[string]any) { delete(claims, "user") }
		p := w.open(t, deviceKey, w.withPIN(t, true, anonymous))
		w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
		w.plex.Inject(outageOfAccounts)
		require.ErrorIs(t, errOf(p.Finish(t.Context())), plexauth.ErrUnavailable)

		forged := w.open(t, deviceKey, w.withPIN(t, false, func(_, _ map[string]any) {}))
		w.plex.Inject(plextest.Fault{Path: keysPath, Status: 503, Times: -1})
		var wg sync.WaitGroup
		wg.Go(func() { assert.ErrorIs(t, errOf(forged.Wait(t.Context())), plexauth.ErrNoPendingPin) })
		time.Sleep(30 * time.Second) // it is saved beside its PIN
		w.plex.ResetFaults()
		require.NoError(t, forged.Cancel(t.Context()))
		wg.Wait()
		assert.Nil(t, must(w.Status(t.Context())).Pending)
	})
}

// G8: a token whose account plex.tv refuses to tell is revoked only once it is dropped. It is
// not if the store fails, or if another process has installed it in the meantime.
func TestRefusedAccountIsNotDropped(t *testing.T) {
	for name, hook := range map[string]func(t *testing.T, w *world) error{
		"the store fails": func(*testing.T, *world) error { return errDisk },
		"installed": func(t *testing.T, w *world) error {
			return errOf(w.open(t).Verify(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.park(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				parked := w.plex.Token(w.alice, w.credentials(t).ClientID)
				v := &verdict{RoundTripper: w.plex.Client().Transport, token: parked, path: accountPath, status: 403, body: `{"errors":[{"code":1009,"message":"no","status":403}]}`}
				store := w.hooked(hooks{beforeUpdate: calls(2, 2, func(context.Context) error { return hook(t, w) })})
				_, err := w.open(t, withStore(store), withTransport(v)).Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
				assert.Equal(t, name == "the store fails", errors.Is(err, plexauth.ErrStore))
				assert.Zero(t, w.count(http.MethodDelete, signOutPath))
				require.NoError(t, errOf(w.Verify(t.Context())))
			})
		})
	}
}

// Two processes settle a token at the same time. One of them has stored it.
func TestSettledInTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.park(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		logged := w.fromNowLogged()
		store := w.hooked(hooks{beforeUpdate: once(func() { require.NoError(t, errOf(w.open(t).Verify(t.Context()))) })})
		s, err := w.open(t, withStore(store)).Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Equal(t, []string{"INFO+2 token stored"}, logged())
	})
}

// G11: the error of a login that another account has approved names that account. It speaks
// of the linked one only if plex.tv does not tell whose that is.
func TestMismatchText(t *testing.T) {
	const text = "plexauth: approved by another Plex account than the one linked: bob"
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		for _, refused := range []bool{false, true} {
			pin := start(t, w)
			var change []func(*plexauth.Options)
			want := text + "; use SwitchAccount to accept it"
			if refused {
				w.forgetAccount(t, nil)
				v := &verdict{RoundTripper: w.plex.Client().Transport, token: w.credentials(t).AccountToken, path: accountPath, status: 403, body: `{"errors":[{"code":1009,"message":"no","status":403}]}`}
				change = append(change, withTransport(v))
				want = text + " (plex.tv does not tell the account of the linked login); use SwitchAccount to accept it"
			}
			require.NoError(t, w.plex.Approve(pin.Code, w.bob))
			assert.EqualError(t, errOf(w.open(t, change...).Wait(t.Context())), want)
		}
	})
}
