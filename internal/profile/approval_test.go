package profile_test

import (
	"errors"
	"fmt"
	"strings"
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
	now := time.Now()
	next, earlier := jwt(1, now.Add(time.Minute)), jwt(1, now.Add(-time.Minute))
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
		"another process has saved it, in vain":   {`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`, profile.SavedBefore, "TEST_a", fault.ErrTokenRejected},
		"over the same token, rejected before":    {`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}","_pending_pin":{"id":7}}`, profile.SavedAsToken, "TEST_a", nil},
		"a login by device key was made":          {deviceLogin(t, key, next), profile.SavedBefore, next, fault.ErrNoPendingPin},

		"by device key: another process has its next token": {deviceLogin(t, key, next), profile.SavedAsToken, next, nil},
		"by device key: its next token was rejected":        {edited(t, deviceLogin(t, key, next), "default", func(p *profile.Profile) { p.SetRejected() }), profile.SavedAsToken, next, nil},
		"by device key: another device's login":             {deviceLogin(t, newKey(t, "dev"), next), profile.SavedBefore, next, fault.ErrNoPendingPin},
		"by device key: a token of another program":         {`{"account_token":"` + next + `"}`, profile.SavedBefore, next, fault.ErrNoPendingPin},
		"by device key: an earlier login":                   {deviceLogin(t, key, earlier), profile.SavedBefore, earlier, fault.ErrNoPendingPin},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			v := &profile.PendingPIN{ID: 7, ClientID: "app", Created: now}
			if strings.HasPrefix(name, "by device key: ") {
				v.Device = key
			}
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
		"another PIN has been begun":  {`{"account_token":"TEST_a","_pending_pin":{"id":8}}`, v, fault.ErrPinSuperseded},
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
	const doc = `{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1},"instances":{
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
	fresh := parse(t, `{"instances":{"P":{"client_id":"app","account_token":"TEST_p"}}}`).Profile("default")
	assert.True(t, fresh.MayHaveRetired(&profile.PendingPIN{ClientID: "app", Token: approved}))
	assert.False(t, p.MayHaveRetired(nil))
	assert.False(t, p.MayHaveRetired(&profile.PendingPIN{ClientID: "app"}), "it is not approved")
	assert.False(t, p.MayHaveRetired(&profile.PendingPIN{ClientID: "unused", Token: approved}))
	assert.False(t, p.MayHaveRetired(&profile.PendingPIN{ClientID: "app", Token: approved, Device: newKey(t, "app")}), "a device's retires none")
	alone := parse(t, `{"client_id":"app","account_token":"TEST_a","instances":{"P":{"client_id":"app","account_token":""}}}`).Profile("default")
	assert.False(t, alone.MayHaveRetired(&profile.PendingPIN{ClientID: "app", Token: approved}))
}

// G23: an approval of another account than the linked one is refused, also if the token before
// is dead or plex.tv does not say whose it was.
func TestApplyApproval(t *testing.T) {
	const (
		pin     = `,"_pending_pin":{"id":7,"client_id":"app"}`
		of1     = `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"bo"`
		of2     = `{"account_token":"TEST_a","_cloud":{"account_id":2,"bound_to":"{fp:TEST_a}"},"username":"bo"`
		unread  = `{"account_token":"TEST_a","_cloud":{"account_id":1},"username":"bo"`
		unknown = `{"account_token":"TEST_a","username":"bo"`
		sibling = `,"instances":{"P":{"client_id":"app","account_token":"TEST_p","_cloud":{"account_id":2,"bound_to":"{fp:TEST_p}"}}}`
	)
	owner := func(o profile.Ownership) func(*profile.Approval) {
		return func(a *profile.Approval) { a.PreviousOwner = o }
	}
	key := newKey(t, "dev")
	byKey := `,"_pending_pin":{"id":7,"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `"}`
	for name, c := range map[string]struct {
		doc    string
		change func(*profile.Approval)
		want   profile.Decision
	}{
		"over the same account":                      {of2 + pin, nil, profile.Installed},
		"over another account":                       {of1 + pin, nil, profile.Mismatch},
		"over another account, to switch":            {of1 + strings.Replace(pin, "{", `{"switch_account":true,`, 1), nil, profile.Installed},
		"over another account's dead token":          {unread + pin, owner(profile.TokenDead), profile.Mismatch},
		"over a dead token, no one knows whose":      {unknown + pin, owner(profile.TokenDead), profile.Installed},
		"over one that plex.tv tells nothing of":     {strings.Replace(unknown, "bo", "al", 1) + pin, owner(profile.OwnerRefused), profile.Installed},
		"over one with another name":                 {unknown + pin, owner(profile.OwnerRefused), profile.Mismatch},
		"over one with another number":               {strings.Replace(unread, "bo", "al", 1) + pin, owner(profile.OwnerRefused), profile.Mismatch},
		"over one that plex.tv was not asked about":  {unread + pin, nil, profile.Installed},
		"over another token than before":             {of2 + pin, func(a *profile.Approval) { a.Previous = secret.New("TEST_z") }, profile.Outdated},
		"beside another login":                       {of2 + pin, func(a *profile.Approval) { a.OthersHash++ }, profile.Outdated},
		"beside another login, by device key":        {of2 + byKey, func(a *profile.Approval) { a.OthersHash++ }, profile.Installed},
		"another account's, as another profile's":    {of1 + pin + sibling, nil, profile.Inherited},
		"another account's, which retires no token":  {of1 + byKey + strings.Replace(sibling, "app", "dev", 1), nil, profile.Mismatch},
		"another account's, which no other is":       {of1 + pin + strings.Replace(sibling, `"account_id":2`, `"account_id":3`, 1), nil, profile.Mismatch},
		"over the same account, it says nothing now": {of2 + pin, owner(profile.OwnerRefused), profile.Installed},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc+`}`).Profile("default")
			v := p.Pending()
			a := profile.Approval{
				PIN: v, Token: secret.New("TEST_b"), Account: profile.Owner{ID: 2, Name: "Al", Username: "al"},
				Previous: p.AccountToken(), OthersHash: p.OthersHash(),
			}
			if c.change != nil {
				c.change(&a)
			}
			got, _, err := a.Apply(p, nil, 0)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.want == profile.Installed, p.AccountToken().Equal(a.Token))
			assert.Equal(t, c.want == profile.Installed && v.Device != nil, p.UsesKey(key))
			assert.Equal(t, c.want == profile.Inherited, p.Document.Profile("P").AccountToken().Equal(a.Token))
			assert.Equal(t, c.want == profile.Outdated, p.Pending() != nil)
			assert.Equal(t, c.want == profile.Installed, p.ClientID() == v.ClientID)
		})
	}
	dropped := profile.Approval{PIN: &profile.PendingPIN{ID: 7}, Token: secret.New("TEST_b")}
	got, _, err := dropped.Apply(parse(t, of1+`}`).Profile("default"), nil, 0)
	assert.ErrorIs(t, err, fault.ErrNoPendingPin)
	assert.Equal(t, profile.SettledElsewhere, got)
}

// The device whose place a login takes is revoked, if it is another one of the same account.
func TestApplyReplacesDevice(t *testing.T) {
	key, old := newKey(t, "dev"), newKey(t, "old")
	same := *key
	pin := `,"_pending_pin":{"id":7,"switch_account":true,"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `"}}`
	of := func(account int) string {
		return fmt.Sprintf(`,"_cloud":{"account_id":%d,"bound_to":"{fp:TEST_a}"}`, account)
	}
	for name, c := range map[string]struct {
		doc  string
		want bool
	}{
		"another device":        {`{` + device(t, old, "TEST_a") + of(1), true},
		"it is rejected":        {`{` + device(t, old, "TEST_a") + of(1) + `,"_rejected":"{fp:TEST_a}"`, false},
		"of another account":    {`{` + device(t, old, "TEST_a") + of(2), false},
		"the same device":       {`{` + device(t, &same, "TEST_a") + of(1), false},
		"a token without a key": {`{"account_token":"TEST_a"` + of(1), false},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc+pin).Profile("default")
			a := profile.Approval{PIN: p.Pending(), Token: secret.New("TEST_b"), Account: profile.Owner{ID: 1}, Previous: p.AccountToken()}
			got, replaced, err := a.Apply(p, []string{"a"}, time.Hour)
			require.NoError(t, err)
			assert.Equal(t, profile.Installed, got)
			assert.Equal(t, []string{"a"}, p.Lifetime().Scopes)
			assert.Equal(t, time.Hour, p.Lifetime().Skew)
			if !c.want {
				assert.Nil(t, replaced)
				return
			}
			require.NotNil(t, replaced)
			assert.Equal(t, []string{"TEST_a", "old", old.Kid}, []string{replaced.Token.Secret(), replaced.ClientID, replaced.Device.Kid})
		})
	}
}
