package profile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// newKey makes a device key.
func newKey(t *testing.T, clientID string) *devicekey.Key {
	t.Helper()
	k, err := devicekey.New(clientID)
	require.NoError(t, err)
	return k
}

// deviceLogin returns a document whose default profile lives on a token of k.
func deviceLogin(t *testing.T, k *devicekey.Key, token string) string {
	t.Helper()
	return edited(t, `{"client_id":"app"}`, "default", func(p *profile.Profile) {
		p.SignIn(profile.Credential{Token: secret.New(token), Device: k})
	})
}

// G24: only a token that the profile still has, and that a device can renew, is leased.
func TestLeaseRenewal(t *testing.T) {
	now := time.Now()
	token := jwt(1, now)
	login := deviceLogin(t, newKey(t, "dev"), token)
	rejected := edited(t, login, "default", func(p *profile.Profile) { p.SetRejected() })
	for name, c := range map[string]struct {
		doc   string
		state profile.LeaseState
		err   error
	}{
		"a device's":                {login, profile.LeaseGranted, nil},
		"rejected":                  {rejected, profile.LeaseUnneeded, fault.ErrTokenRejected},
		"the key is damaged":        {`{"account_token":"` + token + `","_device":"x"}`, profile.LeaseUnneeded, devicekey.ErrUnreadable},
		"no key":                    {`{"account_token":"` + token + `"}`, profile.LeaseUnneeded, nil},
		"another login was made":    {deviceLogin(t, newKey(t, "dev"), jwt(1, now.Add(time.Second))), profile.LeaseUnneeded, nil},
		"disconnected":              {`{}`, profile.LeaseUnneeded, nil},
		"another login is rejected": {`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`, profile.LeaseUnneeded, nil},
	} {
		t.Run(name, func(t *testing.T) {
			after := edited(t, c.doc, "default", func(p *profile.Profile) {
				lease, err := p.LeaseRenewal(secret.New(token), now)
				assert.Equal(t, c.state, lease.State)
				assert.ErrorIs(t, err, c.err)
				assert.Equal(t, c.state == profile.LeaseGranted, lease.Life != nil)
			})
			assert.Equal(t, c.state == profile.LeaseGranted, after != withFingerprints(c.doc), "written")
		})
	}
}

// G24: of many processes one renews at a time. A lease ends by itself, and a date that
// another clock has written, or another program, does not keep everyone from renewing.
func TestLeasesOfOthers(t *testing.T) {
	now := time.Now()
	token := secret.New(jwt(1, now))
	login := deviceLogin(t, newKey(t, "dev"), token.Secret())
	var theirs profile.Lease
	leased := edited(t, login, "default", func(p *profile.Profile) { theirs, _ = p.LeaseRenewal(token, now) })
	require.Equal(t, profile.LeaseGranted, theirs.State)
	for after, want := range map[time.Duration]profile.LeaseState{
		10 * time.Second:                    profile.LeaseTaken,
		theirs.Until.Sub(now) - time.Second: profile.LeaseTaken,
		theirs.Until.Sub(now):               profile.LeaseGranted,
		time.Hour:                           profile.LeaseGranted,
		-time.Hour:                          profile.LeaseGranted,
	} {
		t.Run(after.String(), func(t *testing.T) {
			edited(t, leased, "default", func(p *profile.Profile) {
				lease, err := p.LeaseRenewal(token, now.Add(after))
				assert.NoError(t, err)
				assert.Equal(t, want, lease.State)
				if want == profile.LeaseGranted {
					assert.Equal(t, now.Add(after).Add(theirs.Until.Sub(now)), lease.Until)
				}
			})
		})
	}
}

// A failure ends the lease, and only plex.tv's rejection marks the token. A login that
// was made since then is left alone.
func TestEndLease(t *testing.T) {
	now := time.Now()
	token := secret.New(jwt(1, now))
	login := deviceLogin(t, newKey(t, "dev"), token.Secret())
	leased := edited(t, login, "default", func(p *profile.Profile) { _, _ = p.LeaseRenewal(token, now) })
	assert.Equal(t, login, edited(t, leased, "default", func(p *profile.Profile) { p.EndLease(token, fault.ErrUnavailable) }))
	rejected := edited(t, leased, "default", func(p *profile.Profile) {
		p.EndLease(token, fmt.Errorf("renewing: %w", fault.ErrTokenRejected))
	})
	p := parse(t, rejected).Profile("default")
	assert.True(t, p.TokenIsDead())
	assert.Equal(t, token.Secret(), p.AccountToken().Secret())
	for _, other := range []string{jwt(1, now.Add(time.Second)), ""} {
		assert.Equal(t, leased, edited(t, leased, "default", func(p *profile.Profile) { p.EndLease(secret.New(other), fault.ErrTokenRejected) }))
	}
	assert.Equal(t, `{"account_token":""}`, edited(t, `{"account_token":""}`, "default", func(p *profile.Profile) { p.EndLease(secret.Value{}, fault.ErrTokenRejected) }))
}

