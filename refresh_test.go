package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G24: a JWT is renewed once between 70 and 75 % of its life.
func TestRenewsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		first := tokenOf(t, w.PlexAuth)
		time.Sleep(7 * day * 69 / 100)
		assert.Equal(t, first, tokenOf(t, w.PlexAuth))
		assert.Zero(t, w.count("GET", nonces))
		time.Sleep(7 * day * 7 / 100)
		second := tokenOf(t, w.PlexAuth)
		assert.NotEqual(t, first, second)
		assert.Equal(t, second, tokenOf(t, w.PlexAuth))
		assert.Equal(t, 1, w.count("POST", exchanges))
		s, err := w.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 7*day, time.Until(s.ExpiresAt).Round(time.Second))
		assert.Contains(t, w.log.String(), "token renewed")
	})
}

// Each JWT has its own time of renewal, so that processes seldom renew at once.
func TestRenewalJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		var at []time.Duration
		for range 8 { // each token has its own time
			from := time.Now()
			before := tokenOf(t, w.PlexAuth)
			for tokenOf(t, w.PlexAuth) == before {
				time.Sleep(10 * time.Minute)
			}
			at = append(at, time.Since(from))
		}
		different := map[time.Duration]bool{}
		for _, d := range at {
			assert.InDelta(t, 0.725, float64(d)/float64(7*day), 0.026, d)
			different[d.Round(time.Hour)] = true
		}
		assert.Greater(t, len(different), 1)
	})
}

// G24: at expiry any number of concurrent calls makes one exchange.
func TestOneExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		old := tokenOf(t, w.PlexAuth)
		c := &http.Client{Transport: w.Transport(w.plex.Client().Transport)}
		time.Sleep(8 * day)
		w.plex.Inject(plextest.Fault{Path: exchanges, Delay: time.Second})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				switch i % 4 {
				case 0:
					tok, err := w.Token(t.Context())
					assert.NoError(t, err)
					assert.NotEqual(t, old, tok.Secret())
				case 1:
					_, err := w.Account(t.Context())
					assert.NoError(t, err)
				case 2:
					s, err := w.Refresh(t.Context())
					assert.NoError(t, err)
					assert.True(t, s.Connected)
				case 3:
					resp, err := c.Do(request(t, "GET", "https://plex.tv/api/v2/user", nil))
					if assert.NoError(t, err) {
						assert.Equal(t, 200, resp.StatusCode)
						resp.Body.Close()
					}
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 1, w.count("POST", exchanges))
	})
}

// G24: replicas end up with the same token, whether or not plex.tv ends the old token
// at each exchange.
func TestReplicasConverge(t *testing.T) {
	for _, ends := range []bool{false, true} {
		t.Run(fmt.Sprintf("RefreshEndsJWT=%v", ends), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				w.plex.SetQuirks(plextest.Quirks{RefreshEndsJWT: ends})
				w.plex.Inject(plextest.Fault{Path: exchanges, Delay: time.Second, Times: -1})
				replicas := []*plexauth.PlexAuth{w.PlexAuth, w.open(t), w.open(t), w.open(t)}
				for round := range 3 {
					time.Sleep(8 * day)
					assert.Len(t, concurrentTokens(t, replicas), 1)
					assert.Equal(t, round+1, w.count("POST", exchanges), "one for all four")
					for _, p := range replicas {
						_, err := p.Verify(t.Context())
						assert.NoError(t, err)
					}
				}
			})
		})
	}
}

// concurrentTokens calls Token many times at once, and returns the set of results.
func concurrentTokens(t *testing.T, replicas []*plexauth.PlexAuth) map[string]bool {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	tokens := map[string]bool{}
	for _, p := range replicas {
		for range 25 {
			wg.Go(func() {
				tok, err := p.Token(t.Context())
				if assert.NoError(t, err) {
					mu.Lock()
					defer mu.Unlock()
					tokens[tok.Secret()] = true
				}
			})
		}
	}
	wg.Wait()
	return tokens
}

