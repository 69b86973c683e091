package plexauth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// errorKinds are the failures that a caller tells apart with errors.Is.
var errorKinds = []struct {
	is   error
	name string
}{
	{plexauth.ErrUnavailable, "ErrUnavailable"}, {plexauth.ErrRateLimited, "ErrRateLimited"},
	{plexauth.ErrTokenRejected, "ErrTokenRejected"}, {plexauth.ErrTokenExpired, "ErrTokenExpired"},
	{plexauth.ErrPinExpired, "ErrPinExpired"}, {plexauth.ErrPinSuperseded, "ErrPinSuperseded"}, {plexauth.ErrNoPendingPin, "ErrNoPendingPin"},
	{plexauth.ErrNotConnected, "ErrNotConnected"}, {plexauth.ErrAccountMismatch, "ErrAccountMismatch"},
	{plexauth.ErrServerChoice, "ErrServerChoice"}, {plexauth.ErrServerToken, "ErrServerToken"}, {plexauth.ErrHomePin, "ErrHomePin"},
	{plexauth.ErrStore, "ErrStore"}, {plexauth.ErrCorruptConfig, "ErrCorruptConfig"},
}

// holding is what the store holds afterwards.
type holding string

const (
	unchanged     holding = "as it was"
	pinPending    holding = "the new PIN"
	connected     holding = "the token, no PIN"
	pinGone       holding = "no PIN"
	parked        holding = "the token, parked beside the PIN"
	marked        holding = "the token, marked as rejected"
	renewed       holding = "the next JWT"
	renewedMarked holding = "the next JWT, marked as rejected"
	serverSaved   holding = "the server"
	signedOut     holding = "no token"
	accountKnown  holding = "the account of the token"
	passedOn      holding = "the other profile's token"
	keyMade       holding = "a key, for the next attempt"
	keyMarked     holding = "a key, and the token marked as rejected"
	leased        holding = "a note that it is being renewed"
)

// check compares the stored profile before and after an operation.
func (s holding) check(t *testing.T, before, after map[string]any) {
	t.Helper()
	added := func(key string) {
		t.Helper()
		assert.NotEmpty(t, after[key], key)
		delete(after, key)
		delete(before, key)
	}
	switch s {
	case pinPending:
		assert.NotContains(t, before, "_pending_pin")
		added("_pending_pin")
	case pinGone:
		assert.Contains(t, before, "_pending_pin")
		delete(before, "_pending_pin")
	case parked:
		pin, _ := after["_pending_pin"].(map[string]any)
		require.NotEmpty(t, pin["account_token"])
		assert.NotEqual(t, before["account_token"], pin["account_token"])
		delete(pin, "account_token")
		delete(pin, "replaces")
	case marked:
		added("_rejected")
	case connected, renewed, renewedMarked:
		assert.NotContains(t, after, "_pending_pin")
		assert.NotEqual(t, before["account_token"], after["account_token"])
		assert.NotEmpty(t, after["account_token"])
		assert.Equal(t, s == renewedMarked, after["_rejected"] != nil)
		if device, ok := after["_device"].(map[string]any); ok {
			assert.NotContains(t, device, "leased_until_ms")
		}
		return
	case serverSaved:
		for _, key := range []string{"server_url", "pms_token", "pms_token_server", "machine_id", "account_id", "server_url_found", "_server_account"} {
			added(key)
		}
	case accountKnown:
		added("_cloud")
		assert.NotEmpty(t, after["username"])
		delete(before, "username")
		delete(after, "username")
	case passedOn:
		checkPassedOn(t, before, after)
	case keyMade:
		added("_device")
	case keyMarked:
		added("_device")
		added("_rejected")
	case leased:
		device, _ := after["_device"].(map[string]any)
		require.NotEmpty(t, device["leased_until_ms"])
		delete(device, "leased_until_ms")
	case signedOut:
		assert.Empty(t, after["account_token"])
		assert.Equal(t, before["client_id"], after["client_id"])
		return
	}
	assert.Equal(t, before, after)
}

