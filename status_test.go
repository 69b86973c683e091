package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// A status names its profile. A PIN is pending until the moment when it ends, or until its
// token is settled, and not without a code.
func TestStatusOfAPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		assert.Equal(t, "Plex", must(w.Status(t.Context())).Label)
		assert.Equal(t, "Plex (PLEX-P01)", must(w.Instance("PLEX-P01").Status(t.Context())).Label)
		pin := start(t, w)
		time.Sleep(time.Until(pin.ExpiresAt) - time.Millisecond)
		assert.NotNil(t, must(w.Status(t.Context())).Pending)
		time.Sleep(time.Millisecond)
		assert.Nil(t, must(w.Status(t.Context())).Pending)

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.park(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		time.Sleep(time.Hour)
		assert.NotNil(t, must(w.Status(t.Context())).Pending)
		put(t, w.store, strings.ReplaceAll(w.doc(t), `"code":"`+must(w.Status(t.Context())).Pending.Code, `"code":"`))
		assert.Nil(t, must(w.Status(t.Context())).Pending)
	})
}

// The JSON of a Status has null where there is no value.
func TestEmptyStatusAsJSON(t *testing.T) {
	for _, s := range []plexauth.Status{{}, {Scopes: []string{}}} {
		assert.JSONEq(t, `{"connected":false,"label":"","user":null,"expires_at":null,"scopes":null,"extra":{"needs_login":false},"instance":""}`, jsonText(s))
	}
}

// G13: the log shows the state of a login, and nothing that signs anyone in.
func TestStatusInTheLog(t *testing.T) {
	w := newWorld(t)
	const state = "[connected=false label=Plex user= instance=default needs_login=false"
	assert.Equal(t, state+"]", must(w.Status(t.Context())).LogValue().String())
	pin := start(t, w)
	assert.Equal(t, fmt.Sprintf("%s pending=%v]", state, pin), must(w.Status(t.Context())).LogValue().String())
}

// Settings of a profile that is not there, or whose account is not known, are empty. They name
// no user if another program has replaced the token.
func TestSettingsOfNoAccount(t *testing.T) {
	w := newWorld(t)
	start(t, w)
	id := mustSettings(t, w.PlexAuth).ClientID
	assert.Equal(t, plexauth.Settings{ClientID: id, VerifySSL: true}, mustSettings(t, w.PlexAuth))
	assert.Equal(t, plexauth.Settings{ClientID: id, VerifySSL: true}, mustSettings(t, w.Instance("none")))
	w.signInNow(t)
	w.edit(t, map[string]any{"account_id": 23456})
	with := mustSettings(t, w.PlexAuth)
	assert.Equal(t, []string{"alice", "23456"}, []string{with.Username, with.AccountID})
	w.edit(t, map[string]any{"account_token": "TEST_of-another-program"})
	with = mustSettings(t, w.PlexAuth)
	assert.Equal(t, []string{"", ""}, []string{with.Username, with.AccountID})
}

// A call that has succeeded reads the status again while the store fails: for a moment, or
// once if a read takes long.
func TestStatusAfterACall(t *testing.T) {
	for name, c := range map[string]struct {
		load  hook
		limit time.Duration // of the caller
		fails bool
		took  time.Duration
	}{
		"the first read fails":        {calls(1, 1, fails(errDisk)), time.Hour, false, 50 * time.Millisecond},
		"the first two fail":          {calls(1, 2, fails(errDisk)), time.Hour, false, 150 * time.Millisecond},
		"all fail":                    {fails(errDisk), time.Hour, true, 1550 * time.Millisecond},
		"all fail, the caller leaves": {fails(errDisk), 60 * time.Millisecond, true, 210 * time.Millisecond},
		"all hang":                    {hang, time.Hour, true, time.Minute + 50*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				store := w.hooked(hooks{beforeLoad: c.load})
				ctx, cancel := context.WithTimeout(t.Context(), c.limit)
				defer cancel()
				began := time.Now()
				_, err := w.open(t, withStore(store)).Disconnect(ctx)
				if c.fails {
					require.ErrorIs(t, err, plexauth.ErrStore)
				} else {
					require.NoError(t, err)
				}
				assert.Equal(t, c.took, time.Since(began))
			})
		})
	}
}

// A Pin prints its kind and its end alone. One that a program has made counts down by its date.
func TestPinOfAProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := time.Now().Add(90 * time.Second)
		for _, strong := range []bool{false, true} {
			kind := map[bool]string{false: "short", true: "strong"}[strong]
			pin := plexauth.Pin{ID: 1, Code: "ABCD", Strong: strong, ExpiresAt: ends}
			assert.Equal(t, "plexauth.Pin("+kind+", expires "+ends.Format(time.RFC3339)+")", fmt.Sprint(pin))
			var shown struct {
				ExpiresIn int64 `json:"expires_in"`
			}
			require.NoError(t, json.Unmarshal([]byte(jsonText(pin)), &shown))
			assert.Equal(t, int64(90), shown.ExpiresIn)
			assert.NotContains(t, pin.URL(), "forwardUrl")
		}
		_, err := (&plexauth.Pin{Code: strings.Repeat("A", 5000)}).QRCode()
		assert.ErrorContains(t, err, "does not fit into a QR code")
	})
}

// The error names the servers to choose from, as far as they fit into 500 bytes.
func TestServerChoiceText(t *testing.T) {
	own := plexauth.Server{Name: "Own", Owned: true, Owner: "me"}
	shared := plexauth.Server{Name: "Shared", Owner: "bob"}
	e := plexauth.ServerChoiceError{Servers: []plexauth.Server{own, shared, {Name: "Unknown"}}}
	prefix := plexauth.ErrServerChoice.Error() + ": choose one of "
	assert.Equal(t, prefix+`"Own", "Shared" of bob, "Unknown"`, e.Error())

	var text strings.Builder
	text.WriteString(prefix)
	var all []plexauth.Server
	for text.Len() < 410 {
		if len(all) > 0 {
			text.WriteString(", ")
		}
		all = append(all, plexauth.Server{Name: strings.Repeat("x", 50), Owned: true})
		text.WriteString(`"` + all[0].Name + `"`)
	}
	left := 500 - text.Len() - len(`""`)
	for _, c := range []struct {
		length int
		end    string
	}{{left, `x"`}, {left + 1, " and 1 more"}} {
		e := plexauth.ServerChoiceError{Servers: append(all, plexauth.Server{Name: strings.Repeat("x", c.length), Owned: true})}
		assert.True(t, strings.HasSuffix(e.Error(), c.end), e.Error())
	}
}

// A call that fails returns no servers and no addresses, which differ from empty lists.
func TestNoServersAfterAFailure(t *testing.T) {
	w := signedIn(t)
	p := w.open(t, noRetries)
	w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Status: 503, Times: -1})
	servers, err := p.Servers(t.Context())
	require.ErrorIs(t, err, plexauth.ErrUnavailable)
	assert.Nil(t, servers)
	r, err := p.Probe(t.Context(), "")
	require.Error(t, err)
	assert.Nil(t, r.Addresses)
}