// G24: a process that was killed during a renewal delays others by half a minute at
// most.
func TestAbandonedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(8 * day)
		lease := func(until time.Time) {
			put(t, w.store, strings.Replace(w.doc(t), `"kid":`, fmt.Sprintf(`"leased_until_ms":%d,"kid":`, until.UnixMilli()), 1))
		}
		began := time.Now()
		lease(began.Add(30 * time.Second))
		tokenOf(t, w.PlexAuth)
		assert.InDelta(t, 30, time.Since(began).Seconds(), 1)

		time.Sleep(8 * day)
		began = time.Now()
		lease(began.Add(3 * day)) // by a clock that is wrong
		tokenOf(t, w.PlexAuth)
		assert.Zero(t, time.Since(began))
	})
}

// G24, G10: weeks after expiry one exchange is enough, and no sign-in is needed.
func TestWeeksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(60 * day)
		p := w.open(t)
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.False(t, s.NeedsLogin)
		assert.True(t, s.ExpiresAt.Before(time.Now()))
		s, err = p.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Equal(t, 1, w.count("POST", exchanges))
	})
}

// G24: a clock that is wrong by hours or days does no harm, even after a restart.
func TestWrongClock(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour, 3 * day, -3 * day, 30 * day, -30 * day} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deviceKey)
				w.plex.SetClock(off)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				first := tokenOf(t, w.PlexAuth)
				assert.Equal(t, first, tokenOf(t, w.open(t)), "a restart does not forget")
				time.Sleep(4 * day)
				assert.Equal(t, first, tokenOf(t, w.open(t)))
				require.NoError(t, requestCall(t.Context(), w, w.open(t)))
				assert.Zero(t, w.count("POST", exchanges))
				time.Sleep(1500 * time.Hour)
				for range 3 {
					_, err := w.open(t).Account(t.Context())
					require.NoError(t, err)
				}
				assert.Equal(t, 1, w.count("POST", exchanges))
				assert.Contains(t, w.log.String(), "clock is wrong")
			})
		})
	}
}

// A clock that is wrong by a minute or more is logged once.
func TestWrongClockIsLogged(t *testing.T) {
	for off, lines := range map[time.Duration]int{59 * time.Second: 0, time.Minute: 1, -59 * time.Second: 0, -time.Minute: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newDeviceWorld(t)
			w.plex.SetClock(off)
			for range 2 {
				time.Sleep(time.Minute)
				require.NoError(t, errOf(w.Refresh(t.Context())))
			}
			assert.Equal(t, lines, strings.Count(w.log.String(), "clock is wrong"), off)
		})
	}
}

// G24: the clock goes wrong after the token was stored. plex.tv's 498 is enough to
// recover.
func TestClockGoesWrong(t *testing.T) {
	for _, off := range []time.Duration{6 * day, -6 * day} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				time.Sleep(2 * day)
				w.plex.SetClock(off)
				_, err := w.open(t).Account(t.Context())
				require.NoError(t, err)
				_, err = w.open(t).Refresh(t.Context())
				require.NoError(t, err)
				_, err = w.open(t).Verify(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// G10, G24: a clock that has jumped ahead does not make a JWT expire, even if plex.tv
// gives no nonce. The Date of its answer tells.
func TestClockAheadAndNoNonce(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{"429": {Code: 1003}, "502": {Status: 502}, "400": {Code: 1004}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				old := w.credentials(t).AccountToken
				time.Sleep(10 * day)
				w.plex.SetClock(-10 * day)
				fault.Path, fault.Times = nonces, -1
				w.plex.Inject(fault)
				for _, p := range []*plexauth.PlexAuth{w.open(t), w.open(t)} {
					assert.Equal(t, old, tokenOf(t, p))
					assert.Equal(t, old, tokenOf(t, p))
				}
				assert.Equal(t, 200, w.status(t, request(t, "GET", "https://plex.tv/api/v2/user", nil)))
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// The Date of a cached answer is corrected by its Age.
func TestDateFromACache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Header: http.Header{
			"Date": {time.Now().Add(-2 * time.Hour).UTC().Format(http.TimeFormat)}, "Age": {"7200"},
		}})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err := w.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G24: plex.tv's keys are fetched once, and again when an unknown one is used.
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		for range 3 {
			asked := w.fromNow()
			time.Sleep(2 * time.Second)
			_, err := w.Refresh(t.Context())
			require.NoError(t, err)
			assert.Empty(t, only(asked(), "GET", keysPath), "the keys are known")
			w.plex.RotateKeys()
			time.Sleep(2 * time.Second)
			_, err = w.Refresh(t.Context())
			require.NoError(t, err)
			assert.Len(t, only(asked(), "GET", keysPath), 1)
		}

		asked := w.fromNow()
		time.Sleep(2 * time.Hour)
		_, err := w.Refresh(t.Context())
		require.NoError(t, err)
		assert.NotEmpty(t, only(asked(), "GET", keysPath), "keys are not used for ever")
	})
}

