package plextv

import (
	"context"
	"time"
)

// The limits of a single request to plex.tv, unless the caller sets another one with
// [WithAttemptLimit].
const (
	// AttemptLimit bounds one attempt, the body of its answer included.
	AttemptLimit = 10 * time.Second
	// RetryWaitLimit bounds all the pauses between the attempts of one call.
	RetryWaitLimit = 30 * time.Second
	// GuessedPause is the pause after a 429 that names no time.
	GuessedPause = 5 * time.Second
	// askedWaitLimit bounds the pauses that plex.tv asks for in one call, since a person
	// may be waiting for it.
	askedWaitLimit = 2 * time.Second
	// maxRetryAfter bounds the pause that an answer may ask for.
	maxRetryAfter = time.Hour
	// deadAfter is how long an attempt waits for an answer before its connection is presumed
	// dead.
	deadAfter = 2 * time.Second
	// idleLimit bounds how long a connection of ours stays open without a request, if the
	// caller's transport sets no limit.
	idleLimit = 90 * time.Second
)

// LimitAttempt returns how long one attempt may take: limit, or [AttemptLimit] if limit
// is 0, but never longer than the caller's client allows.
func (c *Client) LimitAttempt(limit time.Duration) time.Duration {
	if limit <= 0 {
		limit = AttemptLimit
	}
	if c.httpClient != nil && c.httpClient.Timeout > 0 {
		limit = min(limit, c.httpClient.Timeout)
	}
	return limit
}

type attemptLimitKey struct{}

// WithAttemptLimit returns ctx for calls of plex.tv of which each attempt may take as
// long as limit.
func WithAttemptLimit(ctx context.Context, limit time.Duration) context.Context {
	return context.WithValue(ctx, attemptLimitKey{}, limit)
}

// attemptLimitOf returns the limit that [WithAttemptLimit] has set, or 0.
func attemptLimitOf(ctx context.Context) time.Duration {
	limit, _ := ctx.Value(attemptLimitKey{}).(time.Duration)
	return limit
}
