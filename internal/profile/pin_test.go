package profile_test

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// A PIN is read back as it was stored, CrossWatch's fields first.
func TestPendingRoundTrip(t *testing.T) {
	key, err := devicekey.New("dev")
	require.NoError(t, err)
	created := time.Now().Truncate(time.Second)
	for name, v := range map[string]profile.PendingPIN{
		"long-lived": {ID: 7, Code: "ABCD", Created: created, Expires: created.Add(10 * time.Minute), ClientID: "app"},
		"with options": {ID: 7, Code: "ABCD", Created: created, Expires: created.Add(10 * time.Minute), ClientID: "app", LifetimeKnown: true,
			Options: profile.PinOptions{Strong: true, SwitchAccount: true, ForwardURL: "https://app.example/?a=<b>"}},
		"with a device key": {ID: 7, Code: "ABCD", Created: created, Expires: created.Add(10 * time.Minute), ClientID: "dev", Device: key},
	} {
		t.Run(name, func(t *testing.T) {
			doc := edited(t, `{"_refused_pin":"x"}`, "default", func(p *profile.Profile) { p.SetPending(&v) })
			assert.Regexp(t, `^\{"_pending_pin":\{"id":7,"code":"ABCD","created":\d+,`, doc)
			got := parse(t, doc).Profile("default").Pending()
			require.NotNil(t, got)
			assert.Equal(t, []any{v.ID, v.Code, v.ClientID, v.LifetimeKnown, v.Options}, []any{got.ID, got.Code, got.ClientID, got.LifetimeKnown, got.Options})
			assert.Equal(t, v.Device != nil, got.Device != nil && got.Device.Kid == key.Kid, "the key")
			assert.True(t, v.Created.Equal(got.Created))
			assert.WithinDuration(t, v.Expires, got.Expires, time.Second)
			assert.True(t, got.Token.IsZero())
		})
	}
}

// A stored PIN is waited for only if its approval could be used.
func TestPendingRead(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		pending  string
		isThere  bool
		clientID string
		lives    time.Duration
	}{
		"CrossWatch's":                {`{"id":7,"code":"ABCD","created":` + unix(now) + `}`, true, "app", profile.DefaultLifetime},
		"without a date":              {`{"id":"7"}`, true, "app", profile.DefaultLifetime},
		"under its own identifier":    {`{"id":7,"client_id":"app2"}`, true, "app2", profile.DefaultLifetime},
		"a date far ahead":            {`{"id":7,"expires_at_ms":99999999999999}`, true, "app", time.Hour},
		"over":                        {`{"id":7,"created":` + unix(now.Add(-time.Hour)) + `}`, true, "app", profile.DefaultLifetime - time.Hour},
		"no number":                   {`{"id":"x"}`, false, "", 0},
		"not an object":               {`[7]`, false, "", 0},
		"its key is damaged":          {`{"id":7,"client_id":"dev","kid":"k","secret":"half"}`, false, "", 0},
		"its parked token is damaged": {`{"id":7,"account_token":"TEST a"}`, true, "app", profile.DefaultLifetime},
	} {
		t.Run(name, func(t *testing.T) {
			v := parse(t, `{"client_id":"app","_pending_pin":`+c.pending+`}`).Profile("default").Pending()
			if !c.isThere {
				assert.Nil(t, v)
				return
			}
			require.NotNil(t, v)
			assert.EqualValues(t, 7, v.ID)
			assert.Equal(t, c.clientID, v.ClientID)
			assert.WithinDuration(t, now.Add(c.lives), v.Expires, 2*time.Second)
			assert.True(t, v.Token.IsZero())
		})
	}
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// A parked token waits beside its PIN, and tells which token it is to replace.
func TestPark(t *testing.T) {
	const doc = `{"account_token":"TEST_a","_pending_pin":{"id":7,"code":"ABCD"}}`
	parked := edited(t, doc, "default", func(p *profile.Profile) { p.Park(7, secret.New("TEST_b")) })
	assert.Equal(t, withFingerprints(`{"account_token":"TEST_a","_pending_pin":{"id":7,"code":"ABCD","account_token":"TEST_b","replaces":"{fp:TEST_a}"}}`), parked)
	v := parse(t, parked).Profile("default").Pending()
	assert.Equal(t, "TEST_b", v.Token.Secret())
	assert.Equal(t, secret.Fingerprint(secret.New("TEST_a")), v.Replaces)
	assert.Equal(t, doc, edited(t, parked, "default", func(p *profile.Profile) { p.Unpark(v) }))
	assert.Equal(t, `{"account_token":"TEST_a"}`, edited(t, parked, "default", func(p *profile.Profile) { assert.True(t, p.DropParked(v)) }))
	for name, stored := range map[string]string{
		"another PIN":   strings.Replace(parked, `"id":7`, `"id":8`, 1),
		"another token": strings.Replace(parked, "TEST_b", "TEST_c", 1),
		"no token":      doc,
		"no PIN":        `{"account_token":"TEST_a"}`,
	} {
		assert.Equal(t, stored, edited(t, stored, "default", func(p *profile.Profile) { p.Unpark(v) }), name)
		assert.Equal(t, stored, edited(t, stored, "default", func(p *profile.Profile) { assert.False(t, p.DropParked(v)) }), name)
	}
	assert.Equal(t, doc, edited(t, doc, "default", func(p *profile.Profile) { p.DropPending(8) }), "another PIN")
	assert.Equal(t, `{"account_token":"TEST_a"}`, edited(t, parked, "default", func(p *profile.Profile) { p.DropPending(7) }))
	assert.Equal(t, `{"account_token":"TEST_a","_pending_pin":{"id":7,"code":"ABCD","expires_at_ms":5000}}`,
		edited(t, doc, "default", func(p *profile.Profile) { p.SetPendingExpiry(7, time.Unix(5, 0)) }))
	assert.Equal(t, doc, edited(t, doc, "default", func(p *profile.Profile) { p.SetPendingExpiry(8, time.Unix(5, 0)) }))
	assert.Equal(t, `{}`, edited(t, `{}`, "default", func(p *profile.Profile) {
		p.SetPendingExpiry(7, time.Unix(5, 0))
		assert.Nil(t, p.Park(7, secret.New("TEST_b")))
	}), "no PIN is pending")

	assert.Equal(t, doc, edited(t, doc, "default", func(p *profile.Profile) { assert.Nil(t, p.Park(8, secret.New("TEST_b"))) }))
	assert.Equal(t, parked, edited(t, parked, "default", func(p *profile.Profile) {
		assert.Equal(t, "TEST_b", p.Park(7, secret.New("TEST_c")).Token.Secret(), "another process has parked the first one")
	}))
}