// G24: an exchange that fails is repeated once, with a new nonce.
func TestOneRetryWithANewNonce(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"422":         {Code: 1008},
		"500":         {Status: 500},
		"HTML":        {Body: "<html>", ContentType: "text/html"},
		"reset":       {Reset: true},
		"reset after": {ResetAfter: true},
		"truncated":   {Truncate: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				time.Sleep(time.Hour)
				fault.Path = exchanges
				w.plex.Inject(fault)
				_, err := w.Refresh(t.Context())
				require.NoError(t, err)
				assert.Equal(t, 2, w.count("GET", nonces))
				assert.Equal(t, 2, w.count("POST", exchanges))
			})
		})
	}
}

// Only a device that was removed needs a new login. plex.tv is left alone until then.
func TestDeauthorizedDevice(t *testing.T) {
	for name, first := range map[string]func(w *world) error{
		"Refresh": func(w *world) error { _, err := w.Refresh(context.Background()); return err },
		"Account": func(w *world) error { _, err := w.Account(context.Background()); return err },
		"Token":   func(w *world) error { time.Sleep(8 * day); _, err := w.Token(context.Background()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				before := w.credentials(t)
				w.plex.RevokeDevice(before.Device.ClientID)
				require.ErrorIs(t, first(w), plexauth.ErrTokenRejected)
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.NeedsLogin)
				assert.False(t, s.Connected)
				asked := w.fromNow()
				time.Sleep(time.Hour)
				_, err = w.Refresh(t.Context())
				require.ErrorIs(t, err, plexauth.ErrTokenRejected)
				_, err = w.Token(t.Context())
				require.ErrorIs(t, err, plexauth.ErrTokenRejected)
				assert.Empty(t, asked(), "plex.tv is left alone")

				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				assert.Equal(t, before.Device.ClientID, w.credentials(t).Device.ClientID)
				time.Sleep(8 * day)
				_, err = w.Verify(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// A damaged key is reported. The JWT works until it expires, and a new login repairs
// the key.
func TestDamagedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		good, b := w.doc(t), w.credentials(t)
		damaged := map[string]string{
			"kid":       strings.Replace(good, b.Device.Kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", 1),
			"no kid":    strings.Replace(good, `"kid":`, `"kitten":`, 1),
			"no secret": strings.Replace(good, `"secret":`, `"sacred":`, 1),
			"no id":     strings.Replace(good, b.Device.ClientID, "", 1),
			"number":    strings.Replace(good, `"`+b.Device.Secret+`"`, "7", 1),
		}
		for _, device := range []string{`null`, `""`, `[]`, `{}`, `{"client_id":"x"}`} {
			damaged[device] = fmt.Sprintf(`{"account_token":%q,"client_id":%q,"_device":%s}`, b.AccountToken, b.Device.ClientID, device)
		}
		for n := range len(b.Device.Secret) {
			damaged[fmt.Sprint("truncated to ", n)] = strings.Replace(good, b.Device.Secret, b.Device.Secret[:n], 1)
		}
		asked := w.fromNow()
		for name, doc := range damaged {
			require.NotEqual(t, good, doc, name)
			put(t, w.store, doc)
			s, err := w.Refresh(t.Context())
			require.ErrorIs(t, err, plexauth.ErrCorruptConfig, name)
			assert.ErrorIs(t, err, plexauth.ErrStore, name)
			assert.True(t, s.NeedsLogin, name)
			assert.True(t, s.Connected, "%s: for some days", name)
			assert.Equal(t, doc, w.doc(t), name)
			assert.Equal(t, b.AccountToken, tokenOf(t, w.PlexAuth), name)
			require.ErrorIs(t, errOf(w.UseDeviceKey(t.Context())), plexauth.ErrCorruptConfig, name)
		}
		assert.Empty(t, asked())

		put(t, w.store, damaged["truncated to 20"])
		time.Sleep(8 * day)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		assert.False(t, s.Connected)
		_, err = w.Token(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenExpired)
		require.ErrorIs(t, err, plexauth.ErrCorruptConfig)
		assert.Empty(t, asked())

		_, err = w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.Equal(t, b.AccountToken, w.credentials(t).AccountToken, "the old one stays until there is a new one")
		assert.Len(t, w.credentials(t).Device.Secret, 20)
		require.NoError(t, w.Cancel(t.Context()))
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		assert.Equal(t, b.Device.ClientID, w.credentials(t).Device.ClientID)
		time.Sleep(8 * day)
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
	})
}

// G9: a renewal in the background ends with its request's context. Requests with short
// contexts do not ask for a nonce each.
func TestRenewalBesideAShortRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(6 * day)
		w.plex.Inject(plextest.Fault{Path: exchanges, Hang: true, Times: -1})
		asked := w.fromNow()
		for range 60 {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := w.Token(ctx)
			require.NoError(t, err)
			cancel()
			synctest.Wait()
			assert.NotContains(t, w.doc(t), "leased")
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, len(only(asked(), "GET", nonces)), 6, "in a minute")
		w.plex.ResetFaults()
		time.Sleep(15 * time.Minute)
		old := w.credentials(t).AccountToken
		assert.NotEqual(t, old, tokenOf(t, w.PlexAuth))
	})
}

