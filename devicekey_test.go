package plexauth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G1, G23: a login with a device key leads from an empty store to a JWT, under an
// identifier of its own.
func TestDeviceKeyLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey, scopes("username", "email"))
		assert.True(t, w.Manifest().Actions["refresh"])
		var devices []string
		for _, o := range []plexauth.PinOptions{{}, {Strong: true}} {
			pin, err := w.Start(t.Context(), o)
			require.NoError(t, err)
			assert.Equal(t, o.Strong, len(pin.Code) > 20)
			again, err := w.open(t, deviceKey).Start(t.Context(), o)
			require.NoError(t, err)
			assert.Equal(t, pin.Code, again.Code)
			s, err := w.Finish(t.Context())
			require.NoError(t, err)
			assert.False(t, s.Connected)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			s, err = w.open(t).Wait(t.Context()) // by a process without the option
			require.NoError(t, err)
			assert.True(t, s.Connected)
			assert.Equal(t, "alice", s.User)
			assert.Nil(t, s.Pending)
			assert.Equal(t, 7*24*time.Hour, time.Until(s.ExpiresAt).Round(time.Minute))
			devices = append(devices, w.credentials(t).Device.ClientID)
		}
		assert.NotEqual(t, devices[0], devices[1], "a login that is not approved yet does not use the device of the one that works")
		b := w.credentials(t)
		assert.Regexp(t, `^[0-9a-f]{24}$`, b.Device.ClientID)
		assert.NotEqual(t, b.ClientID, b.Device.ClientID)
		v := mustSettings(t, w.PlexAuth)
		assert.Equal(t, b.Device.ClientID, v.ClientID)
		assert.Equal(t, b.AccountToken, v.AccountToken.Secret())
		assert.Equal(t, fmt.Sprint(w.alice.ID), v.CloudAccountID)
		assert.Contains(t, string(jwtPart(t, tokenOf(t, w.PlexAuth), 1)), b.Device.ClientID)
		for _, r := range w.plex.Requests() {
			assert.Contains(t, devices, r.Header.Get("X-Plex-Client-Identifier"), r)
		}
		assert.Equal(t, 1, w.count("DELETE", "/api/v2/users/signout"), "the first device does not stay listed")
		assert.Equal(t, 2, w.count("POST", "/api/v2/pins"), "one for each login")
		assert.Zero(t, w.count("POST", exchanges), "the PIN gives the first JWT")
	})
}

// The claims follow Scopes, and Status reports the scopes that were asked for.
func TestScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t, scopes("username", "email"))
		check := func(s plexauth.Status, err error) {
			t.Helper()
			require.NoError(t, err)
			assert.Equal(t, []string{"username", "email"}, s.Scopes)
			claims := string(jwtPart(t, tokenOf(t, w.PlexAuth), 1))
			assert.Contains(t, claims, "alice@example.com")
			assert.NotContains(t, claims, "joinedAt")
		}
		check(w.Status(t.Context()))
		check(w.Refresh(t.Context()))
		time.Sleep(time.Minute)
		check(w.open(t).Refresh(t.Context())) // a process without the option asks for the same

		s, err := w.Status(t.Context())
		require.NoError(t, err)
		text, err := json.Marshal(s)
		require.NoError(t, err)
		assert.Contains(t, string(text), fmt.Sprintf(`"expires_at":%d,"scopes":["username","email"]`, s.ExpiresAt.Unix()))

		for _, bad := range []string{"", "user name", "username,email"} {
			_, err := plexauth.New(plexauth.Options{Product: "My App", Scopes: []string{bad}})
			assert.ErrorContains(t, err, "scope", bad)
		}
	})
}

