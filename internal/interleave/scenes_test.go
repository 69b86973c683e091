package interleave_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/interleave"
	"github.com/plexauth/plexauth/plextest"
)

// setup is the state in which operations begin.
type setup struct {
	name    string
	prepare func(w *world)
	linked  bool   // alice is signed in
	device  bool   // with a device key
	person  string // who approves the PIN that is shown, at any moment; "": no one
	two     bool   // two profiles without a login, each with a PIN that alice approves
}

var setups = []setup{
	{name: "new", prepare: func(w *world) {}, person: "alice"},
	{name: "pending", prepare: func(w *world) { w.begin("default") }, person: "alice"},
	{name: "approved", prepare: func(w *world) { w.begin("default"); w.approve(w.shown, w.alice) }},
	{name: "linked", prepare: func(w *world) { w.signIn("default", w.alice) }, linked: true, person: "alice"},
	{name: "relinking", prepare: func(w *world) { w.signIn("default", w.alice); w.begin("default") }, linked: true, person: "alice"},
	{name: "reapproved", prepare: func(w *world) {
		w.signIn("default", w.alice)
		w.begin("default")
		w.approve(w.shown, w.alice)
	}, linked: true},
	{name: "refused", prepare: func(w *world) { w.signIn("default", w.alice); w.begin("default") }, linked: true, person: "bob"},
	{name: "sibling", prepare: func(w *world) {
		w.signIn("default", w.alice)
		w.signIn("P2", w.alice)
		w.begin("default")
	}, linked: true, person: "alice"},
	{name: "two", prepare: func(w *world) { w.begin("default"); w.begin("P2") }, two: true},
	{name: "devicePending", prepare: func(w *world) { w.begin("default") }, device: true, person: "alice"},
	{name: "device", prepare: func(w *world) { w.signIn("default", w.alice) }, linked: true, device: true, person: "alice"},
	{name: "deviceDue", prepare: func(w *world) {
		w.signIn("default", w.alice)
		time.Sleep(6 * 24 * time.Hour)
		w.begin("default")
	}, linked: true, device: true, person: "alice"},
}

// scene is what is explored: operations on one profile, from one state.
type scene struct {
	setup
	operations []operation
	together   bool // in one process
	dies       bool // the first operation's process dies

	store plexauth.ConfigStore // nil: a new MemoryStore
}

// place says where the operations run.
func (c scene) place() string {
	if c.together {
		return "together"
	}
	return "apart"
}

func (c scene) name() string {
	var names []string
	for _, o := range c.operations {
		names = append(names, o.name)
	}
	if c.dies {
		names[0] += "Dies"
	}
	return c.setup.name + "/" + c.place() + "/" + strings.Join(names, "+")
}

// has reports whether an operation may have one of the effects.
func (c scene) has(effects ...effect) bool {
	return slices.ContainsFunc(c.operations, func(o operation) bool { return slices.Contains(effects, o.effect) })
}

func (c scene) hasOperation(names ...string) bool {
	return slices.ContainsFunc(c.operations, func(o operation) bool { return slices.Contains(names, o.name) })
}

// actor returns the name of the actor that carries out an operation.
func (c scene) actor(i int) string { return fmt.Sprint(c.operations[i].name, " ", i+1) }

// profile returns the profile that an operation is on.
func (c scene) profile(i int) string {
	if c.two && i == 1 {
		return "P2"
	}
	return "default"
}

// run runs one schedule, and returns what does not hold.
func (c scene) run(t *testing.T, s *interleave.Schedule) (err error) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(s, c.device)
		defer w.plex.Close()
		if c.store != nil {
			w.store.ConfigStore = c.store
		}
		w.plex.IssueToken(w.alice, foreignID)
		c.prepare(w)
		w.pin = w.pinOf("default")
		w.set(map[string]any{"server_url": "http://192.168.1.5:32400"})
		pruned, failure := s.Run(t.Context(), c.actors(w), c.events(w))
		if err = failure; err == nil && !pruned {
			err = c.check(w)
		}
	})
	return err
}

func (c scene) actors(w *world) (actors []interleave.Actor) {
	for i, o := range c.operations {
		process := i
		if c.together {
			process = 0
		}
		actors = append(actors, interleave.Actor{Name: c.actor(i), Process: process, Run: func(ctx context.Context) {
			err := o.run(ctx, w, w.process(process).Instance(c.profile(i)))
			if !w.schedule.Died(process) {
				w.returned(c.actor(i), err)
			}
		}})
	}
	return actors
}

func (c scene) events(w *world) (events []interleave.Event) {
	if c.person != "" {
		u := map[string]*plextest.User{"alice": w.alice, "bob": w.bob}[c.person]
		events = append(events, interleave.Event{Name: u.Username, Possible: func() bool { return w.shown != "" }, Do: func() { w.approve(w.shown, u) }})
	}
	if c.two {
		for _, name := range []string{"default", "P2"} {
			code := w.code(name)
			events = append(events, interleave.Event{Name: "alice, for " + name, Do: func() { w.approve(code, w.alice) }})
		}
	}
	if c.dies {
		events = append(events, interleave.Event{Name: "the end of " + c.actor(0), Possible: func() bool { return w.schedule.Lives(0) }, Do: func() { w.schedule.Kill(0) }})
	}
	return events
}

// inCI reports whether the scene is one of those that each run of the tests explores.
func (c scene) inCI() bool {
	isUsual := !c.hasOperation("LoginBob", "Adopt", "Refresh", "Member", "StaleSave")
	switch {
	case len(c.operations) > 2 || underRace && !c.together: // only one process can have a race
		return false
	case c.dies || c.together:
		return isUsual && c.setup.name == "relinking" && c.hasOperation("Finish")
	}
	switch c.setup.name {
	case "pending", "relinking":
		return isUsual
	case "refused":
		return c.hasOperation("Finish")
	case "two":
		return isUsual && c.operations[0].name == "Finish"
	case "deviceDue":
		return c.hasOperation("Refresh")
	}
	return false
}

// scenes returns all pairs of operations from all states, and some of three operations.
func scenes() (list []scene) {
	names := []string{"Start", "StartSwitch", "Finish", "Wait", "Cancel", "Disconnect", "SignOut", "Verify", "Refresh", "Adopt", "LoginBob", "Member", "StaleSave"}
	for _, s := range setups {
		for i, a := range names {
			for j, b := range names {
				pair := []operation{operations[a], operations[b]}
				if j >= i || s.two {
					list = append(list, scene{setup: s, operations: pair}, scene{setup: s, operations: pair, together: true})
				}
				if a != "Member" && a != "StaleSave" {
					list = append(list, scene{setup: s, operations: pair, dies: true})
				}
			}
		}
		for _, three := range []string{
			"Start+Start+Wait", "Start+Wait+Cancel", "Wait+Wait+SignOut", "Finish+Cancel+StartSwitch", "Wait+Disconnect+Start",
			"Wait+Adopt+Cancel", "Verify+Finish+SignOut", "Refresh+Verify+SignOut", "LoginBob+Wait+Cancel", "Finish+Member+StartSwitch",
		} {
			var operation []operation
			for name := range strings.SplitSeq(three, "+") {
				operation = append(operation, operations[name])
			}
			list = append(list, scene{setup: s, operations: operation}, scene{setup: s, operations: operation, together: true})
		}
	}
	return list
}