// G24: a slow renewal is given up before another process may begin one.
func TestRenewalWithinItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.replicas = true
		time.Sleep(8 * day)
		w.plex.Inject(plextest.Fault{Path: keysPath, Status: 503, Header: http.Header{"Retry-After": {"14"}}, Times: 2})
		w.plex.Inject(plextest.Fault{Path: nonces, Status: 503, Header: http.Header{"Retry-After": {"14"}}, Times: 2})
		var got [2]string
		var wg sync.WaitGroup
		for i, p := range []*plexauth.PlexAuth{w.PlexAuth, w.open(t, deviceKey)} {
			wg.Go(func() {
				for {
					token, err := p.Token(t.Context())
					if err == nil {
						got[i] = token.Secret()
						return
					}
					require.ErrorIs(t, err, plexauth.ErrUnavailable)
					time.Sleep(time.Second)
				}
			})
		}
		wg.Wait()
		assert.Equal(t, got[0], got[1])
		assert.Equal(t, 1, w.count("POST", exchanges))

		// A renewal that hangs ends in time, too.
		w.plex.Inject(plextest.Fault{Path: nonces, Hang: true, Times: -1})
		began := time.Now()
		time.Sleep(2 * time.Second)
		_, err := w.Refresh(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.NotErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.Less(t, time.Since(began), 30*time.Second)
	})
}

// G9: the end of its context ends a renewal at once, and a caller that waits for it
// renews instead.
func TestRenewalEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(8 * day)
		before := w.doc(t)
		w.plex.Inject(plextest.Fault{Path: exchanges, Hang: true})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := w.Token(ctx)
			first <- err
		}()
		synctest.Wait()
		second := make(chan error)
		go func() {
			_, err := w.Refresh(t.Context())
			second <- err
		}()
		synctest.Wait()
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err := w.Token(impatient)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		began := time.Now()
		cancel()
		require.ErrorIs(t, <-first, context.Canceled)
		assert.Zero(t, time.Since(began))
		require.NoError(t, <-second)
		assert.NotEqual(t, before, w.doc(t))
		assert.NotContains(t, w.doc(t), "leased")
	})
}

// G9: the end of its context also ends a renewal whose store hangs, before or after
// the exchange.
func TestRenewalEndsWithAStoreThatHangs(t *testing.T) {
	for _, at := range []string{nonces, exchanges} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				store := w.hooked(hooks{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var ended time.Time
				answers, client := w.tamper(at)
				answers.change = func(body []byte) []byte {
					store.set(hooks{beforeUpdate: hang})
					time.AfterFunc(10*time.Millisecond, func() { ended = time.Now(); cancel() })
					return body
				}
				_, err := w.open(t, client, withStore(store)).Refresh(ctx)
				require.ErrorIs(t, err, context.Canceled)
				assert.LessOrEqual(t, time.Since(ended), time.Second)
			})
		})
	}
}