// G1, G23: a long-lived login stays valid next to a device key in another profile.
// Neither token gets into the other profile.
func TestTwoProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		long := tokenOf(t, w.PlexAuth)
		dev := w.open(t, deviceKey).Instance("device")
		w.signIn(t, dev, w.alice, plexauth.PinOptions{})
		jwt := tokenOf(t, dev)
		_, err := dev.Refresh(t.Context())
		require.NoError(t, err)
		_, err = dev.Verify(t.Context())
		require.NoError(t, err)
		_, err = w.Verify(t.Context())
		require.NoError(t, err, "the long-lived token lives")
		assert.Equal(t, long, tokenOf(t, w.PlexAuth))
		assert.NotEqual(t, jwt, tokenOf(t, dev))

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{}) // a relink retires the long-lived one only
		assert.NotEqual(t, long, tokenOf(t, w.PlexAuth))
		_, err = dev.Verify(t.Context())
		require.NoError(t, err)

		_, err = dev.SignOut(t.Context())
		require.NoError(t, err)
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, w.doc(t), "_device")
	})
}

// G23: turning DeviceKey on does not change a login that was made without it.
func TestPlainLoginIsNotUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		assert.False(t, w.Manifest().Actions["refresh"])
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		assert.NotContains(t, w.doc(t), "_device")
		before := w.doc(t)
		p := w.open(t, deviceKey)
		asked := w.fromNow()
		s, err := p.Refresh(t.Context())
		require.NoError(t, err)
		assert.NotEmpty(t, only(asked(), "GET", "/api/v2/user"), "for a long-lived token, Refresh is Verify")
		assert.True(t, s.Connected)
		assert.Zero(t, s.ExpiresAt)
		assert.Nil(t, s.Scopes)
		tokenOf(t, p)
		assert.Equal(t, before, w.doc(t))
		assert.Zero(t, w.count("GET", nonces))

		_, err = w.open(t, deviceKey).Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p.Verify(t.Context())
		require.NoError(t, err, "the old token goes with the old identifier while the PIN is pending")
	})
}

// G22, G23: a login by another account is refused unless wanted, and leaves the login
// with a device key as it was.
func TestDeviceRelink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		before := w.credentials(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.Equal(t, before.AccountToken, w.credentials(t).AccountToken)

		_, err = w.Refresh(t.Context())
		require.NoError(t, err, "the refused login has not changed the current one")
		assert.Equal(t, "alice", mustSettings(t, w.PlexAuth).Username)

		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		assert.NotEqual(t, before.Device.ClientID, w.credentials(t).Device.ClientID)
		assert.Equal(t, fmt.Sprint(w.bob.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
		_, err = w.Refresh(t.Context())
		require.NoError(t, err)
	})
}

// G22, G23: an approval of a PIN that was cancelled gets neither the profile nor the
// device of the current login.
func TestApprovedUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.Cancel(t.Context()))
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		time.Sleep(6 * day)
		tokenOf(t, w.PlexAuth)
		a, err := w.Account(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "alice", a.Username)
	})
}

// G22: Disconnect deletes the key. The next login has a new key, and is the same
// device in the person's list.
func TestDisconnectForgetsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		before := w.credentials(t).Device
		secret := before.Secret
		require.Len(t, secret, 43)
		_, err := w.Disconnect(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, w.doc(t), "_device")
		assert.NotContains(t, w.doc(t), secret)
		_, err = w.Token(t.Context())
		assert.ErrorIs(t, err, plexauth.ErrNotConnected)

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		after := w.credentials(t).Device
		assert.Equal(t, before.ClientID, after.ClientID)
		assert.NotEqual(t, before.Kid, after.Kid)
		assert.NotContains(t, w.doc(t), "device_client_id")
		_, err = w.Refresh(t.Context())
		assert.NoError(t, err)
	})
}

// SignOut also ends an expired JWT, so that the device does not stay listed.
func TestSignOutPastExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(30 * 24 * time.Hour)
		s, err := w.SignOut(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		assert.Equal(t, 2, w.count("DELETE", "/api/v2/users/signout"), "with the expired JWT, and with the next one")
	})
}