// A token without a device has no lease.
func TestEndLeaseWithoutDevice(t *testing.T) {
	got := edited(t, `{"account_token":"TEST_a"}`, "default", func(p *profile.Profile) { p.EndLease(secret.New("TEST_a"), fault.ErrTokenRejected) })
	assert.Equal(t, withFingerprints(`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`), got)
}

// G23, G24: a token of another account never replaces one, a login that was made since
// then stays, and of two renewals the last one issued counts.
func TestRenew(t *testing.T) {
	now := time.Now()
	key, other := newKey(t, "dev"), newKey(t, "dev")
	old, next := jwt(1, now.Add(-6*24*time.Hour)), jwt(1, now)
	older, newer := jwt(1, now.Add(-time.Second)), jwt(1, now.Add(time.Second))
	const owned = `{"client_id":"dev","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`
	for name, c := range map[string]struct {
		doc       string
		old, next string
		want      string
		err       error
	}{
		"the successor":                       {deviceLogin(t, key, old), old, next, next, nil},
		"another account's":                   {deviceLogin(t, key, old), old, jwt(2, now), old, profile.ErrOtherAccount},
		"it names no account":                 {deviceLogin(t, key, old), old, jwt(0, now), jwt(0, now), nil},
		"neither names one":                   {deviceLogin(t, key, jwt(0, now)), jwt(0, now), next, next, nil},
		"of a long-lived token":               {owned, "TEST_a", next, next, nil},
		"another owner's than is stored":      {owned, "TEST_a", jwt(2, now), "TEST_a", profile.ErrOtherAccount},
		"another process got an older one":    {deviceLogin(t, key, older), old, next, next, nil},
		"another process got a newer one":     {deviceLogin(t, key, newer), old, next, newer, nil},
		"another process got the same one":    {deviceLogin(t, key, next), old, next, next, nil},
		"another account's, after a login":    {deviceLogin(t, key, older), old, jwt(2, now), older, nil},
		"another device has logged in":        {deviceLogin(t, other, older), old, next, older, nil},
		"a long-lived login was made":         {`{"account_token":"TEST_b"}`, old, next, "TEST_b", nil},
		"another program has written a token": {`{"account_token":"` + older + `"}`, old, next, older, nil},
		"disconnected":                        {`{}`, old, next, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			err := p.Renew(&profile.Lifetime{Token: secret.New(c.old), Device: key}, profile.Credential{Token: secret.New(c.next), Device: key})
			assert.ErrorIs(t, err, c.err)
			assert.Equal(t, c.want, p.AccountToken().Secret())
			if c.want == c.next {
				assert.True(t, p.UsesKey(key))
			}
		})
	}
}

// A renewal ends the lease and the mark of the old token. What belongs to the owner stays,
// but not a server token that was the account's, which the exchange has ended.
func TestRenewKeepsTheRest(t *testing.T) {
	now := time.Now()
	key := newKey(t, "dev")
	next := profile.Credential{Token: secret.New(jwt(1, now)), Device: key, Scopes: []string{"a"}}
	renewed := func(doc, old string) *profile.Profile {
		return parse(t, edited(t, doc, "default", func(p *profile.Profile) {
			_, _ = p.LeaseRenewal(secret.New(old), now)
			require.NoError(t, p.Renew(&profile.Lifetime{Token: secret.New(old), Device: key}, next))
		})).Profile("default")
	}
	const owned = `{"client_id":"dev","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al","pms_token":"%s","_rejected":"x"}`
	p := renewed(fmt.Sprintf(owned, "TEST_s"), "TEST_a")
	assert.EqualValues(t, 1, p.AccountID())
	assert.Equal(t, "al", p.Username())
	assert.Equal(t, "TEST_s", p.ServerToken().Secret())
	assert.False(t, p.TokenIsDead())
	assert.Equal(t, []string{"a"}, p.Lifetime().Scopes)
	assert.True(t, renewed(fmt.Sprintf(owned, "TEST_a"), "TEST_a").ServerToken().IsZero())

	old := jwt(1, now.Add(-time.Hour))
	mistaken := strings.Replace(deviceLogin(t, key, old), `{"client_id"`, `{"pms_token":"`+old+`","client_id"`, 1)
	assert.Equal(t, old, renewed(mistaken, old).ServerToken().Secret(), "only the end of a long-lived token ends its copy")
	p = renewed(deviceLogin(t, key, old), old)
	lease, err := p.LeaseRenewal(next.Token, now)
	assert.NoError(t, err)
	assert.Equal(t, profile.LeaseGranted, lease.State, "the lease on the old token is over")
}

