package profile_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// G23: an approved token that needs a check waits beside its PIN. A caller that comes too
// late learns how the login has ended.
func TestApprove(t *testing.T) {
	key := newKey(t, "dev")
	byKey := fmt.Sprintf(`{"_pending_pin":{"id":7,"client_id":"dev","kid":"%s","secret":"%s"}}`, key.Kid, key.Secret.Secret())
	const owned = `"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}"}`
	refused := edited(t, `{"_pending_pin":{"id":7}}`, "default", func(p *profile.Profile) { p.RefusePending(7) })
	for name, c := range map[string]struct {
		doc   string
		saved profile.Saved
		token string // of the profile
		err   error
	}{
		"a first login":                      {`{"_pending_pin":{"id":7}}`, profile.SavedAsToken, "TEST_a", nil},
		"a first login by device key":        {byKey, profile.SavedParked, "", nil},
		"over a linked account":              {`{` + owned + `,"_pending_pin":{"id":7}}`, profile.SavedParked, "TEST_b", nil},
		"over a token of an unknown account": {`{"account_token":"TEST_b","_pending_pin":{"id":7}}`, profile.SavedParked, "TEST_b", nil},
		"over one, to switch":                {`{` + owned + `,"_pending_pin":{"id":7,"switch_account":true}}`, profile.SavedAsToken, "TEST_a", nil},
		"over a rejected token":              {`{"account_token":"TEST_b","_rejected":"{fp:TEST_b}","_pending_pin":{"id":7}}`, profile.SavedAsToken, "TEST_a", nil},

		"another process has saved it":            {`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`, profile.SavedBefore, "TEST_a", nil},
		"another process has not read its owner":  {`{"account_token":"TEST_a"}`, profile.SavedAsToken, "TEST_a", nil},
		"refused as another account's":            {refused, profile.SavedBefore, "", fault.ErrAccountMismatch},
		"dropped":                                 {`{}`, profile.SavedBefore, "", fault.ErrNoPendingPin},
		"another PIN took its place":              {`{"_pending_pin":{"id":8}}`, profile.SavedBefore, "", fault.ErrPinSuperseded},
		"another PIN took its place after a save": {`{"account_token":"TEST_b","_pending_pin":{"id":8}}`, profile.SavedBefore, "TEST_b", fault.ErrPinSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			v := &profile.PendingPIN{ID: 7, ClientID: "app", Created: time.Now()}
			saved, err := p.Approve(v, secret.New("TEST_a"))
			assert.ErrorIs(t, err, c.err)
			assert.Equal(t, c.saved, saved)
			assert.Equal(t, c.token, p.AccountToken().Secret())
			switch now := p.Pending(); {
			case c.saved == profile.SavedParked:
				require.NotNil(t, now)
				assert.Equal(t, "TEST_a", now.Token.Secret())
			case c.saved == profile.SavedAsToken:
				assert.Nil(t, now)
			}
		})
	}
}

// A parked token that plex.tv rejects is dropped. It was revoked: by the person, by another
// process that took it for another account's, or by the next login.
func TestDropRejected(t *testing.T) {
	rejected := errors.New("rejected")
	parked := edited(t, `{"account_token":"TEST_a","_pending_pin":{"id":7}}`, "default", func(p *profile.Profile) { p.Park(7, secret.New("TEST_b")) })
	v := parse(t, parked).Profile("default").Pending()
	alone := parse(t, edited(t, `{"_pending_pin":{"id":7}}`, "default", func(p *profile.Profile) { p.Park(7, secret.New("TEST_b")) })).Profile("default").Pending()
	refused := edited(t, parked, "default", func(p *profile.Profile) { p.RefusePending(7) })
	for name, c := range map[string]struct {
		doc  string
		v    *profile.PendingPIN
		want error
	}{
		"the old login stays":         {parked, v, rejected},
		"a later login has come":      {`{"account_token":"TEST_c","_pending_pin":{"id":7}}`, v, nil},
		"it is dead as well":          {`{"account_token":"TEST_c","_rejected":"{fp:TEST_c}"}`, v, rejected},
		"signed out":                  {`{"account_token":""}`, v, rejected},
		"there was no login before":   {`{"account_token":"TEST_c"}`, alone, rejected},
		"another account's, refused":  {refused, v, fault.ErrAccountMismatch},
		"another PIN has been begun":  {`{"account_token":"TEST_a","_pending_pin":{"id":8}}`, v, rejected},
		"another PIN was refused now": {edited(t, parked, "default", func(p *profile.Profile) { p.RefusePending(8) }), v, rejected},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			token, other := p.AccountToken().Secret(), p.Pending()
			err := p.DropRejected(c.v, rejected)
			assert.Equal(t, c.want, err)
			assert.Equal(t, token, p.AccountToken().Secret())
			assert.Equal(t, other != nil && other.ID != 7, p.Pending() != nil)
		})
	}
}