// A device key's requests match the test vector of RFC 8037's key byte by byte.
func TestDeviceKeyVector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			seed     = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
			x        = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
			kid      = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
			clientID = "0f2d6e1c-client-id"
			nonce    = "7c415b56-8f48-488a-98ab-847ef4460442"
			vector   = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ.eyJhdWQiOiJwbGV4LnR2IiwiaXNzIjoiMGYyZDZlMWMtY2xpZW50LWlkIiwiaWF0IjoxNzY3MjI1NjAwLCJleHAiOjE3NjcyMjU5MDAsIm5vbmNlIjoiN2M0MTViNTYtOGY0OC00ODhhLTk4YWItODQ3ZWY0NDYwNDQyIiwic2NvcGUiOiJ1c2VybmFtZSxlbWFpbCxmcmllbmRseV9uYW1lIn0.MG0Pn5SkJG4QQxhE9XBFUSD5B1c4qaWZiObub1Wx96b-ACSw0BOdQmjwjM_jkYhhw-evVHH11waU09KqaunUCQ"
		)
		public, err := base64.RawURLEncoding.DecodeString(x)
		require.NoError(t, err)
		verifies := func(jwt string) bool {
			signed := jwt[:strings.LastIndex(jwt, ".")]
			return ed25519.Verify(public, []byte(signed), jwtPart(t, jwt, 2))
		}
		require.True(t, verifies(vector))

		time.Sleep(time.Until(time.Unix(1767225630, 0))) // 30 s after the vector's iat
		w := newWorld(t)
		put(t, w.store, fmt.Sprintf(`{"_device":{"client_id":%q,"kid":%q,"secret":%q}}`, clientID, kid, seed))
		wire := &sentBodies{RoundTripper: w.plex.Client().Transport}
		p := w.open(t, deviceKey, scopes("username", "email", "friendly_name"), func(o *plexauth.Options) {
			o.HTTPClient = &http.Client{Transport: wire}
		})
		w.plex.Inject(plextest.Fault{Path: nonces, Body: `{"nonce":"` + nonce + `"}`, ContentType: "application/json"})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		assert.JSONEq(t, `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"`+x+`","kid":"`+kid+`","alg":"EdDSA","use":"sig"},"strong":true}`, wire.last("/api/v2/pins"))

		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		_, err = p.Wait(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Until(time.Unix(1767225630+3600, 0)))
		_, err = p.Refresh(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, wire.all(exchanges))
		var body struct{ JWT string }
		require.NoError(t, json.Unmarshal([]byte(wire.first(exchanges)), &body))
		assert.JSONEq(t, string(jwtPart(t, vector, 0)), string(jwtPart(t, body.JWT, 0)))
		want := strings.NewReplacer("1767225600", "1767229200", "1767225900", "1767229500").Replace(string(jwtPart(t, vector, 1)))
		assert.Equal(t, want, string(jwtPart(t, body.JWT, 1)))
		assert.True(t, verifies(body.JWT))
	})
}

// G8: plex.tv's keys cannot be read when the approval comes. The token is kept until
// they can, after the PIN's end and over a restart, and is not used before.
func TestApprovalWithoutKeys(t *testing.T) {
	for name, finish := range map[string]func(p *plexauth.PlexAuth) (plexauth.Status, error){
		"Wait":   func(p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Wait(context.Background()) },
		"Finish": func(p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Finish(context.Background()) },
		"Verify": func(p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Verify(context.Background()) },
	} {
		for _, later := range []time.Duration{time.Minute, time.Hour, 30 * day} {
			t.Run(fmt.Sprint(name, later), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, deviceKey)
					w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: true})
					w.plex.Inject(plextest.Fault{Path: keysPath, Status: 503, Times: -1})
					pin, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					s, err := w.Finish(t.Context())
					require.ErrorIs(t, err, plexauth.ErrUnavailable)
					assert.False(t, s.Connected)
					assert.NotNil(t, s.Pending)
					_, err = w.Token(t.Context())
					require.ErrorIs(t, err, plexauth.ErrNotConnected)
					time.Sleep(later)
					w.plex.ResetFaults()
					s, err = finish(w.open(t, deviceKey))
					require.NoError(t, err)
					assert.True(t, s.Connected)
					assert.Equal(t, "alice", s.User)
				})
			})
		}
	}
}