// A move to a device key binds the token to the key first, and can be undone until plex.tv
// has ended the token.
func TestBindMoving(t *testing.T) {
	const doc = `{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}%s}`
	token := secret.New("TEST_a")
	alone := fmt.Sprintf(doc, "")
	var key *devicekey.Key
	begun := edited(t, alone, "default", func(p *profile.Profile) { key, _ = p.KeyFor(token, "app", true) })
	require.NotNil(t, key)

	bound := edited(t, begun, "default", func(p *profile.Profile) { require.NoError(t, p.BindMoving(token, key, 2*time.Minute)) })
	p := parse(t, bound).Profile("default")
	assert.True(t, p.UsesKey(key))
	assert.Equal(t, "TEST_a", p.AccountToken().Secret())
	assert.EqualValues(t, 1, p.AccountID())
	assert.Equal(t, 2*time.Minute, p.Lifetime().Skew)

	unbound := parse(t, edited(t, bound, "default", func(p *profile.Profile) { p.UnbindMoving(token, key) })).Profile("default")
	assert.False(t, unbound.Lifetime().Renewable())
	assert.Equal(t, "TEST_a", unbound.AccountToken().Secret())
	assert.Equal(t, bound, edited(t, bound, "default", func(p *profile.Profile) { p.UnbindMoving(token, newKey(t, "app")) }), "another key's")
	assert.Equal(t, bound, edited(t, bound, "default", func(p *profile.Profile) { p.UnbindMoving(secret.New("TEST_b"), key) }), "another token's")

	assert.Equal(t, withFingerprints(alone), edited(t, alone, "default", func(p *profile.Profile) { p.UnbindMoving(token, key) }), "no key")
	renamed := *key
	renamed.ClientID = "other"
	rebound := edited(t, bound, "default", func(p *profile.Profile) { require.NoError(t, p.BindMoving(token, &renamed, 0)) })
	assert.Equal(t, "other", parse(t, rebound).Profile("default").ClientID())
	for skew, want := range map[time.Duration]time.Duration{59 * time.Second: 0, time.Minute: time.Minute, -time.Minute: -time.Minute} {
		p := parse(t, begun).Profile("default")
		require.NoError(t, p.BindMoving(token, key, skew))
		assert.Equal(t, want, p.Lifetime().Skew)
	}

	shared := errors.New("shared")
	for name, c := range map[string]struct {
		doc string
		err error
	}{
		"another login was made":              {`{"account_token":"TEST_b"}`, profile.ErrOtherLogin},
		"the key has a JWT already":           {deviceLogin(t, key, jwt(1, time.Now())), nil},
		"another profile has the token":       {fmt.Sprintf(doc, `,"instances":{"P":{"account_token":"TEST_a"}}`), shared},
		"another profile is about to get it":  {fmt.Sprintf(doc, fmt.Sprintf(`,"instances":{"P":{"client_id":"app","_pending_pin":{"id":7,"created":%d}}}`, time.Now().Unix())), shared},
		"its PIN is of another identifier":    {fmt.Sprintf(doc, fmt.Sprintf(`,"instances":{"P":{"client_id":"own","_pending_pin":{"id":7,"client_id":"own","created":%d}}}`, time.Now().Unix())), nil},
		"its PIN is over":                     {fmt.Sprintf(doc, `,"instances":{"P":{"client_id":"app","_pending_pin":{"id":7,"created":100}}}`), nil},
		"its PIN is over, but was approved":   {fmt.Sprintf(doc, `,"instances":{"P":{"client_id":"app","_pending_pin":{"id":7,"created":100,"account_token":"TEST_p"}}}`), shared},
		"its PIN is of a device":              {fmt.Sprintf(doc, fmt.Sprintf(`,"instances":{"P":{"_pending_pin":{"id":7,"client_id":"app","kid":%q,"secret":%q,"created":%d}}}`, key.Kid, key.Secret.Secret(), time.Now().Unix())), nil},
		"its PIN is damaged":                  {fmt.Sprintf(doc, `,"instances":{"P":{"client_id":"app","_pending_pin":[7]}}`), nil},
		"another profile has another account": {fmt.Sprintf(doc, `,"instances":{"P":{"account_token":"TEST_p"}}`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, c.doc)
			switch err := d.Profile("default").BindMoving(token, key, 0); {
			case c.err == nil:
				assert.NoError(t, err)
			case errors.Is(c.err, shared):
				assert.ErrorContains(t, err, `profile "P"`)
			default:
				assert.ErrorIs(t, err, c.err)
			}
			if c.err != nil {
				assert.False(t, d.Changed())
			}
		})
	}
}

