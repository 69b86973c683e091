// Package interleave runs operations of several processes step by step, in every order, to
// find orders that break a promise. It is for tests.
//
// A [Store] and a [Transport] stop each operation before its next access to the store and
// its next request. In a testing/synctest bubble the scheduler then knows every operation
// that can go on, and chooses one. [Explore] makes all choices, one [Schedule] after the
// other; a Schedule is named by its choices, as in "0.1.2", and can be repeated.
package interleave

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// Actor is an operation whose steps are scheduled.
type Actor struct {
	Name    string
	Process int // actors of one process share its memory, and die together
	Run     func(ctx context.Context)
}

// Event happens in one step, at any moment after it is possible: a person approves, a
// process dies.
type Event struct {
	Name     string
	Possible func() bool // nil: always
	Do       func()
}

const (
	// tickLimit bounds how long time passes while an operation could go on.
	tickLimit = 2 * time.Second
	// window is how long after the first timer others may fire that were meant for the same
	// moment: pauses of a second have a random part of a twentieth.
	window = 60 * time.Millisecond
	// maxTicks bounds how often time passes while an operation could go on.
	maxTicks = 2
	// idleRounds is how often nothing but timers goes on before Idle is called, and before
	// the choices end.
	idleRounds = 3
	// roundLimit is how long an operation that waits may do nothing at all.
	roundLimit = 10 * time.Minute
	// maxRounds bounds the rounds of one schedule.
	maxRounds = 400
)

// errDead is what a dead process gets from its steps.
var errDead = errors.New("interleave: the process has died")

// Schedule is one order of the steps. Its methods may be called by all goroutines.
type Schedule struct {
	// Idle is called once nothing but timers has gone on for a while, so that waits end.
	Idle func()
	// State returns what all processes share, for [Explore] to recognize states that it has
	// seen. nil: none is recognized.
	State func() string

	explorer *explorer
	prefix   []int // choices to make
	made     []decision
	states   map[uint64]int // that it is the first to see, to the preemptions that were left
	pruned   bool
	steps    []string
	failure  error

	mu      sync.Mutex // guards the rest
	actors  []*actor
	events  []*event
	pending []*pending
	arrived chan struct{}
	dead    map[int]bool
	seen    map[int]uint64 // what a process has seen, by process
	names   map[string]int // of random values, in the order of their appearance
	current string         // actor of the last step
	ticks   int
	rounds  int
	aborted bool
}

type actor struct {
	Actor
	schedule *Schedule
	cancel   context.CancelFunc
	ended    bool
}

type event struct {
	Event
	done bool
}

// pending is a step that waits for its turn.
type pending struct {
	actor *actor
	what  string
	turn  chan error
}

// option is what can happen next.
type option struct {
	who, what string
	cost      int // preemptions
	do        func()
}

type actorKey struct{}

// Step waits until it is the turn of the actor of ctx. what names the step. Without an
// actor it returns at once. An error means that the step must not be made.
func Step(ctx context.Context, what string) error {
	a, _ := ctx.Value(actorKey{}).(*actor)
	if a == nil {
		return nil
	}
	s := a.schedule
	s.mu.Lock()
	if s.aborted || s.dead[a.Process] {
		s.mu.Unlock()
		return errDead
	}
	p := &pending{a, what, make(chan error, 1)}
	s.pending = append(s.pending, p)
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	select {
	case err := <-p.turn:
		return err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending = slices.DeleteFunc(s.pending, func(q *pending) bool { return q == p })
		return ctx.Err()
	}
}

// ActorOf returns the name of the actor of ctx, "" if there is none.
func ActorOf(ctx context.Context) string {
	if a, _ := ctx.Value(actorKey{}).(*actor); a != nil {
		return a.Name
	}
	return ""
}

// StepBack waits until it is the turn of the actor of ctx to go on after a step, if another
// actor shares its process: then it matters when it gets to know the result.
func StepBack(ctx context.Context, what string) error {
	if a, _ := ctx.Value(actorKey{}).(*actor); a == nil || !a.schedule.isShared(a.Process) {
		return nil
	}
	return Step(ctx, "after "+what)
}

// isShared reports whether several actors share a process.
func (s *Schedule) isShared(process int) bool {
	n := 0
	for _, a := range s.actors {
		if a.Process == process {
			n++
		}
	}
	return n > 1
}

// Saw notes what the actor of ctx has got from a step. It is part of the state.
func Saw(ctx context.Context, text string) {
	a, _ := ctx.Value(actorKey{}).(*actor)
	if a == nil {
		return
	}
	s := a.schedule
	s.mu.Lock()
	defer s.mu.Unlock()
	h := fnv.New64a()
	fmt.Fprint(h, s.seen[a.Process], a.Name, s.rename(text))
	s.seen[a.Process] = h.Sum64()
}

// Run runs the actors until all have ended. It reports whether the schedule was left early,
// because it has led to a state that was explored before.
func (s *Schedule) Run(ctx context.Context, actors []Actor, events []Event) (pruned bool, err error) {
	s.states = map[uint64]int{}
	s.arrived, s.dead, s.seen, s.names = make(chan struct{}, 1), map[int]bool{}, map[int]uint64{}, map[string]int{}
	for _, e := range events {
		s.events = append(s.events, &event{Event: e})
	}
	for _, a := range actors {
		s.actors = append(s.actors, &actor{Actor: a, schedule: s})
	}
	for _, a := range s.actors {
		var actx context.Context
		actx, a.cancel = context.WithCancel(context.WithValue(ctx, actorKey{}, a))
		defer a.cancel()
		go func() {
			if Step(actx, "begins") == nil {
				a.Run(actx)
			}
			s.end(a)
		}()
	}
	for s.next() {
	}
	for !s.hasEnded() { // it was left early
		time.Sleep(time.Second)
	}
	time.Sleep(time.Second) // what outlives a context does so for less
	synctest.Wait()
	return s.pruned, s.failure
}

