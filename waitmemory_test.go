package plexauth_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
)

// approvable answers as plex.tv does about a PIN that is pending until approved is set. It
// remembers nothing, so that memory can be measured.
type approvable struct {
	approved                     atomic.Bool
	created, pending, done, user measure.Answer
}

func newApprovable(t *testing.T) *approvable {
	answer := func(status int, name string) measure.Answer {
		body, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		return measure.Answer{Status: status, Header: measure.JSON, Body: body}
	}
	return &approvable{
		created: answer(201, "pin-created.json"), pending: answer(200, "pin-pending.json"),
		done: answer(200, "pin-approved.json"), user: answer(200, "user.json"),
	}
}

func (a *approvable) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Path == measure.UserPath:
		return a.user.RoundTrip(r)
	case r.Method == http.MethodPost:
		return a.created.RoundTrip(r)
	case a.approved.Load():
		return a.done.RoundTrip(r)
	}
	return a.pending.RoundTrip(r)
}

// mostOfAWait bounds the heap and the stacks of a waiting login, in bytes, with its document in
// a MemoryStore.
const mostOfAWait = 6000

// G27: a waiting login takes one goroutine and 6 kB at most. G9: when all have ended, the
// process holds what it held before. The runtime keeps a descriptor of each goroutine, and the
// store the documents. There are enough of both before the same people sign in again, so that
// nothing is added then. A goroutine that must help the collector has a larger stack, so there is
// no collection while logins begin: the numbers would depend on how busy the machine is.
func TestWaitingLoginsAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		const logins, others = 2000, 5 // goroutines of the runtime come and go
		plex := newApprovable(t)
		o := measure.Options(&http.Client{Transport: plex})
		o.PollInterval = 10 * time.Second
		p, err := plexauth.New(o)
		require.NoError(t, err)
		goroutines := runtime.NumGoroutine()
		signAllIn := func() (before, during, after *runtime.MemStats) {
			before = measure.Memory()
			plex.approved.Store(false)
			for i := range logins {
				person := p.Namespace(fmt.Sprint("plex/", i))
				require.NoError(t, errOf(person.Start(t.Context(), plexauth.PinOptions{})))
				go func() { assert.NoError(t, errOf(person.Wait(t.Context()))) }()
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			during = measure.Memory()
			assert.InDelta(t, goroutines+logins, runtime.NumGoroutine(), others)
			plex.approved.Store(true)
			time.Sleep(time.Hour) // the runtime keeps a stopped timer until its time, or until there are many
			synctest.Wait()
			assert.InDelta(t, goroutines, runtime.NumGoroutine(), others)
			return before, during, measure.Memory()
		}
		before, during, _ := signAllIn()
		heap := perLogin(before.HeapAlloc, during.HeapAlloc, logins)
		stack := perLogin(before.StackInuse, during.StackInuse, logins)
		makeGoroutines(3 * logins)
		before, _, after := signAllIn()
		runtime.KeepAlive(p)
		left := perLogin(before.HeapAlloc, after.HeapAlloc, logins)
		t.Logf("each login takes %.0f bytes of heap and %.0f of stack while it waits, and leaves %.0f behind", heap, stack, left)
		assert.Less(t, heap+stack, mostOfAWait+moreWithRaceDetector, "bytes of a waiting login")
		assert.Less(t, left, 200.0, "bytes that a login leaves behind")
	})
}

// makeGoroutines lets so many goroutines begin and end, whose descriptors later ones then use.
func makeGoroutines(n int) {
	all := make(chan struct{})
	for range n {
		go func() { <-all }()
	}
	synctest.Wait()
	close(all)
	synctest.Wait()
}

func perLogin(before, after uint64, logins int) float64 {
	return (float64(after) - float64(before)) / float64(logins)
}