// The date of a panel's last PIN outlives its login for as long as it delays a start.
func TestPanelPIN(t *testing.T) {
	end := func(p *profile.Profile) { p.DropPending(7) }
	recent, old := unix(time.Now()), unix(time.Now().Add(-time.Minute))
	assert.Equal(t, `{"_cancelled_pin":`+recent+`}`, edited(t, `{"_pending_pin":{"id":7},"_cancelled_pin":`+recent+`}`, "default", end))
	assert.Equal(t, `{}`, edited(t, `{"_pending_pin":{"id":7},"_cancelled_pin":`+old+`}`, "default", end))
	synctest.Test(t, func(t *testing.T) {
		now := unix(time.Now().Add(-profile.StartPause))
		assert.Equal(t, `{}`, edited(t, `{"_pending_pin":{"id":7},"_cancelled_pin":`+now+`}`, "default", end), "it delays none from now on")
	})
	note := func(p *profile.Profile) { p.NotePanelPIN(time.Unix(1000, 0)) }
	assert.Equal(t, `{"x":1,"_cancelled_pin":1000}`, edited(t, `{"x":1}`, "default", note))
	assert.Equal(t, `{"instances":{"P":{}}}`, edited(t, `{"instances":{"P":{}}}`, "P", note), "there is no such profile")
}

// G12: a panel has a PIN made every ten seconds at most, whichever process made the last.
func TestPanelPause(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		want time.Duration
	}{
		"no PIN yet":                    {`{}`, 0},
		"made now":                      {`{"_cancelled_pin":1000}`, 10 * time.Second},
		"made four seconds ago":         {`{"_cancelled_pin":996}`, 6 * time.Second},
		"made ten seconds ago":          {`{"_cancelled_pin":990}`, 0},
		"the pending one, by a program": {`{"_pending_pin":{"id":7,"created":993}}`, 3 * time.Second},
		"the pending one is the last":   {`{"_pending_pin":{"id":7,"created":998},"_cancelled_pin":995}`, 8 * time.Second},
		"the pending one is not":        {`{"_pending_pin":{"id":7,"created":991},"_cancelled_pin":995}`, 5 * time.Second},
		"a replica's clock is ahead":    {`{"_cancelled_pin":1010}`, 10 * time.Second},
		"a clock was set":               {`{"_cancelled_pin":1011}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").PanelPause(time.Unix(1000, 0)))
		})
	}
}

// G8: a PIN is not cancelled once another process has saved its approval or has ended its login.
func TestCancelPending(t *testing.T) {
	approved := &profile.PendingPIN{ID: 7, Token: secret.New("TEST_a")}
	for name, c := range map[string]struct {
		doc       string
		v         *profile.PendingPIN
		cancelled bool
		isLeft    bool
	}{
		"pending":               {pendingPIN(""), &profile.PendingPIN{ID: 7}, true, false},
		"none":                  {`{}`, &profile.PendingPIN{ID: 7}, false, false},
		"another, approved one": {pendingPIN(`,"account_token":"TEST_a"`), &profile.PendingPIN{ID: 6}, false, true},
		"another one":           {pendingPIN(""), &profile.PendingPIN{ID: 6}, false, true},
		"approved since":        {pendingPIN(`,"account_token":"TEST_a"`), &profile.PendingPIN{ID: 7}, false, true},
		"approved, as is known": {pendingPIN(`,"account_token":"TEST_a"`), approved, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			assert.Equal(t, c.cancelled, p.CancelPending(c.v))
			assert.Equal(t, c.isLeft, p.Pending() != nil)
		})
	}
}