// end notes that an actor has ended.
func (s *Schedule) end(a *actor) {
	s.mu.Lock()
	a.ended = true
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// next makes one step. It reports whether there may be another one.
func (s *Schedule) next() bool {
	synctest.Wait()
	if s.hasEnded() {
		return false
	}
	o := s.choose()
	if s.pruned || s.failure != nil {
		s.abort()
		return false
	}
	s.current = o.who
	s.steps = append(s.steps, o.who+": "+o.what)
	o.do()
	return true
}

func (s *Schedule) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.actors, func(a *actor) bool { return !a.ended })
}

// options returns what can happen next: what the last actor does, what others do, events,
// and that time passes.
func (s *Schedule) options() []option {
	possible := slices.DeleteFunc(slices.Clone(s.events), func(e *event) bool { return e.done || e.Possible != nil && !e.Possible() })
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.nextSteps()
	operations := len(all)
	canGoOn := operations > 0 && all[0].who == s.current
	for _, e := range possible {
		all = append(all, option{who: e.Name, what: "happens", do: func() { e.done = true; e.Do() }})
	}
	if operations == 0 || s.ticks < maxTicks && s.someoneWaits() {
		all = append(all, option{who: timePasses, what: "passes", do: func() { s.tick(operations == 0) }})
	}
	for i, o := range all {
		if canGoOn && o.who != s.current || o.who == timePasses && operations > 0 {
			all[i].cost = 1
		}
	}
	return all
}

// timePasses is the name of the time among those who make steps.
const timePasses = "time"

// nextSteps returns the steps that wait for their turn, those of the last actor first. mu
// must be held.
func (s *Schedule) nextSteps() (all []option) {
	steps := slices.Clone(s.pending)
	place := func(p *pending) int {
		if p.actor.Name == s.current {
			return -1
		}
		return slices.Index(s.actors, p.actor)
	}
	slices.SortStableFunc(steps, func(p, q *pending) int { return place(p) - place(q) })
	for _, p := range steps {
		all = append(all, option{who: p.actor.Name, what: p.what, do: func() { s.grant(p, nil) }})
	}
	return all
}

// someoneWaits reports whether an actor waits for something else than its turn. mu must be
// held.
func (s *Schedule) someoneWaits() bool {
	return slices.ContainsFunc(s.actors, func(a *actor) bool {
		return !a.ended && !slices.ContainsFunc(s.pending, func(p *pending) bool { return p.actor == a })
	})
}

// grant gives a pending step its turn.
func (s *Schedule) grant(p *pending, err error) {
	s.mu.Lock()
	s.pending = slices.DeleteFunc(s.pending, func(q *pending) bool { return q == p })
	s.mu.Unlock()
	p.turn <- err
}

// tick lets time pass until a timer brings another step. idle says that no operation can go
// on otherwise.
func (s *Schedule) tick(idle bool) {
	limit := tickLimit
	if idle {
		limit = roundLimit
		if s.rounds++; s.rounds == idleRounds+1 && s.Idle != nil {
			s.Idle()
		}
	} else {
		s.mu.Lock()
		s.ticks++
		s.mu.Unlock()
	}
	select { // what has arrived before
	case <-s.arrived:
	default:
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.arrived:
		time.Sleep(window)
	case <-late.C:
		if idle {
			s.fail(fmt.Errorf("an operation waits for ever: %s", s.waiting()))
		}
	}
	if s.rounds > maxRounds {
		s.fail(fmt.Errorf("an operation does not end: %s", s.waiting()))
	}
}

// waiting names the actors that have not ended.
func (s *Schedule) waiting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, a := range s.actors {
		if !a.ended {
			names = append(names, a.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (s *Schedule) fail(err error) {
	s.failure = err
}

// Kill ends a process: none of its further steps is made.
func (s *Schedule) Kill(process int) {
	s.mu.Lock()
	s.dead[process] = true
	s.mu.Unlock()
	s.stop(func(a *actor) bool { return a.Process == process })
}

// Lives reports whether a process has an operation that has not ended.
func (s *Schedule) Lives(process int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.actors, func(a *actor) bool { return a.Process == process && !a.ended })
}

// WasSlow reports whether time has passed while a step could have been made, so that a
// request or the store was slow.
func (s *Schedule) WasSlow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ticks > 0
}

// Died reports whether a process was killed.
func (s *Schedule) Died(process int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead[process]
}

// abort ends all actors, because the rest of the schedule is of no interest.
func (s *Schedule) abort() {
	s.mu.Lock()
	s.aborted = true
	s.mu.Unlock()
	s.stop(func(*actor) bool { return true })
}

// stop ends the contexts and the pending steps of actors.
func (s *Schedule) stop(which func(*actor) bool) {
	for _, a := range s.actors {
		if which(a) {
			a.cancel()
		}
	}
	s.mu.Lock()
	stopped := slices.Clone(s.pending)
	s.mu.Unlock()
	for _, p := range stopped {
		if which(p.actor) {
			s.grant(p, errDead)
		}
	}
}

// Steps returns what has happened, a line for each step.
func (s *Schedule) Steps() []string { return s.steps }

// Note adds a line to the steps.
func (s *Schedule) Note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, "    "+fmt.Sprintf(format, args...))
}

// Name returns the choices of the schedule, as they are given to repeat it.
func (s *Schedule) Name() string {
	var made []int
	for _, d := range s.made {
		made = append(made, d.chosen)
	}
	return nameOf(made)
}