// G8: an approval waits for plex.tv's keys until its JWT has expired. The login goes on
// with the next JWT, and with what that says of the account.
func TestApprovalOutlivesItsJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := approved(t, newWorld(t, deviceKey))
		var e *plexauth.Error
		w.plex.Inject(plextest.Fault{Path: keysPath, Status: 503, Times: -1})
		require.ErrorAs(t, errOf(w.Finish(t.Context())), &e)
		assert.Equal(t, 503, e.StatusCode)
		time.Sleep(30 * day)
		w.plex.ResetFaults()
		w.plex.Inject(plextest.Fault{Path: exchanges, Status: 502, Times: -1})
		p := w.open(t, deviceKey, scopes("username"))
		s, err := p.Finish(t.Context())
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 502, e.StatusCode)
		assert.NotNil(t, s.Pending)
		w.plex.ResetFaults()
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
		s, err = p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Equal(t, "alice", s.User, "as the next JWT says")
	})
}

// The account in a verified JWT is used if plex.tv cannot be asked. Another account is
// refused.
func TestAccountFromTheJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey, scopes("username"))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		v := mustSettings(t, w.PlexAuth)
		assert.Equal(t, fmt.Sprint(w.alice.ID), v.CloudAccountID)
		assert.Equal(t, "alice", v.Username)

		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.Equal(t, v.AccountToken.Secret(), mustSettings(t, w.PlexAuth).AccountToken.Secret())
	})
}

// G4: plex.tv gives a long-lived token for a PIN with a key. It is a login, too: it is
// sent with the device's identifier, and the key exchanges it.
func TestOpaqueTokenForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		odd, client := w.tamper("/api/v2/pins/")
		var device string
		odd.change = func(body []byte) []byte {
			var j map[string]any
			_ = json.Unmarshal(body, &j)
			if j["authToken"] != nil {
				device = j["clientIdentifier"].(string)
				j["authToken"] = w.plex.IssueToken(w.alice, device)
			}
			body, _ = json.Marshal(j)
			return body
		}
		p := w.open(t, client, deviceKey)
		w.plex.Inject(plextest.Fault{Path: nonces, Status: 502, Times: -1})
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		opaque := tokenOf(t, p)
		assert.NotContains(t, opaque, ".")
		s, err := p.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Zero(t, s.ExpiresAt)
		w.plex.ResetFaults()
		time.Sleep(time.Hour)
		assert.Equal(t, 2, strings.Count(tokenOf(t, p), "."))
		_, err = p.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, device, mustSettings(t, p).ClientID)
	})
}

// A device JWT that plex.tv refuses is a temporary failure. The answer corrects the
// clock, and each look sends a new JWT.
func TestDeviceJWTRefusedAtThePIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, deviceKey)
		pin, err := p.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		w.plex.SetClock(-2 * time.Hour) // after the PIN was made, so that the client does not know
		time.AfterFunc(25*time.Minute, func() { _ = w.plex.Approve(pin.Code, w.alice) })
		_, err = p.Wait(t.Context())
		require.NoError(t, err)
		refused := 0
		for _, r := range w.plex.Requests() {
			if r.Path == "/api/v2/pins/{id}" && r.Status == 422 {
				refused++
			}
		}
		assert.Equal(t, 1, refused, "its Date has set the clock right")
	})
}

// A key that another device has taken, as in a copied store, is replaced once by a new
// key.
func TestTakenByAnotherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.credentials(t)
		clone := plexauth.NewMemoryStore()
		put(t, clone, fmt.Sprintf(`{"_device":{"client_id":"another-device","kid":%q,"secret":%q}}`, b.Device.Kid, b.Device.Secret))
		p := w.open(t, deviceKey, withStore(clone))
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		v := mustSettings(t, p)
		assert.Equal(t, "another-device", v.ClientID)
		raw, err := clone.Load(t.Context(), plexauth.Namespace)
		require.NoError(t, err)
		assert.NotContains(t, string(raw), b.Device.Kid)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, p} {
			_, err = p.Refresh(t.Context())
			require.NoError(t, err)
		}

		v, made := mustSettings(t, p), w.fromNow()
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Code: 1014, Times: -1})
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		var e *plexauth.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 422, e.StatusCode)
		assert.Len(t, only(made(), "POST", "/api/v2/pins"), 2, "with the key, and with one new key")
		assert.Equal(t, v.AccountToken.Secret(), mustSettings(t, p).AccountToken.Secret())
	})
}

