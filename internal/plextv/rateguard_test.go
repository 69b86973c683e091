package plextv_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
)

// heldBackFor returns for how long requests are held back.
func heldBackFor(c *plextv.Client) time.Duration { return max(0, time.Until(c.Guard.OpenAt())) }

// G12: of two answers that ask to wait, the later end counts.
func TestGuardKeepsTheLongerPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			sent++
			asks, after := "20", time.Second
			if sent == 2 {
				asks, after = "5", 2*time.Second
			}
			time.Sleep(after)
			return reply{status: 429, header: http.Header{"Retry-After": {asks}}}.response(r)
		})}})
		for range 2 {
			go func() { assert.ErrorIs(t, calls["account"](t.Context(), c, t), fault.ErrRateLimited) }()
			synctest.Wait()
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Equal(t, 18*time.Second, heldBackFor(c))
		assert.ErrorIs(t, calls["account"](t.Context(), c, t), fault.ErrRateLimited)
		assert.Equal(t, 2, sent, "not asked again")
		assert.Equal(t, 18*time.Second, heldBackFor(c), "at once")
	})
}

// G12: after a 429 that names no time, an answer to an older request ends no pause.
func TestGuessedPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			sent++
			if sent == 1 {
				time.Sleep(time.Second)
				return reply{status: 429}.response(r)
			}
			time.Sleep(2 * time.Second)
			return reply{status: 200, body: `{"id":7}`}.response(r)
		})}})
		for range 2 {
			go func() { _ = calls["account"](t.Context(), c, t) }()
			synctest.Wait()
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Equal(t, plextv.GuessedPause-2*time.Second, heldBackFor(c))
	})
}

// A poll asks during a pause, too. If it gets an answer, a guessed pause is over.
func TestPollEndsAGuessedPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := answering(reply{status: 429}, reply{status: 200, body: `{"id":42,"code":"ABCD"}`})
		require.Error(t, calls["account"](t.Context(), c, t))
		require.Positive(t, heldBackFor(c))
		time.Sleep(time.Second)
		require.NoError(t, calls["check PIN"](t.Context(), c, t))
		assert.Zero(t, heldBackFor(c))
	})
}

// G12: what a call has waited before its first attempt counts.
func TestCallsWaitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		c := plextv.New(plextv.Config{Retries: 3, HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			sent++
			return reply{status: 429}.response(r)
		})}})
		require.Error(t, calls["check PIN"](t.Context(), c, t))
		require.Equal(t, 1, sent)
		time.Sleep(heldBackFor(c) - 2*time.Second)
		began := time.Now()
		_, err := c.ReadAccount(t.Context(), token, clientID, false)
		assert.ErrorIs(t, err, fault.ErrRateLimited)
		assert.Equal(t, 2*time.Second, time.Since(began))
		assert.Equal(t, 2, sent)
	})
}

// A call waits for two seconds at most, and not at all if its context does not last as long.
func TestCallsWaitForTheGuard(t *testing.T) {
	for name, c := range map[string]struct {
		left, life time.Duration // of the pause, and of the context
		err        error
		took       time.Duration
		cancel     time.Duration // when the context is cancelled; 0: never
	}{
		"two seconds":                  {2 * time.Second, time.Minute, nil, 2 * time.Second, 0},
		"longer":                       {2*time.Second + 1, time.Minute, fault.ErrRateLimited, 0, 0},
		"longer than its context":      {time.Second, 900 * time.Millisecond, fault.ErrRateLimited, 0, 0},
		"exactly as long":              {time.Second, time.Second, fault.ErrRateLimited, 0, 0},
		"shorter than its context":     {time.Second, 2 * time.Second, nil, time.Second, 0},
		"over":                         {0, time.Second, nil, 0, 0},
		"cancelled":                    {time.Second, time.Minute, context.Canceled, 500 * time.Millisecond, 500 * time.Millisecond},
		"cancelled, and held back":     {4 * time.Second, time.Minute, context.Canceled, 0, -1},
		"cancelled before it is asked": {0, time.Minute, context.Canceled, 0, -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, sent := answering(reply{status: 429}, reply{status: 200, body: `{"id":7}`})
				require.ErrorIs(t, calls["account"](t.Context(), client, t), fault.ErrRateLimited)
				time.Sleep(heldBackFor(client) - c.left)
				ctx, cancel := context.WithTimeout(t.Context(), c.life)
				defer cancel()
				if c.cancel != 0 {
					defer time.AfterFunc(c.cancel, cancel).Stop()
					synctest.Wait()
				}
				began := time.Now()
				assert.ErrorIs(t, calls["account"](ctx, client, t), c.err)
				assert.Equal(t, c.took, time.Since(began))
				assert.Equal(t, c.err == nil, *sent == 2)
			})
		})
	}
}

// A guessed pause is for plex.tv: requests to a media server are sent, and only an answer of
// plex.tv that is no failure ends it. Another failure until then names no time.
func TestGuessedPauseIsForPlexTV(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := 429
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			return reply{status: status, body: `{}`}.response(r)
		})}})
		require.ErrorIs(t, calls["account"](t.Context(), c, t), fault.ErrRateLimited)
		require.Equal(t, plextv.GuessedPause, heldBackFor(c))
		time.Sleep(time.Second)
		status = 200
		require.NoError(t, calls["server"](t.Context(), c, t))
		status = 502
		require.Error(t, calls["check PIN"](t.Context(), c, t))
		f := plextv.FailureIn(calls["server"](t.Context(), c, t))
		require.NotNil(t, f)
		assert.Zero(t, f.RetryAfter)
		assert.Equal(t, plextv.GuessedPause-time.Second, heldBackFor(c))
	})
}

// A poll has a pause of its own, so its rate limit names only the time that plex.tv names.
func TestRateLimitOfAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for call, want := range map[string]time.Duration{"account": plextv.GuessedPause, "check PIN": 0} {
			c, _ := answering(reply{status: 429})
			f := plextv.FailureIn(calls[call](t.Context(), c, t))
			require.NotNil(t, f)
			assert.Equal(t, want, f.RetryAfter, call)
		}
	})
}

// G12: a 429 slows all callers, also if the one that has got it is gone by then.
func TestRateLimitOfACallerThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		sent := 0
		c := repeating(func(r *http.Request) (*http.Response, error) {
			sent++
			cancel()
			return reply{status: 429, header: http.Header{"Retry-After": {"20"}}}.response(r)
		})
		require.ErrorIs(t, readAccount(ctx, c), context.Canceled)
		assert.Equal(t, 20*time.Second, heldBackFor(c))
		require.ErrorIs(t, readAccount(t.Context(), c), fault.ErrRateLimited)
		assert.Equal(t, 1, sent)
	})
}