// A waiting caller takes a new token for that of its PIN, but not one of another login.
func TestHasTokenOf(t *testing.T) {
	now := time.Now()
	key := newKey(t, "dev")
	login := deviceLogin(t, key, jwt(1, now))
	for name, c := range map[string]struct {
		doc    string
		key    *devicekey.Key
		before string
		want   bool
	}{
		"none":                         {`{}`, nil, "", false},
		"a first one":                  {`{"account_token":"TEST_a"}`, nil, "", true},
		"the next one":                 {`{"account_token":"TEST_a"}`, nil, "TEST_b", true},
		"the same":                     {`{"account_token":"TEST_a"}`, nil, "TEST_a", false},
		"a device's, of a short PIN":   {login, nil, "", false},
		"the key's":                    {login, key, "", true},
		"another key's":                {login, newKey(t, "dev"), "", false},
		"long-lived, of the key's PIN": {`{"account_token":"TEST_a"}`, key, "", false},
		"the key's, as it was before":  {login, key, jwt(1, now), false},
		"the key's, after a renewal":   {login, key, jwt(1, now.Add(-time.Hour)), true},
		"another program's beside it":  {`{"account_token":"TEST_a","_device":7}`, key, "TEST_b", false},
		"disconnected":                 {`{"account_token":""}`, nil, "TEST_a", false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").HasTokenOf(c.key, secret.New(c.before)))
		})
	}
}

// An approval retires the token of each profile with the same account and identifier:
// those are found before it is too late to tell whose they are.
func TestRetiredByAnApproval(t *testing.T) {
	const doc = `{"client_id":"app","account_token":"TEST_a","instances":{
		"known":{"client_id":"app","account_token":"TEST_k","_cloud":{"account_id":1,"bound_to":"{fp:TEST_k}"}},
		"unread":{"client_id":"app","account_token":"TEST_u","_cloud":{"account_id":1}},
		"unknown":{"client_id":"app","account_token":"TEST_n"},
		"other":{"client_id":"own","account_token":"TEST_o","_cloud":{"account_id":1}}}}`
	p := parse(t, doc).Profile("default")
	var ids []string
	for _, u := range p.UnidentifiedOthers("app") {
		ids = append(ids, u.Instance)
	}
	assert.Equal(t, []string{"unread"}, ids)

	approved := secret.New("TEST_b")
	assert.True(t, p.MayHaveRetired(&profile.PendingPIN{ClientID: "app", Token: approved}))
	assert.False(t, p.MayHaveRetired(nil))
	assert.False(t, p.MayHaveRetired(&profile.PendingPIN{ClientID: "app"}), "it is not approved")
	assert.False(t, p.MayHaveRetired(&profile.PendingPIN{ClientID: "unused", Token: approved}))
	assert.False(t, p.MayHaveRetired(&profile.PendingPIN{ClientID: "app", Token: approved, Device: newKey(t, "app")}), "a device's retires none")
	alone := parse(t, `{"client_id":"app","account_token":"TEST_a","instances":{"P":{"client_id":"app","account_token":""}}}`).Profile("default")
	assert.False(t, alone.MayHaveRetired(&profile.PendingPIN{ClientID: "app", Token: approved}))
}
