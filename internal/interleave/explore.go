package interleave

import (
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bounds limits an exploration. It is deterministic: no bound is a time.
type Bounds struct {
	// Preemptions is how often an operation that could go on is left for something else,
	// in one schedule. Negative: as often as possible.
	Preemptions int
}

// Result says what an exploration has done.
type Result struct {
	Schedules int // that were run
	Pruned    int // of them, left early in a state that was seen before
	Missed    int // that could not be run, because the Go runtime draws the order of timers
}

// Failure is a schedule that has failed.
type Failure struct {
	Schedule string
	Steps    []string
	Err      error
}

// decision is a choice that a schedule has made.
type decision struct {
	chosen  int
	costs   []int // of each option
	used    int   // preemptions before
	options string
}

// explorer runs schedules depth first.
type explorer struct {
	bounds  Bounds
	visited map[uint64]int // states to the preemptions that were left
}

// tries is how often a schedule is run until it makes the choices that it should. Where
// timers of one process fire at the same moment, the Go runtime draws which one is first.
const tries = 20

// Explore calls run with one Schedule after the other until all are done, or one has failed.
// run must call [Schedule.Run] in a bubble of its own, and make the same world each time.
func Explore(b Bounds, run func(*Schedule) error) (Result, *Failure) {
	e := &explorer{b, map[uint64]int{}}
	var r Result
	var before []decision
	var prefix []int
	for again := true; again; {
		s, err := e.runSame(before, prefix, run)
		r.Schedules++
		switch {
		case errors.Is(err, errOtherOptions):
			r.Missed++
			before = slices.Clone(before[:len(prefix)])
			before[len(prefix)-1].chosen = prefix[len(prefix)-1]
		case err != nil:
			return r, &Failure{s.Name(), s.steps, err}
		default:
			before = s.made
		}
		if s.pruned {
			r.Pruned++
		}
		prefix, again = e.following(before)
	}
	return r, nil
}

// runSame runs the schedule that makes the choices of prefix between the same options as
// the one before it.
func (e *explorer) runSame(before []decision, prefix []int, run func(*Schedule) error) (s *Schedule, err error) {
	for range tries {
		s = &Schedule{explorer: e, prefix: prefix}
		if err = run(s); err != nil {
			return s, err
		}
		if err = sameChoices(before, s.made, len(prefix)); err == nil {
			for state, left := range s.states {
				e.visited[state] = left
			}
			return s, nil
		}
	}
	return s, err
}

// errOtherOptions says that a schedule cannot be repeated.
var errOtherOptions = errors.New("the schedule has other options")

// sameChoices returns an error if a schedule had other options than the one before it, where
// both made the same choices.
func sameChoices(before, now []decision, n int) error {
	for i := range n {
		if i >= len(now) || now[i].options != before[i].options {
			return errOtherOptions
		}
	}
	return nil
}

// Repeat calls run with the schedule of that name. If it does not fail, it is run some more
// times, because the Go runtime may have drawn another order of timers.
func Repeat(name string, run func(*Schedule) error) *Failure {
	prefix, err := parseName(name)
	if err != nil {
		return &Failure{name, nil, err}
	}
	var s *Schedule
	for range tries {
		s = &Schedule{prefix: prefix}
		if err = run(s); err != nil {
			break
		}
	}
	return &Failure{s.Name(), s.steps, err}
}

// following returns the choices of the next schedule.
func (e *explorer) following(made []decision) (prefix []int, ok bool) {
	for i := len(made) - 1; i >= 0; i-- {
		d := made[i]
		for c := d.chosen + 1; c < len(d.costs); c++ {
			if e.bounds.Preemptions < 0 || d.used+d.costs[c] <= e.bounds.Preemptions {
				for _, earlier := range made[:i] {
					prefix = append(prefix, earlier.chosen)
				}
				return append(prefix, c), true
			}
		}
	}
	return nil, false
}

// choose returns the option that the schedule takes now.
func (s *Schedule) choose() option {
	all := s.options()
	if len(all) == 1 || s.rounds > idleRounds {
		return all[0]
	}
	d := decision{options: describe(all)}
	for _, o := range all {
		d.costs = append(d.costs, o.cost)
	}
	if n := len(s.made); n > 0 {
		last := s.made[n-1]
		d.used = last.used + last.costs[last.chosen]
	}
	if n := len(s.made); n < len(s.prefix) {
		if d.chosen = s.prefix[n]; d.chosen >= len(all) {
			s.fail(fmt.Errorf("choice %d of the schedule is %d, but there are only %s", n, d.chosen, d.options))
			d.chosen = 0
		}
	} else if s.isKnown(d) {
		s.pruned = true
		return all[0]
	}
	s.made = append(s.made, d)
	return all[d.chosen]
}

func describe(all []option) string {
	var texts []string
	for _, o := range all {
		texts = append(texts, o.who+": "+o.what)
	}
	return strings.Join(texts, " | ")
}

// isKnown reports whether the schedule is in a state from which all was explored.
func (s *Schedule) isKnown(d decision) bool {
	if s.explorer == nil || s.State == nil {
		return false
	}
	h := fnv.New64a()
	shared := s.State()
	s.mu.Lock()
	fmt.Fprint(h, s.rename(shared), s.seen, s.dead, s.current, s.ticks, s.rounds, d.options)
	s.mu.Unlock()
	left := s.explorer.bounds.Preemptions - d.used
	before, ok := s.explorer.visited[h.Sum64()]
	if ok && (before >= left || s.explorer.bounds.Preemptions < 0) {
		return true
	}
	s.states[h.Sum64()] = left
	return false
}

// random matches values that differ from run to run: identifiers, keys, hashes and JWTs.
var random = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|[0-9a-f]{12,}|[A-Za-z0-9_-]{43}`)

// rename replaces random values by the order of their appearance. mu must be held.
func (s *Schedule) rename(text string) string {
	return random.ReplaceAllStringFunc(text, func(value string) string {
		n, ok := s.names[value]
		if !ok {
			n = len(s.names)
			s.names[value] = n
		}
		return "#" + strconv.Itoa(n)
	})
}

// nameOf returns choices as text, without the zeros at the end.
func nameOf(choices []int) string {
	for len(choices) > 1 && choices[len(choices)-1] == 0 {
		choices = choices[:len(choices)-1]
	}
	if len(choices) == 0 {
		return "0"
	}
	var parts []string
	for _, c := range choices {
		parts = append(parts, strconv.Itoa(c))
	}
	return strings.Join(parts, ".")
}

func parseName(name string) (choices []int, err error) {
	for part := range strings.SplitSeq(name, ".") {
		c, err := strconv.Atoi(part)
		if err != nil || c < 0 {
			return nil, fmt.Errorf("a schedule is numbers and dots, like 0.1.2, not %q", name)
		}
		choices = append(choices, c)
	}
	return choices, nil
}
