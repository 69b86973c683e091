package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/plexauth/plexauth"
)

// maxAttemptAge is the time from the start of an attempt to its end, approved or not.
const maxAttemptAge = 10 * time.Minute

// minApprovalTime is the time that an attempt must have left for its PIN to be shown
// again: a person needs about a minute to approve it.
const minApprovalTime = time.Minute

// attempt is one browser's sign-in. It is stored in the browser's cookie. The zero
// attempt is that of a browser that has not started one.
type attempt struct {
	ID       string          `json:"id,omitempty"`
	Doc      json.RawMessage `json:"doc,omitempty"` // client identifier and PIN, as a PlexAuth stores them
	Callback string          `json:"callback,omitempty"`
	Return   string          `json:"return,omitempty"`
	Expires  int64           `json:"expires,omitempty"`  // Unix seconds
	Approved bool            `json:"approved,omitempty"` // Plex has approved it, and the visitor is asked who they are
	Starts   []int64         `json:"starts,omitempty"`   // when this browser started its latest attempts; Unix seconds

	end time.Time // the same as Expires, but by a clock that cannot be set
}

// wallClock returns the date by this machine's clock. Tests replace it.
var wallClock = func() time.Time { return time.Now().Round(0) }

func (a *attempt) timeLeft() time.Duration { return time.Until(a.end) }

// endByDate returns the end of an attempt that another process has started. If the
// clock was set back since, the attempt gets no more time than a new one.
func (a *attempt) endByDate() time.Time {
	return time.Now().Add(min(time.Unix(a.Expires, 0).Sub(wallClock()), maxAttemptAge))
}

// live reports whether the attempt has a PIN and has not ended.
func (a *attempt) live() bool { return a.Doc != nil && a.timeLeft() > 0 }

// reusable reports whether a person can still approve the PIN, and has the time to.
func (a *attempt) reusable() bool {
	return a.Doc != nil && !a.Approved && a.timeLeft() >= minApprovalTime
}

// next returns the browser's next attempt, which starts now and has no PIN yet.
func (a *attempt) next(callback string) *attempt {
	now := wallClock()
	return &attempt{
		ID: rand.Text(), Callback: callback, Expires: now.Add(maxAttemptAge).Unix(), end: time.Now().Add(maxAttemptAge),
		Starts: append(recentStarts(a.Starts, now), now.Unix()),
	}
}

// withoutPIN returns what the browser keeps of an attempt that is finished.
func (a *attempt) withoutPIN() *attempt { return &attempt{Starts: a.Starts} }

// store returns a new store that holds the attempt's document.
func (a *attempt) store() plexauth.ConfigStore {
	s := plexauth.NewMemoryStore()
	// A MemoryStore fails only if its context has ended.
	_ = s.Update(context.Background(), plexauth.Namespace, func(json.RawMessage) (json.RawMessage, error) { return a.Doc, nil })
	return s
}

// take copies the document of s, which holds pin, into the attempt. A new attempt ends
// with its PIN if that is earlier.
func (a *attempt) take(s plexauth.ConfigStore, pin *plexauth.Pin) (err error) {
	a.Expires = min(a.Expires, pin.ExpiresAt.Unix())
	if end := a.endByDate(); a.Doc == nil && end.Before(a.end) {
		a.end = end
	}
	a.Doc, err = s.Load(context.Background(), plexauth.Namespace)
	return err
}