// checkPassedOn asserts that the other profile has another token, and leaves that out.
func checkPassedOn(t *testing.T, before, after map[string]any) {
	t.Helper()
	profile := func(doc map[string]any) map[string]any {
		instances, _ := doc["instances"].(map[string]any)
		v, _ := instances["PLEX-P01"].(map[string]any)
		return v
	}
	assert.NotEqual(t, profile(before)["account_token"], profile(after)["account_token"])
	for _, v := range []map[string]any{profile(before), profile(after)} {
		delete(v, "account_token")
		cloud, _ := v["_cloud"].(map[string]any)
		delete(cloud, "bound_to") // names that token
	}
}

// outcome is what an operation must lead to under a fault.
type outcome struct {
	is          []error // all of the kinds that the error has; none, and fails: an *Error without a kind
	fails       bool
	store       holding
	least, most int           // requests of any sort
	took        time.Duration // at least
	within      time.Duration // at most
	others      bool          // the error speaks of a later request
}

// askedWait is how long a call waits at most if plex.tv asks it to.
const askedWait = 2 * time.Second

// attempts returns how often the failing request is made.
func (o operation) attempts(f wireFault, says meaning) int {
	switch {
	case says == slowDown && (o.kind == read || o.kind == write):
		if f.pause > askedWait {
			return 1
		}
		return 2
	case says == temporary && (o.kind == read || o.kind == write && (f.unsent || f.status == 503)):
		return 4
	case o.kind == exchange && (says == temporary || f.status == 422):
		return 2
	}
	return 1
}

// byKey reports whether the login has a device key.
func (o operation) byKey() bool { return strings.HasSuffix(o.name, "device key") }

// expect derives the outcome from what the fault means and what the operation is. These
// are the rules; they do not look at what the library does.
func (o operation) expect(f wireFault) outcome {
	says := o.understands(f)
	if o.kind == poll {
		return o.polls(f, says)
	}
	n := o.attempts(f, says)
	x := o.usual(f, says, n)
	switch {
	case o.kind == look:
		x.atPIN(says)
	case o.kind == probe:
		x.atServer(o, f)
	case o.account:
		x.onToken(o, says)
	case o.kind == exchange:
		x.onExchange(f, says, n)
	}
	switch {
	case o.call == "UseDeviceKey":
		x.onMove(f, says)
	case o.byKey():
		x.onKey(o, f, says)
	}
	if o.bare { // sign-out
		x.store = signedOut // here, whatever plex.tv says
		if says == rejection || says == oldReject {
			x.is, x.fails = nil, false // dead already
		}
	}
	return x
}

// follows reports whether the request follows a redirect: a GET does, within plex.tv.
func (k requestKind) follows() bool { return k != write && k != probe && k != exchange }

// understands returns what f means to the operation.
func (o operation) understands(f wireFault) meaning {
	switch {
	case f.status == 302 && f.says == harmless && !o.kind.follows():
		return temporary
	case o.bare && (f.truth || f.Status == 200 && f.Body == ""):
		return harmless // nothing is answered anyway, and there is nothing to cut
	case o.kind == look && o.byKey() && (f.status == 422 || f.clock != 0):
		return temporary // the device JWT was refused: the next look has the right time
	case o.kind == look || o.kind == poll:
		switch f.says {
		case rejection, oldReject, lapsed, wrongPIN: // there is no token yet
			return refusal
		}
	}
	return f.says
}

// usual returns the outcome of any request that fails and is made n times.
func (o operation) usual(f wireFault, says meaning, n int) outcome {
	x := outcome{fails: says != harmless, store: unchanged, least: o.before + n}
	x.waits(o, f, says, n)
	switch {
	case says == harmless:
		x.store = o.done
		x.least += o.after
		if f.follows > 0 {
			x.least++
		}
	case f.follows > 0 && (o.kind == read || o.kind == look):
		x.least += n * f.follows
	}
	x.most = x.least
	switch {
	case says == temporary:
		x.is = []error{plexauth.ErrUnavailable}
	case says == slowDown:
		x.is = []error{plexauth.ErrRateLimited}
	case says != harmless && (o.account || strings.HasPrefix(o.name, "refresh")):
		x.is = []error{plexauth.ErrUnavailable} // plex.tv refuses, but not because of the token
	}
	return x
}