// G22: a login or a Disconnect during a renewal is not undone by it.
func TestRenewalAgainstOthers(t *testing.T) {
	for name, interfere := range map[string]func(t *testing.T, w *world){
		"disconnect": func(t *testing.T, w *world) {
			_, err := w.open(t).Disconnect(t.Context())
			require.NoError(t, err)
		},
		"a plain login":  func(t *testing.T, w *world) { w.signIn(t, w.open(t), w.alice, plexauth.PinOptions{}) },
		"a device login": func(t *testing.T, w *world) { w.signIn(t, w.open(t, deviceKey), w.alice, plexauth.PinOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				time.Sleep(6 * day)
				w.plex.Inject(plextest.Fault{Path: exchanges, ResetAfter: true, Delay: 5 * time.Second})
				done := make(chan error)
				go func() {
					_, err := w.Refresh(t.Context())
					done <- err
				}()
				time.Sleep(time.Second)
				interfere(t, w)
				now := w.credentials(t).AccountToken
				require.NoError(t, <-done)
				if name != "a device login" {
					assert.Equal(t, now, w.credentials(t).AccountToken)
				}
				_, err := w.Verify(t.Context())
				if name == "disconnect" {
					assert.ErrorIs(t, err, plexauth.ErrNotConnected)
					assert.NotContains(t, w.doc(t), "_device")
				} else {
					assert.NoError(t, err)
				}
			})
		})
	}
}

// G22: a renewal does not replace another account that signs in with the same device
// during the exchange.
func TestRenewalAgainstAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.forgive = "token"
		other := w.open(t, deviceKey)
		pin, err := other.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
		require.NoError(t, err)
		time.Sleep(1500 * time.Millisecond)
		answers, client := w.tamper(exchanges)
		answers.change = func(body []byte) []byte {
			answers.change = nil
			require.NoError(t, w.plex.Approve(pin.Code, w.bob))
			s, err := other.Finish(t.Context())
			require.NoError(t, err)
			require.True(t, s.Connected)
			return body
		}
		_, err = w.open(t, client).Refresh(t.Context())
		require.NoError(t, err)
		assert.Nil(t, answers.change)
		a, err := w.Account(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", a.Username)
	})
}

// G8: a store that fails for a moment does not lose the new token of a renewal. With a
// read-only store nothing is renewed, and the old token works.
func TestRenewalAndTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(6 * day)
		old := tokenOf(t, w.open(t, withStore(w.hooked(hooks{refuse: func(jsonRaw) error { return errReadOnly }}))))
		assert.Equal(t, w.credentials(t).AccountToken, old)
		assert.Zero(t, w.count("GET", nonces), "no token is made that cannot be saved")

		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: calls(2, 3, fails(errDisk))}))) // after the Update for the lease
		assert.NotEqual(t, old, tokenOf(t, p))
		assert.Equal(t, 1, w.count("POST", exchanges), "the token is saved again, not made again")
		assert.Equal(t, tokenOf(t, p), w.credentials(t).AccountToken)
	})
}

// The result of an earlier token's renewal does not count for the next login.
func TestRefreshAfterANewLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.RevokeDevice(w.credentials(t).Device.ClientID)
		_, err := w.Refresh(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		w.signInNow(t)
		_, err = w.Refresh(t.Context())
		require.NoError(t, err)
		time.Sleep(8 * day)
		tokenOf(t, w.PlexAuth)
	})
}

// A token that plex.tv does not accept is not a rejected login while its key cannot be
// used.
func TestEndedEarlyAndOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		w.plex.SetQuirks(plextest.Quirks{RefreshEndsJWT: true})
		old := w.doc(t)
		_, err := w.open(t).Refresh(t.Context())
		require.NoError(t, err)
		now := w.doc(t)
		put(t, w.store, old) // as a backup, or a program that had read it before
		w.plex.Inject(plextest.Fault{Path: nonces, Status: 502, Times: -1})
		s, err := w.Verify(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.NotErrorIs(t, err, plexauth.ErrTokenExpired)
		assert.NotErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.False(t, s.NeedsLogin)
		assert.NotEqual(t, now, w.doc(t))
	})
}

// Refresh without a login is an error.
func TestRefreshNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey)
		s, err := w.Refresh(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNotConnected)
		assert.False(t, s.Connected)
		assert.Empty(t, w.plex.Requests())
	})
}