// A new profile for a device key inherits nothing from the default one.
func TestDeviceProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey)
		p := w.Instance("PLEX-P01")
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		for _, field := range []string{"server_url", "account_token", "pms_token", "machine_id", "username", "account_id", "home_pin"} {
			assert.Contains(t, w.doc(t), `"`+field+`":""`)
		}
	})
}

// G13: keys, JWTs and nonces are in no log and no error. In the store, the secret ones
// have names that CrossWatch encrypts.
func TestDeviceKeyLeaksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var secrets []string
		wire := &sentBodies{RoundTripper: w.plex.Client().Transport}
		p := w.open(t, deviceKey, func(o *plexauth.Options) {
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if jwt := r.URL.Query().Get("deviceJWT"); jwt != "" {
					secrets = append(secrets, jwt)
				}
				resp, err := wire.RoundTrip(r)
				if err != nil { // as a careless transport would say it
					return nil, fmt.Errorf("%s %s: %w", r.Method, r.URL, err)
				}
				return resp, nil
			})}
		})
		var said strings.Builder
		say := func(v ...any) {
			for _, v := range v {
				printAll(&said, v)
			}
		}
		for _, fault := range []plextest.Fault{{Reset: true}, {Code: 1008}, {Body: "<html>", Status: 502}} {
			pin, err := p.Start(t.Context(), plexauth.PinOptions{})
			say(pin, err)
			w.plex.Inject(fault)
			s, err := p.Finish(t.Context())
			say(s, err)
			require.Error(t, err)
			time.Sleep(time.Minute)
			fault.Path, fault.Times = "/api/v2/pins/*", -1
			w.plex.Inject(fault)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			s, err = p.Wait(ctx)
			cancel()
			say(s, err)
			w.plex.ResetFaults()
		}
		secrets = append(secrets, w.credentials(t).Device.Secret)
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		secrets = append(secrets, tokenOf(t, p))
		for _, path := range []string{nonces, exchanges, keysPath} {
			w.plex.Inject(plextest.Fault{Path: path, Reset: true, Times: 8})
			time.Sleep(2 * time.Hour)
			s, err := p.Refresh(t.Context())
			say(s, err)
			w.plex.ResetFaults()
			time.Sleep(2 * time.Second)
			s, err = p.Refresh(t.Context())
			require.NoError(t, err)
			say(s)
			secrets = append(secrets, tokenOf(t, p))
		}
		for _, sent := range wire.all(exchanges) {
			var body struct{ JWT string }
			require.NoError(t, json.Unmarshal([]byte(sent), &body))
			secrets = append(secrets, body.JWT)
		}
		require.Greater(t, len(secrets), 10)
		stored := leaves(t, []byte(w.doc(t)), "")
		for _, s := range secrets {
			assertSecret(t, s, said.String()+w.log.String(), stored)
		}
	})
}

// assertSecret asserts that no part of a secret is printed, and that it is stored only
// under names that CrossWatch encrypts.
func assertSecret(t *testing.T, secret, printed string, stored map[string]string) {
	t.Helper()
	for part := range strings.SplitSeq(secret, ".") {
		assert.False(t, part != "" && strings.Contains(printed, part), "%s in %s", part, printed)
	}
	for name, value := range stored {
		if strings.Contains(value, secret) {
			assert.Contains(t, []string{"account_token", "secret"}, name[strings.LastIndex(name, ".")+1:], name)
		}
	}
}

// printAll prints v in several ways, one of which is a failing test's.
func printAll(b *strings.Builder, v any) {
	fmt.Fprintf(b, "%v %+v %#v %s\n", v, v, v, v)
	rec := &recorder{} // testify dumps by reflection
	assert.Equal(rec, v, "something else")
	b.WriteString(rec.text)
}

// leaves returns the values of a document by their paths.
func leaves(t *testing.T, raw []byte, at string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil {
		for k, v := range object {
			for name, value := range leaves(t, v, at+"."+k) {
				all[name] = value
			}
		}
		return all
	}
	all[at] = string(raw)
	return all
}

