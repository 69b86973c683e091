package plextv_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// G24: plex.tv's Date says how far this machine's clock is off, unless it is off by no
// more than whole seconds and the way explain.
func TestClockSkew(t *testing.T) {
	for name, tc := range map[string]struct {
		ahead time.Duration // of plex.tv's clock
		age   string
		want  time.Duration
	}{
		"right":                {0, "", 0},
		"off by a second":      {time.Second, "", 0},
		"plex.tv is ahead":     {time.Hour, "", time.Hour},
		"plex.tv is behind":    {-time.Hour, "", -time.Hour},
		"from a cache":         {-time.Hour, "3600", 0},
		"a cache without age":  {-time.Hour, "soon", -time.Hour},
		"a cache of all times": {-time.Hour, "99999999999", -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := http.Header{"Date": {time.Now().Add(tc.ahead).UTC().Format(http.TimeFormat)}}
				if tc.age != "" {
					h.Set("Age", tc.age)
				}
				c, _ := answering(reply{status: 200, body: `{"id":42}`, header: h})
				assert.NoError(t, calls["check PIN"](t.Context(), c, t))
				assert.Equal(t, tc.want, c.Clock.Skew())
				time.Sleep(time.Minute)
				assert.Equal(t, tc.want, c.Clock.Skew(), "it goes on")
			})
		})
	}
}

// A skew that was stored counts until plex.tv answers. A server's Date does not count.
func TestClockRecall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		date := http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}
		c, _ := answering(reply{status: 200, header: date}, reply{status: 200, body: `{"id":7}`, header: http.Header{"Date": {"yesterday"}}}, reply{status: 200, body: `{"id":7}`, header: date})
		c.Clock.Recall(5 * time.Minute)
		assert.NoError(t, calls["server"](t.Context(), c, t))
		assert.NoError(t, calls["account"](t.Context(), c, t))
		assert.Equal(t, 5*time.Minute, c.Clock.Skew())
		c.Clock.Recall(0)
		assert.Equal(t, 5*time.Minute, c.Clock.Skew())
		assert.NoError(t, calls["account"](t.Context(), c, t))
		assert.Equal(t, time.Hour, c.Clock.Skew())
	})
}