// A PIN that ends at this very moment does not hinder a move any more.
func TestBindMovingAsAPINEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const doc = `{"client_id":"app","account_token":"TEST_a","instances":{"P":{"_pending_pin":{"id":7,"client_id":"app","expires_at_ms":%d}}}}`
		for left, isShared := range map[time.Duration]bool{0: false, time.Millisecond: true} {
			p := parse(t, fmt.Sprintf(doc, time.Now().Add(left).UnixMilli())).Profile("default")
			err := p.BindMoving(secret.New("TEST_a"), newKey(t, "app"), 0)
			assert.Equal(t, isShared, err != nil, left)
		}
	})
}

// A move to a device key takes a key that a failed call has made, if it may have registered it.
func TestKeyFor(t *testing.T) {
	key := newKey(t, "app")
	login := `{"client_id":"app","account_token":"TEST_a"`
	lives := jwt(1, time.Now())
	for name, c := range map[string]struct {
		doc   string
		fresh bool   // the stored key is not to be used
		want  string // "stored", "new", "none", or what the error says
	}{
		"none is stored":                {login + `}`, false, "new"},
		"one is stored":                 {login + `,` + device(t, key, "") + `}`, false, "stored"},
		"one is stored, but not wanted": {login + `,` + device(t, key, "") + `}`, true, "new"},
		"of another identifier":         {login + `,` + device(t, newKey(t, "own"), "") + `}`, false, "new"},
		"it is damaged":                 {login + `,"_device":{"client_id":"app","kid":"k","secret":"half"}}`, false, "new"},
		"the token is bound to it":      {`{` + device(t, key, "TEST_a") + `}`, false, "stored"},
		"it has moved":                  {`{` + device(t, key, lives) + `}`, false, "none"},
		"another login was made":        {strings.Replace(login, "TEST_a", "TEST_b", 1) + `}`, false, profile.ErrOtherLogin.Error()},
		"the token is foreign":          {login + `,"_foreign":"{fp:TEST_a}"}`, false, "adopted without its client identifier"},
		"another profile uses it":       {login + `,"instances":{"P":{"account_token":"TEST_a"}}}`, false, `profile "P"`},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, c.doc)
			got, err := d.Profile("default").KeyFor(secret.New("TEST_a"), "app", !c.fresh)
			stored := parse(t, encoded(d)).Profile("default").Device
			switch c.want {
			case "none":
				assert.NoError(t, err)
				assert.Nil(t, got)
			case "stored", "new":
				require.NoError(t, err)
				require.NotNil(t, got)
				assert.Equal(t, c.want == "stored", got.Kid == key.Kid)
				assert.Equal(t, []string{"app", got.Kid, got.Secret.Secret()}, []string{got.ClientID, stored.Kid, stored.Seed.Secret()})
			default:
				assert.ErrorContains(t, err, c.want)
				assert.False(t, d.Changed())
			}
		})
	}
	_, err := parse(t, `{"account_token":"`+lives+`"}`).Profile("default").KeyFor(secret.New(lives), "app", true)
	assert.ErrorContains(t, err, "is a JWT already")
}
