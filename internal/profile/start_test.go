package profile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

func always(*profile.PendingPIN) bool { return true }

// pendingPIN returns a document with a PIN that was made just now.
func pendingPIN(more string) string {
	if !strings.Contains(more, "client_id") {
		more += `,"client_id":"app"`
	}
	return fmt.Sprintf(`{"client_id":"app","_pending_pin":{"id":7,"code":"ABCD","created":%d%s}}`, time.Now().Unix(), more)
}

// G12: a Start shows the pending PIN again unless a new one would be better.
func TestPrepareStart(t *testing.T) {
	key := newKey(t, "dev")
	byKey := fmt.Sprintf(`,"client_id":"dev","kid":"%s","secret":"%s"`, key.Kid, key.Secret.Secret())
	for name, c := range map[string]struct {
		doc      string
		options  profile.StartOptions
		reusable bool
		clientID string // "": a new one
	}{
		"none pending":                   {`{"client_id":"app"}`, profile.StartOptions{}, false, "app"},
		"the same kind":                  {pendingPIN(""), profile.StartOptions{}, true, "app"},
		"approved already":               {pendingPIN(`,"account_token":"TEST_a"`), profile.StartOptions{}, false, "app"},
		"it soon ends":                   {pendingPIN(""), profile.StartOptions{Lasts: func(*profile.PendingPIN) bool { return false }}, false, "app"},
		"other options":                  {pendingPIN(""), profile.StartOptions{PIN: profile.PinOptions{Strong: true}}, false, "app"},
		"the same options":               {pendingPIN(`,"strong":true`), profile.StartOptions{PIN: profile.PinOptions{Strong: true}}, true, "app"},
		"under another identifier":       {pendingPIN(`,"client_id":"old"`), profile.StartOptions{}, false, "app"},
		"the program's own identifier":   {`{}`, profile.StartOptions{ClientID: "own"}, false, "own"},
		"without a code":                 {`{"client_id":"app","_pending_pin":{"id":7,"created":100,"client_id":"app"}}`, profile.StartOptions{}, false, "app"},
		"without a date":                 {`{"client_id":"app","_pending_pin":{"id":7,"code":"ABCD","client_id":"app"}}`, profile.StartOptions{}, false, "app"},
		"a device key is wanted":         {pendingPIN(""), profile.StartOptions{DeviceKey: true}, false, ""},
		"it is by device key":            {pendingPIN(byKey), profile.StartOptions{}, false, "app"},
		"by device key, as it is wanted": {pendingPIN(byKey), profile.StartOptions{DeviceKey: true}, true, "dev"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.options.Lasts == nil {
				c.options.Lasts = always
			}
			p := parse(t, c.doc).Profile("default")
			in, err := p.PrepareStart(c.options)
			require.NoError(t, err)
			assert.Equal(t, c.reusable, in.Reusable)
			if c.clientID != "" {
				assert.Equal(t, c.clientID, in.ClientID)
			}
			assert.NotEmpty(t, in.ClientID)
			assert.Equal(t, c.options.DeviceKey && !c.reusable, in.Key != nil)
			if in.Key != nil {
				assert.Equal(t, in.Key.ClientID, in.ClientID)
				assert.NotEqual(t, "app", in.ClientID, "long-lived tokens live under it")
			}
			again, err := p.PrepareStart(c.options)
			require.NoError(t, err)
			assert.Equal(t, in.ClientID, again.ClientID, "it is stored")
		})
	}
}

// The identifiers are saved before plex.tv is asked for a PIN, and the logins that the next
// one may end are listed.
func TestPrepareStartListsUnknown(t *testing.T) {
	d := parse(t, `{"client_id":"app","account_token":"TEST_a","instances":{"P":{"client_id":"app","account_token":"TEST_p"},"Q":{"client_id":"own","account_token":"TEST_q"}}}`)
	in, err := d.Profile("default").PrepareStart(profile.StartOptions{Lasts: always})
	require.NoError(t, err)
	assert.Equal(t, "TEST_a", in.Token.Secret())
	var ids []string
	for _, u := range in.Unknown {
		ids = append(ids, u.Instance)
	}
	assert.Equal(t, []string{"default", "P"}, ids)
}

