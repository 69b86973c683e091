package panel

import (
	"context"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/gate"
)

const (
	minRetryPause      = time.Second
	maxStoreRetryPause = 10 * time.Second // between attempts to read or write a store that fails
	maxPlexRetryPause  = time.Minute      // between questions about an approval that plex.tv refuses to answer

	maxSearchTime  = 45 * time.Second
	searchPause    = 20 * time.Second // until a server that was not found is looked for again
	searchAttempts = 4

	outcomeMaxAge = 10 * time.Minute // how old the end of a login may be to be of use to a person
)

// workerState is what the worker is doing.
type workerState int

const (
	idle      workerState = iota // no login is pending, as far as known
	reading                      // the store, to find a pending login
	attending                    // to a login, until it ends
)

// worker waits for the profile's logins in the background, and finds the server of each
// that ends well. It also knows what requests have to be told about that.
type worker struct {
	ctx  context.Context
	host Host
	wake chan struct{} // a request has found a pending login, perhaps another replica's

	mu        sync.Mutex // guards the rest; not held while waiting
	state     workerState
	searches  int             // for a server, now running
	problem   *Problem        // with which the last login or search ended; nil: none, or none yet
	shownTill elapsed.Instant // when the problem is out of date; 0: never
	changed   chan struct{}   // closed by the next notify
}

func newWorker(ctx context.Context, host Host) *worker {
	return &worker{ctx: ctx, host: host, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// run attends to one login after the other until ctx ends.
func (w *worker) run() {
	for pause := minRetryPause; w.ctx.Err() == nil; {
		pause = w.attendNext(pause)
	}
}

// attendNext waits for the pending login to end, or for a login to begin if none is
// pending. After a failure it pauses. It returns the pause after the next failure.
func (w *worker) attendNext(pause time.Duration) time.Duration {
	w.setState(reading)
	begun, stop := w.host.NextLogin() // before the store is read, so that none is missed
	defer stop()
	login, problem := w.host.PendingLogin(w.ctx)
	if problem == nil {
		w.setState(attending)
		problem = login.Wait(w.ctx)
	}
	switch {
	case w.ctx.Err() != nil:
	case problem == nil:
		w.loginSucceeded()
	case problem.Kind == Superseded:
		w.loginEnded(nil, 0)
		return pause
	case problem.Kind == PinExpired:
		w.loginEnded(problem, -login.Left()) // the machine may have been suspended since
		w.removeExpired(login)
	case problem.Kind == NoLogin:
		w.setState(idle)
		w.announce()
		select {
		case <-w.wake:
		case <-begun:
		case <-w.ctx.Done():
		}
	default:
		w.loginEnded(problem, 0)
		_ = gate.Sleep(w.ctx, pause)
		if problem.isStore() {
			return min(2*pause, maxStoreRetryPause)
		}
		return min(2*pause, maxPlexRetryPause)
	}
	return minRetryPause
}

// wakeUp makes an idle worker look for a pending login.
func (w *worker) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default: // it has been woken already
	}
}

// removeExpired removes an expired login from the store, so that no other process asks
// plex.tv about it. It tries again until it succeeds.
func (w *worker) removeExpired(login Login) {
	for pause := minRetryPause; login.Remove(w.ctx) != nil && gate.Sleep(w.ctx, pause) == nil; {
		pause = min(2*pause, maxStoreRetryPause)
	}
}

// startSearch begins to look for the server in the background.
func (w *worker) startSearch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.startSearchLocked()
}

// startSearchLocked does what startSearch does. mu must be held.
func (w *worker) startSearchLocked() {
	w.searches++
	w.notifyLocked(nil)
	go w.inspectInBackground()
}

// passing are the kinds of problem that may be over a moment later: after a restart, the
// media server, a proxy or the network may still be starting.
var passing = map[Kind]bool{"server_unreachable": true, "dns": true, "connect": true, "timeout": true, "content": true, "status": true}

// inspectInBackground finds the server of a new login, unless a person has to choose it.
// If it does not answer, it is looked for again, unless a person has done something since.
func (w *worker) inspectInBackground() {
	problem := w.inspectOnce()
	for range searchAttempts - 1 {
		if problem == nil || !passing[problem.Kind] || gate.Sleep(w.ctx, searchPause) != nil || !w.searchAgain(problem) {
			return
		}
		problem = w.inspectOnce()
	}
}

// inspectOnce carries out one search, and notifies of its problem.
func (w *worker) inspectOnce() *Problem {
	ctx, cancel := context.WithTimeout(w.ctx, maxSearchTime)
	defer cancel()
	problem := w.host.FindServer(ctx)
	if w.ctx.Err() != nil {
		problem = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.searches--
	w.notifyLocked(problem)
	return problem
}

// searchAgain notes the beginning of another search, if nothing has happened since
// problem was reported.
func (w *worker) searchAgain(problem *Problem) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.problem != problem {
		return false
	}
	w.searches++
	w.notifyLocked(problem)
	return true
}

func (w *worker) setState(state workerState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
}

// loginSucceeded starts the search for the server. It notifies of both at once: no
// request sees the login ended and no search running.
func (w *worker) loginSucceeded() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = idle
	w.startSearchLocked()
}

// loginEnded notifies of the end of the login a time ago. The problem is nil if it needs
// no explanation.
func (w *worker) loginEnded(problem *Problem, ago time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = idle
	w.notifyLocked(problem)
	w.shownTill = elapsed.Now().Add(outcomeMaxAge - ago)
}

// notify makes every request that waits look again. problem is shown from now on; nil
// removes the last one.
func (w *worker) notify(problem *Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notifyLocked(problem)
}

// notifyLocked does what notify does. mu must be held.
func (w *worker) notifyLocked(problem *Problem) {
	w.problem, w.shownTill = problem, 0
	w.announceLocked()
}

// serverProblems are the kinds of problem that are over once the server has answered and has
// taken the token.
var serverProblems = map[Kind]bool{"server_unreachable": true, "server_token": true, "other_server": true}

// serverAnswered removes the problem of the last search, because a test of the saved server
// has succeeded.
func (w *worker) serverAnswered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.problem != nil && serverProblems[w.problem.Kind] {
		w.notifyLocked(nil)
	}
}

// announce makes every request that waits look again. The problem stays.
func (w *worker) announce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.announceLocked()
}

// announceLocked does what announce does. mu must be held.
func (w *worker) announceLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// progress is what the worker does at one time.
type progress struct {
	state     workerState
	searching bool
	problem   *Problem
	changed   <-chan struct{} // closed by the next notify
}

// snapshot returns what the worker does now.
func (w *worker) snapshot() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	problem := w.problem
	if w.shownTill != 0 && !w.shownTill.Ahead() {
		problem = nil
	}
	return progress{w.state, w.searches > 0, problem, w.changed}
}
