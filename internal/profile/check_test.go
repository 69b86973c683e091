package profile_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/profile"
)

// Of many processes one asks plex.tv about a token.
func TestClaimCheck(t *testing.T) {
	then := time.Unix(1_700_000_000, 0)
	now := then.Add(24*time.Hour + 300*time.Millisecond)
	const login, checked, claimed = `{"account_token":"TEST_a"}`, `{"account_token":"TEST_a","_checked":1700000000}`, `{"account_token":"TEST_a","_checked":1700086400}`
	for name, c := range map[string]struct {
		doc  string
		seen time.Time
		want string
	}{
		"never checked":       {login, time.Time{}, claimed},
		"yesterday":           {checked, then, claimed},
		"by another, later":   {checked, time.Time{}, checked},
		"by another just now": {claimed, then, claimed},
		"not a date":          {`{"account_token":"TEST_a","_checked":"x"}`, time.Time{}, claimed},
		"no token":            {`{}`, time.Time{}, `{}`},
		"rejected":            {`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`, time.Time{}, withFingerprints(`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			var ok bool
			got := edited(t, c.doc, "default", func(p *profile.Profile) { ok = p.ClaimCheck(c.seen, now) })
			assert.Equal(t, c.want, got)
			assert.Equal(t, got != withFingerprints(c.doc), ok)
		})
	}
	for doc, want := range map[string]string{claimed: checked, `{"_checked":1700086401}`: `{"_checked":1700086401}`} {
		assert.Equal(t, want, edited(t, doc, "default", func(p *profile.Profile) { p.UnclaimCheck(then, now) }))
	}
	assert.NotContains(t, edited(t, checked, "default", func(p *profile.Profile) { p.Disconnect() }), "_checked")
}
