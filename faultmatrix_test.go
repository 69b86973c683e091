package plexauth_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
)

// G5, G6, G8, G9, G10, G11, G12, G13, G14, G24: every operation meets every fault. The
// results are in docs/faults.md.
func TestFaultMatrix(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			for _, f := range wireFaults {
				t.Run(f.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { o.meets(t, f) }) })
			}
		})
	}
	golden(t, "../docs/faults.md", faultsDocument())
}

// meets tests one operation under one fault.
func (o operation) meets(t *testing.T, f wireFault) {
	x := o.expect(f)
	w, run := o.begin(t)
	w.replicas = f.follows > 0 // a look that is redirected makes two requests
	c := canary.New()
	c.Learn([]byte(w.doc(t)))
	before := w.stored(t)
	asked := len(w.plex.Requests())
	f.strike(w, o.hits)

	began := time.Now()
	_, err := run()
	took := time.Since(began)

	x.checkError(t, f, err)
	requests := len(w.plex.Requests()) - asked
	assert.GreaterOrEqual(t, requests, x.least, "requests")
	assert.LessOrEqual(t, requests, x.most, "requests")
	assert.GreaterOrEqual(t, took, x.took, "time")
	assert.LessOrEqual(t, took, x.within, "time")
	x.store.check(t, before, w.stored(t))
	w.assertHidden(t, c, err)

	if !x.fails {
		return
	}
	// The failure is over, and so is the half minute for which a 429 slows all callers.
	// Nothing was lost, and plex.tv is not asked again if it has said no.
	w.plex.ResetFaults()
	time.Sleep(31 * time.Second)
	asked, began = len(w.plex.Requests()), time.Now()
	_, err = run()
	took, requests = time.Since(began), len(w.plex.Requests())-asked
	assert.LessOrEqual(t, took, 30*time.Second, "no call waits for long")
	switch {
	case x.store == marked || x.store == renewedMarked || x.store == keyMarked:
		assert.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.Zero(t, requests, "plex.tv is left alone")
	case x.store == pinGone && o.kind == poll:
		assert.ErrorIs(t, err, plexauth.ErrNoPendingPin)
		assert.Zero(t, requests)
	case x.store == pinGone, x.store == signedOut:
		assert.NoError(t, err)
		assert.Zero(t, requests)
	default:
		assert.NoError(t, err)
		enough := o.before + 1 + o.after
		if x.others {
			enough += 3 // a login that has a key already is renewed first
		}
		assert.LessOrEqual(t, requests, enough)
		assert.NotContains(t, w.stored(t), "_rejected")
	}
}

// checkError asserts that err has the expected kinds and the facts of the answer.
func (x outcome) checkError(t *testing.T, f wireFault, err error) {
	t.Helper()
	if !x.fails {
		require.NoError(t, err)
		return
	}
	require.Error(t, err)
	for _, k := range errorKinds {
		assert.Equal(t, slices.Contains(x.is, k.is), errors.Is(err, k.is), "%s: %v", k.name, err)
	}
	if slices.Contains(x.is, plexauth.ErrHomePin) || len(x.is) == 1 && x.is[0] == plexauth.ErrPinExpired && f.code != 1020 {
		return // there is no *Error in it
	}
	var e *plexauth.Error
	require.ErrorAs(t, err, &e)
	if f.clock == 0 && !x.others {
		assert.Equal(t, f.status, e.StatusCode, err)
		assert.Equal(t, f.code, e.Code, err)
	}
	if f.isMatched != nil {
		assert.True(t, f.isMatched(err), "cause of %v", err)
	}
	assert.NotEmpty(t, e.Op)
	for line := range strings.Lines(err.Error()) {
		assert.Equal(t, 0, strings.LastIndex(line, "plexauth: "), "one prefix a line: %v", err)
	}
}

// G8, G9, G11, G13: every operation that saves meets every fault of a store at that
// moment.
func TestStoreFaults(t *testing.T) {
	for _, s := range savings {
		t.Run(s.name, func(t *testing.T) {
			for _, f := range storeFaults {
				t.Run(f.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { s.meets(t, f) }) })
			}
		})
	}
}

func (s saving) meets(t *testing.T, f storeFault) {
	x := s.expect(f)
	w, run := s.begin(t)
	c := canary.New()
	c.Learn([]byte(w.doc(t)))
	before := w.stored(t)
	asked := len(w.plex.Requests())
	store := &failing{ConfigStore: w.store}
	p := w.open(t, withStore(store))
	store.fault = &f
	store.good.Store(s.good)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	v, err := run(ctx, p)
	took := time.Since(began)
	require.NotZero(t, store.failed.Load(), "the moment was met")

	x.checkSave(t, f, err)
	if s.given {
		token, _ := v.(plexauth.Token)
		assert.False(t, token.IsZero())
	}
	requests := len(w.plex.Requests()) - asked
	assert.GreaterOrEqual(t, requests, x.least, "requests")
	assert.LessOrEqual(t, requests, x.most, "requests")
	assert.GreaterOrEqual(t, took, x.took, "time")
	assert.LessOrEqual(t, took, x.within, "time")
	x.store.check(t, before, w.stored(t))
	w.assertHidden(t, c, err)

	if !x.fails || f.wrote || f.good {
		return
	}
	store.fault = nil
	time.Sleep(leaseOver)
	before = w.stored(t)
	_, err = run(t.Context(), p)
	if s.also != nil {
		require.ErrorIs(t, err, s.also)
	} else {
		require.NoError(t, err, "nothing was lost")
	}
	s.done.check(t, before, w.stored(t))
}

// checkSave asserts that err has the expected kinds and cause.
func (x outcome) checkSave(t *testing.T, f storeFault, err error) {
	t.Helper()
	if !x.fails {
		require.NoError(t, err)
		return
	}
	require.Error(t, err)
	for _, k := range errorKinds {
		want := false
		for _, is := range x.is {
			want = want || k.is == is
		}
		assert.Equal(t, want, errors.Is(err, k.is), "%s: %v", k.name, err)
	}
	for _, is := range append(x.is, f.err) {
		assert.True(t, is == nil || errors.Is(err, is), "%v in %v", is, err)
	}
	assert.True(t, strings.HasPrefix(err.Error(), "plexauth: "), err)
}