// G13: a store's error may quote what it could not write. No key gets into the
// library's error.
func TestCarelessStoreQuotesNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.credentials(t)
		careless := w.hooked(hooks{})
		p := w.open(t, deviceKey, withStore(careless))
		for name, call := range map[string]func() error{
			"Start":      func() error { _, err := p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true}); return err },
			"Refresh":    func() error { _, err := p.Refresh(t.Context()); return err },
			"Disconnect": func() error { _, err := p.Disconnect(t.Context()); return err },
		} {
			time.Sleep(2 * time.Second)
			careless.set(hooks{refuse: quotes})
			err := call()
			require.ErrorIs(t, err, plexauth.ErrStore, name)
			text := fmt.Sprintf("%v %+v %#v", err, err, err) + w.log.String()
			assert.NotContains(t, text, b.Device.Secret, name)
			assert.NotContains(t, text, b.AccountToken[:30], name)
		}
	})
}

// A device that plex.tv refuses is not used for ever: the next login makes a new one.
func TestRefusedDevice(t *testing.T) {
	for name, f := range map[string]plextest.Fault{
		"at the PIN":  {Method: "POST", Path: "/api/v2/pins", Code: 1014, Times: -1},
		"at the look": {Method: "GET", Path: "/api/v2/pins/*", Status: 422, Code: 1008, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				before := w.credentials(t).Device
				_, err := w.Disconnect(t.Context())
				require.NoError(t, err)
				w.plex.Inject(f)
				_, err = w.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })
				require.Error(t, err)
				w.plex.ResetFaults()
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				assert.NotEqual(t, before.ClientID, w.credentials(t).Device.ClientID)
			})
		})
	}
}

// A renewal by another process is not an approval. A login that was cancelled fails,
// and an approval by bob does not become alice's.
func TestRenewalIsNoApproval(t *testing.T) {
	for _, approved := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newDeviceWorld(t)
			pin, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
			require.NoError(t, err)
			other := w.open(t, deviceKey)
			done := make(chan error, 1)
			go func() {
				_, err := w.Wait(t.Context())
				done <- err
			}()
			time.Sleep(5300 * time.Millisecond)
			_, err = other.Refresh(t.Context())
			require.NoError(t, err)
			require.NoError(t, other.Cancel(t.Context()))
			if approved {
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
			}
			require.ErrorIs(t, <-done, plexauth.ErrNoPendingPin)
			assert.Equal(t, fmt.Sprint(w.alice.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
		})
	}
}

// G24: a device JWT names plex.tv as its audience and the device as its issuer, and
// expires after minutes.
func TestDeviceJWTOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jwts []string
		w := newWorld(t, deviceKey, func(o *plexauth.Options) {
			next := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if v := r.URL.Query().Get("deviceJWT"); v != "" {
					jwts = append(jwts, v)
				}
				if r.URL.Path == exchanges {
					body, err := r.GetBody()
					require.NoError(t, err)
					var sent struct{ JWT string }
					require.NoError(t, json.NewDecoder(body).Decode(&sent))
					jwts = append(jwts, sent.JWT)
				}
				return next.RoundTrip(r)
			})}
		})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		_, err := w.Refresh(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(jwts), 2, "at the PIN, and in the exchange")
		for _, jwt := range jwts {
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
			require.NoError(t, err)
			var c struct {
				Aud, Iss string
				Iat, Exp int64
			}
			require.NoError(t, json.Unmarshal(payload, &c))
			assert.Equal(t, "plex.tv", c.Aud)
			assert.Equal(t, mustSettings(t, w.PlexAuth).ClientID, c.Iss)
			now := time.Now().Unix()
			assert.LessOrEqual(t, c.Iat, now)
			assert.GreaterOrEqual(t, c.Iat, now-120)
			assert.Greater(t, c.Exp, now)
			assert.LessOrEqual(t, c.Exp-c.Iat, int64(300), "plex.tv takes five minutes at most")
		}
	})
}
