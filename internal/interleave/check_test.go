package interleave_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plexauth/plexauth"
)

// check returns what is wrong at the end of a schedule, nil if nothing is.
func (c scene) check(w *world) error {
	for name, err := range w.results {
		if !isKnownEnd(err) && !isUnasked(err) && !(w.schedule.WasSlow() && errors.Is(err, plexauth.ErrUnavailable)) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	w.resume()
	for _, v := range w.plex.Violations() {
		// Two processes do not know of each other's polls, nor of a rejection that the
		// other one has just heard of.
		if c.together || !strings.Contains(v, "a PIN is polled") && !strings.Contains(v, "is used again") {
			return errors.New("what a client must never do: " + v)
		}
	}
	w.schedule.Note("the document: %s", w.doc())
	for name, p := range w.stored() {
		if err := c.checkProfile(w, p); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, check := range []func(*world) error{c.checkDocument, c.checkLogin, c.checkEnd, c.checkApprovals} {
		if err := check(w); err != nil {
			return err
		}
	}
	return nil
}

// checkProfile returns what is wrong with a profile's token.
func (c scene) checkProfile(w *world, p profile) error {
	owner, madeUnder := w.owner(p.Token)
	id := p.ClientID
	if strings.HasPrefix(p.Token, "eyJ") {
		id = p.Device.ClientID
	}
	switch {
	case p.Token != "" && owner == nil && p.Rejected == "":
		return errors.New("there is a token that is not valid, and that is not known")
	case owner != nil && p.Cloud.ID != owner.ID:
		return fmt.Errorf("the token of %s is stored as that of account %d", owner.Username, p.Cloud.ID)
	case owner != nil && id != "" && id != madeUnder:
		return errors.New("a token is stored with another client identifier than its own")
	case owner == w.bob && c.linked && !c.hasOperation("LoginBob", "StartSwitch") && !c.has(ends, forgets):
		return errors.New("the token of another account is there")
	}
	return nil
}

// checkDocument returns what is wrong with the document as a whole.
func (c scene) checkDocument(w *world) error {
	p := w.stored()["default"]
	switch {
	case len(w.ids) > 1 && !c.hasOperation("Adopt"):
		return fmt.Errorf("the document has had %d client identifiers", len(w.ids))
	case p.ServerURL == "" || c.hasOperation("Member", "StaleSave") && p.Foreign != 1 && !c.dies:
		return errors.New("a member of another program is lost")
	}
	return nil
}

// checkLogin returns whether a login is lost that no operation has ended.
func (c scene) checkLogin(w *world) error {
	if !c.linked || c.has(ends, forgets, restores) {
		return nil
	}
	for name, p := range w.stored() {
		if owner, _ := w.owner(p.Token); owner == nil && !slices.ContainsFunc(w.approvals, w.mayBeLost(c)) {
			return fmt.Errorf("%s: the login is lost: there is no valid token", name)
		}
	}
	return nil
}

// checkEnd returns whether a login is there that was ended.
func (c scene) checkEnd(w *world) error {
	if c.two || c.has(begins, replaces, restores) {
		return nil
	}
	for i, o := range c.operations {
		if err, returned := w.results[c.actor(i)]; !returned || err != nil || o.effect != ends && o.effect != forgets {
			continue
		}
		if p := w.stored()["default"]; p.Token != "" || p.Pending != nil {
			return errors.New("a login that was ended is there again")
		}
		if o.effect == ends && !w.schedule.Died(0) && !c.has(forgets) {
			return w.checkRevoked()
		}
	}
	return nil
}

// checkRevoked returns whether a token is valid that the document has had. A JWT ends by
// itself, and its device is removed.
func (w *world) checkRevoked() error {
	for _, t := range w.had {
		if u, id := w.owner(t); u != nil && id != foreignID && !strings.HasPrefix(t, "eyJ") {
			return fmt.Errorf("a token of %s is valid after SignOut", u.Username)
		}
	}
	return nil
}

// checkApprovals returns which approval is lost.
func (c scene) checkApprovals(w *world) error {
	if c.has(restores) {
		return nil
	}
	mayBeLost := w.mayBeLost(c)
	for _, a := range w.approvals {
		if u, _ := w.owner(a.token); u != nil && !w.holds(a.token) && !mayBeLost(a) {
			return fmt.Errorf("a token of %s is valid at plex.tv, and no document has it", u.Username)
		}
	}
	if len(w.approvals) == 0 || c.has(cancels, replaces, ends, forgets) {
		return nil
	}
	last := w.approvals[len(w.approvals)-1]
	if c.linked && last.user == w.bob || mayBeLost(last) {
		return nil
	}
	if owner, id := w.owner(w.stored()[last.profile].Token); owner != last.user || id != last.clientID {
		return fmt.Errorf("the approval of %s is lost", last.user.Username)
	}
	return nil
}

// givesUp are the effects of operations that may give up a pending login.
var givesUp = []effect{begins, replaces, cancels, ends}

// besideAnotherPIN reports whether another profile has a pending PIN in all orders.
func (c scene) besideAnotherPIN() bool {
	n := 0
	for _, o := range c.operations {
		if slices.Contains([]effect{cancels, replaces, ends, forgets}, o.effect) {
			n++
		}
	}
	return c.two && len(c.operations) == 2 && n < 2
}

// mayBeLost returns whether docs/guarantees.md lets an approval be lost.
func (w *world) mayBeLost(c scene) func(a *approval) bool {
	return func(a *approval) bool {
		wasHad := slices.Contains(w.had, a.token)
		switch {
		case !a.inTime: // its PIN had been given up
			return true
		case c.has(forgets): // makes no request
			return true
		case c.has(cancels, replaces) && (c.device || !c.linked && !c.besideAnotherPIN()): // ends no older token
			return true
		case wasHad && c.has(replaces): // the token that is replaced stays valid
			return true
		case wasHad && w.schedule.Died(0): // before it could revoke what it had removed
			return true
		}
		return w.gaveUp(c, a)
	}
}

// gaveUp reports whether an operation has given up the PIN of an approval after its last
// poll, or could not poll it in time.
func (w *world) gaveUp(c scene, a *approval) bool {
	for i, o := range c.operations {
		switch {
		case c.profile(i) != a.profile:
		case isUnasked(w.results[c.actor(i)]):
			return true
		case slices.Contains(givesUp, o.effect) && slices.Contains(a.polled, poll{c.actor(i), a.id}):
			return true
		case slices.Contains(givesUp, o.effect) && c.together && w.schedule.WasSlow(): // it may have had no answer in time
			return true
		case o.effect == ends && a.id != w.pin: // of a login that began during a SignOut
			return true
		}
	}
	return false
}
