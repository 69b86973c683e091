package panel

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

const (
	viewMaxAge     = time.Second      // how old a view may be that a request answers with
	outcomeMaxWait = time.Second      // how long a request waits to learn how a login has just ended
	finalPollTime  = 15 * time.Second // how long the last poll of an expired PIN may take
	maxLongPoll    = 30 * time.Second
)

// view is what the panel shows at one time.
type view struct {
	readAt  time.Time
	changed <-chan struct{} // closed when something has happened since
	state   *State
	pending *Pending // nil if no login is shown
	finding bool     // the server of a new login is being looked for
	problem *Problem
}

// currentView returns a view that is at most viewMaxAge old. The store is read once for all
// requests.
func (p *Panel) currentView(ctx context.Context) (*view, *Problem) {
	leave, err := p.gates.Enter(ctx, "view")
	if err != nil {
		return nil, interrupted(err)
	}
	defer leave()
	before := p.worker.snapshot()
	if v := p.view; v != nil && v.changed == before.changed && time.Since(v.readAt) < viewMaxAge {
		return v, nil
	}
	v, problem := p.readView(ctx, before.changed)
	if problem == nil && v.pending == nil && before.state != idle {
		waitForChange(ctx, before.changed, outcomeMaxWait)
		v, problem = p.readView(ctx, p.worker.snapshot().changed)
	}
	if problem == nil {
		p.view = v
	}
	return v, problem
}

// waitForChange waits until changed is closed, for a time, or until ctx ends.
func waitForChange(ctx context.Context, changed <-chan struct{}, limit time.Duration) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-changed:
	case <-limited.Done():
	}
}

// readView reads the store. The view is out of date when changed is closed.
func (p *Panel) readView(ctx context.Context, changed <-chan struct{}) (*view, *Problem) {
	readAt := time.Now()
	state, problem := p.host.State(ctx)
	if problem != nil {
		return nil, problem
	}
	now := p.worker.snapshot()
	v := &view{readAt: readAt, changed: changed, state: state, finding: now.searching, problem: now.problem}
	serverKnown := state.Settings.ServerURL != "" && state.Settings.MachineID != ""
	switch pending := state.Pending; {
	case pending == nil:
		if now.state == attending && state.Status.Connected && !serverKnown {
			v.finding = true // the login has ended, and its search begins in a moment
		}
	case pending.isShown():
		v.pending, v.problem = pending, pending.Problem
		p.worker.wakeUp()
	}
	return v, nil
}

// isShown reports whether the login has not ended, as far as known. There is none if p is nil.
func (p *Pending) isShown() bool {
	return p != nil && (p.Unsaved || p.Approved || p.Ends.Left() > -finalPollTime)
}

// revision names what the view shows, except for the seconds that pass.
func (v *view) revision() string {
	pending := ""
	if v.pending != nil {
		pending = v.pending.Code + v.pending.ExpiresAt.UTC().Format(time.RFC3339)
	}
	var kind Kind // the problem's detail differs from one poll to the next
	if v.problem != nil {
		kind = v.problem.Kind
	}
	s := v.state.Status
	sum := sha256.New()
	_ = json.NewEncoder(sum).Encode([]any{s.Connected, s.User, s.Extra.NeedsLogin, s.Scopes, s.ExpiresAt, pending, v.state.Settings, v.finding, kind}) // plain fields
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:9])
}

// statusAnswer is the answer to GET status, and to most POSTs.
type statusAnswer struct {
	Status
	Settings Settings `json:"settings"`
	Finding  bool     `json:"finding"`
	Problem  *Problem `json:"problem"`
	Seen     string   `json:"seen"`
	Product  string   `json:"product"`
}

// replyView answers with a view.
func (p *Panel) replyView(w http.ResponseWriter, v *view) {
	answer := statusAnswer{v.state.Status, v.state.Settings, v.finding, v.problem, v.revision(), p.config.Product}
	if v.pending != nil {
		answer.SetPending(v.pending.Code, v.pending.URL, v.pending.Ends.Left())
	}
	replyJSON(w, answer)
}

// serveStatus answers GET status. With wait it answers when something has changed, or
// after that many seconds.
func (p *Panel) serveStatus(w http.ResponseWriter, r *http.Request) {
	wait, problem := longPoll(r.FormValue("wait"))
	if problem != nil {
		replyProblem(w, problem)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	for {
		v, problem := p.currentView(r.Context())
		switch {
		case problem != nil:
			replyProblem(w, problem)
			return
		case p.ctx.Err() != nil:
			replyProblem(w, stopping())
			return
		case v.isNews(r.FormValue("seen")) || ctx.Err() != nil:
			p.replyView(w, v)
			return
		}
		waitForChange(ctx, v.changed, viewMaxAge)
	}
}

// longPoll returns how long a request may wait, which is wait in seconds.
func longPoll(wait string) (time.Duration, *Problem) {
	if wait == "" {
		return 0, nil
	}
	seconds, err := strconv.Atoi(wait)
	if err != nil || seconds < 0 {
		return 0, badRequest("wait must be a number of seconds.")
	}
	return time.Duration(min(seconds, int(maxLongPoll.Seconds()))) * time.Second, nil
}

// isNews reports whether the view differs from the one of a revision. Without a revision,
// only the end of a login is news.
func (v *view) isNews(revision string) bool {
	if revision == "" {
		return v.pending == nil
	}
	return revision != v.revision()
}