// waits computes the time: ten seconds for an attempt, and the pauses between
// attempts.
func (x *outcome) waits(o operation, f wireFault, says meaning, n int) {
	limit := 10 * time.Second
	if o.kind == probe {
		limit = 4 * time.Second
	}
	if f.slow && says != harmless {
		x.took = time.Duration(n) * limit
	}
	x.within = x.took
	for i := 1; i < n && o.kind != exchange; i++ {
		if says == slowDown {
			x.took, x.within = x.took+askedWait, x.within+askedWait
			continue
		}
		pause := time.Second << i / 4
		x.took, x.within = x.took+pause, x.within+pause+250*time.Millisecond
	}
	if o.total > 0 && x.took > o.total {
		x.took, x.within = o.total, o.total
		x.least--
	}
}

// atPIN sets the outcome of one look.
func (x *outcome) atPIN(says meaning) {
	switch says {
	case temporary, slowDown, harmless:
	case noSuchPIN:
		x.is, x.store = []error{plexauth.ErrPinExpired}, pinGone
	default:
		x.is, x.store = nil, pinGone // refused for good
	}
}

// atServer sets the outcome of a request to a media server.
func (x *outcome) atServer(o operation, f wireFault) {
	if x.fails {
		x.is = []error{plexauth.ErrUnavailable}
	}
	if o.token && f.says == rejection { // a proxy's page does not count
		x.is = []error{plexauth.ErrServerToken}
	}
}

// onExchange sets the outcome of an exchange that is made n times.
func (x *outcome) onExchange(f wireFault, says meaning, n int) {
	switch {
	case f.status == 302 && f.says == harmless: // once: the next nonce succeeds
		*x = outcome{store: renewed, least: 5, most: 5}
	case n == 2:
		x.least, x.most = x.least+1, x.most+1 // the second nonce
	case says == rejection: // the device was removed
		x.is, x.store = []error{plexauth.ErrTokenRejected}, marked
	}
}

// onToken sets the outcome of a request with the account's token.
func (x *outcome) onToken(o operation, says meaning) {
	fresh := o.name == "check, linked already" // the token is in hand, and not yet the profile's
	switch says {
	case rejection, oldReject:
		x.is, x.store = []error{plexauth.ErrTokenRejected}, marked
		if fresh {
			x.store = pinGone
		}
		return
	case lapsed:
		x.is = []error{plexauth.ErrTokenExpired}
	case wrongPIN:
		if o.name == "switch" {
			x.is = []error{plexauth.ErrHomePin}
		}
	}
	if fresh && x.fails {
		x.store = parked
	}
}

// onKey sets the outcome with a device key, which gets another token that does not
// help here.
func (x *outcome) onKey(o operation, f wireFault, says meaning) {
	switch {
	case !o.account:
		if o.kind == write && f.status == 422 { // another device may have the key: it is tried once more with a new one
			x.least, x.most = 2, 2
		}
		return
	case o.bare && says != lapsed: // a dead token need not be revoked
		return
	case says == rejection || says == oldReject:
		x.store = renewedMarked
	case says == lapsed:
		x.store = renewed
	default:
		return
	}
	x.least, x.most = 4, 4
}

// onMove sets the outcome of registering a key. After 422, which means that the key is
// known, the exchange is tried twice, and then once more with a new key.
func (x *outcome) onMove(f wireFault, says meaning) {
	switch {
	case says == rejection || says == oldReject:
		x.store = keyMarked
		return
	case f.status == 422:
		x.least, x.most, x.others = 11, 11, true
	case f.Status == 200 && f.Body == "": // as good as an answer: the exchange decides
		x.least, x.most, x.others = 6, 6, true
	case f.Drip > 0: // the answer has three bytes
		*x = outcome{store: renewed, least: 4, most: 4, took: 3 * f.Drip, within: 3 * f.Drip}
	}
	if x.fails {
		x.store = keyMade
	}
}

