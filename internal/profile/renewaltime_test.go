package profile_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// G24: the JWTs of many profiles are due at moments spread evenly over 5 % of their life,
// and all processes agree on each.
func TestRenewAt(t *testing.T) {
	const life, tokens = 7 * 24 * time.Hour, 400
	issued := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	key := newKey(t, "dev")
	var quarters [4]int
	for account := range int64(tokens) {
		l := parse(t, deviceLogin(t, key, jwt(account+1, issued))).Profile("default").Lifetime()
		part := float64(l.RenewAt().Sub(issued)) / float64(life)
		assert.GreaterOrEqual(t, part, 0.70)
		assert.Less(t, part, 0.75)
		quarters[int((part-0.70)/0.05*4)]++
		if account == 0 {
			assert.InDelta(t, 0.74718, part, 0.00001, "the same in all processes")
		}
	}
	for _, n := range quarters {
		assert.InDelta(t, tokens/4, n, 50)
	}
}