// G12, G8: of two processes that have made a PIN at the same time, the second one hears of
// the first one's, which may be approved already. An approval is never overwritten.
func TestPropose(t *testing.T) {
	now := time.Now()
	theirs := &profile.PendingPIN{ID: 7}
	moved := edited(t, `{}`, "P", func(p *profile.Profile) {
		p.Create()
		p.SignIn(profile.Credential{Token: secret.New(jwt(1, now)), Device: newKey(t, "app")})
	})
	for name, c := range map[string]struct {
		doc      string
		replaced *profile.PendingPIN
		kept     int64 // 0: an error
	}{
		"none pending":              {`{"client_id":"app"}`, nil, 8},
		"another one, as good":      {pendingPIN(""), nil, 7},
		"it is to be replaced":      {pendingPIN(""), theirs, 8},
		"another one was replaced":  {pendingPIN(""), &profile.PendingPIN{ID: 6}, 7},
		"another one, of its kind":  {pendingPIN(`,"strong":true`), nil, 7},
		"approved":                  {pendingPIN(`,"account_token":"TEST_a"`), nil, 7},
		"approved, and replaced":    {pendingPIN(`,"account_token":"TEST_a"`), theirs, 7},
		"a key has taken its place": {moved, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			mine := &profile.PendingPIN{ID: 8, Code: "EFGH", Created: now, Expires: now.Add(time.Minute), ClientID: "app"}
			kept, err := p.Propose(mine, c.replaced)
			if c.kept == 0 {
				assert.ErrorIs(t, err, profile.ErrMovedOver)
				assert.Nil(t, p.Pending())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.kept, kept.ID)
			assert.Equal(t, c.kept == mine.ID, kept == mine)
			assert.Equal(t, c.kept, p.Pending().ID)
		})
	}
}

// Two PINs with one device key would be approved for one device.
func TestProposeWithSharedKey(t *testing.T) {
	key := newKey(t, "dev")
	mine := &profile.PendingPIN{ID: 8, Code: "EFGH", Created: time.Now(), Expires: time.Now().Add(time.Minute), ClientID: "dev", Device: key}
	theirs := *mine
	theirs.ID, theirs.Options.Strong = 7, true
	p := parse(t, `{}`).Profile("P")
	_, err := p.Propose(&theirs, nil)
	require.NoError(t, err)
	_, err = p.Propose(mine, &theirs)
	assert.ErrorIs(t, err, profile.ErrKeyShared)
	assert.EqualValues(t, 7, p.Pending().ID)
	assert.Equal(t, secret.Value{}, p.AccountToken())
	assert.False(t, p.Absent(), "a Start creates its profile")
}

// A PIN may be made under an identifier that a device of another kind or account has.
func TestProposeBesideDevices(t *testing.T) {
	key := newKey(t, "app")
	byKey := `{"client_id":"app","_pending_pin":{"id":7,"client_id":"app","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `"}}`
	_, err := parse(t, byKey).Profile("default").Propose(&profile.PendingPIN{ID: 8, ClientID: "app"}, &profile.PendingPIN{ID: 7})
	assert.NoError(t, err, "a short PIN in the place of a device's")
	moved := `{"client_id":"app","instances":{"P":{` + device(t, newKey(t, "app"), "TEST_p") + `}}}`
	_, err = parse(t, moved).Profile("default").Propose(&profile.PendingPIN{ID: 8, ClientID: "app", Device: key}, nil)
	assert.NoError(t, err, "a device of another account")
}

// A device's PIN needs no identifier of long-lived tokens.
func TestPrepareStartOfDevice(t *testing.T) {
	d := parse(t, `{"x":1}`)
	_, err := d.Profile("default").PrepareStart(profile.StartOptions{Lasts: always, DeviceKey: true})
	require.NoError(t, err)
	assert.Empty(t, d.Profile("default").State.ClientID)
}