// polls returns the outcome of a Wait. It simulates the pace with no jitter and with
// the most.
func (o operation) polls(f wireFault, says meaning) outcome {
	toTheEnd := o.hits.For == 0
	x := outcome{store: o.done}
	switch {
	case says != temporary && says != slowDown && says != harmless: // the first look ends it
		x = outcome{fails: true, store: pinGone, least: 1, most: 1, took: time.Second, within: 1100 * time.Millisecond}
		if says == noSuchPIN {
			x.is = []error{plexauth.ErrPinExpired}
		}
		return x
	case toTheEnd:
		x.fails, x.is = true, []error{plexauth.ErrPinExpired}
		if says == temporary {
			x.is = append(x.is, plexauth.ErrUnavailable)
		} else if says == slowDown {
			x.is = append(x.is, plexauth.ErrRateLimited)
		}
	}
	last := o.pace(&x, f, says, 0)
	var fewest outcome
	last = max(last, o.pace(&fewest, f, says, 0.05))
	x.least, x.within = fewest.least, max(x.within, fewest.within)+1100*time.Millisecond
	if !toTheEnd && says != harmless { // when the outage ends is not when a look is due
		if f.slow { // the look that is under way then
			last += 30 * time.Second
		}
		x.took, x.within = outage, min(outage+last, pinLife+1100*time.Millisecond)
	}
	return x
}

// longestGap is the longest pause between two looks, whatever Retry-After says.
const longestGap = 30 * time.Second

// pace simulates the looks of a Wait with some jitter. It returns the length of the
// last pause and the look after it.
func (o operation) pace(x *outcome, f wireFault, says meaning, jitter float64) (last time.Duration) {
	gap, at, limit := time.Second, time.Duration(0), 10*time.Second
	x.least, x.most = 0, 0
	for {
		last = min(time.Duration(float64(gap)*1.05), longestGap)
		at += min(time.Duration(float64(gap)*(1+jitter)), longestGap)
		if at > pinLife-time.Second {
			at = pinLife
		}
		final, bad := at == pinLife, says != harmless && (o.hits.For == 0 || at < o.hits.For)
		x.most++
		if bad {
			x.most += f.follows
		}
		if bad && f.slow {
			at += limit
			last += limit
			limit = min(limit+10*time.Second, 30*time.Second)
			if !final {
				at = min(at, pinLife)
			}
		}
		if !bad && o.hits.For > 0 && at >= o.hits.For/2 { // approved by now
			x.most += o.after
			final = true
		}
		gap = f.widens(gap, says, bad)
		if final {
			if says == harmless && f.follows > 0 {
				x.most++
			}
			x.least, x.took, x.within = x.most, at, at
			return last
		}
	}
}

// widens returns the pause between two looks after one that was bad or good.
func (f wireFault) widens(gap time.Duration, says meaning, bad bool) time.Duration {
	switch {
	case says == slowDown:
		return min(max(gap+5*time.Second, f.pause), longestGap)
	case bad:
		return min(2*gap, 10*time.Second)
	}
	return gap
}

// expect derives the outcome of a save.
func (s saving) expect(f storeFault) outcome {
	x := outcome{store: s.done, least: s.asked + s.after, most: s.asked + s.after}
	if s.also != nil {
		x.fails, x.is = true, []error{s.also}
	}
	switch {
	case f.good:
		x.took = f.slow * time.Duration(1+s.rested)
		x.within = x.took
		return x
	case f.wrote && s.call == "SignOut": // what is gone can be revoked only now
		return x
	case f.once && s.held > 0: // again, after a moment
		x.took, x.within = 100*time.Millisecond, 100*time.Millisecond
		return x
	}
	x = outcome{fails: true, is: append(x.is, plexauth.ErrStore), store: unchanged, least: s.asked, most: s.asked}
	if errors.Is(f.err, plexauth.ErrCorruptConfig) {
		x.is = append(x.is, plexauth.ErrCorruptConfig)
	}
	switch {
	case f.wrote:
		x.store = s.done
		if s.name == "the note that a JWT is being renewed" {
			x.store = leased
		}
	case s.name == "the next JWT":
		x.store, x.within = leased, time.Second // for giving the lease back, which fails
	case s.name == "the token, once its account is known":
		x.store = parked
	}
	switch {
	case s.held > 0:
		x.took, x.within = s.held, s.held+x.within
	case f.hangs: // the store has a limit of its own, whatever the caller's patience
		x.took, x.within = 30*time.Second, 30*time.Second
	}
	return x
}
