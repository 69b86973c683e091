package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/plextest"
)

func init() { children["load"] = func(args []string) error { return load(args[0]) } }

// loadTask says what the child does. The child is a process of its own, so that its
// memory can be measured.
type loadTask struct {
	Logins   int
	Interval time.Duration // between two looks of a login
	URL      string        // of the fake plex.tv; if empty, the child has one in process
	CA       []byte        // of its certificate
}

// loadReport is what the child has measured.
type loadReport struct {
	InUse      float64       // bytes of heap and stacks per login, after a collection
	Resident   float64       // bytes per login, as the operating system sees it
	Goroutines float64       // per login
	UnderWay   float64       // requests under way per login
	Pace       float64       // looks per second and login
	Closest    time.Duration // the shortest time between two looks at one PIN
	Finished   time.Duration // from the approval of all to the end of the last
	Leaks      string        // goroutines left behind
}

const (
	// looksEach is how often each login must have asked about its PIN.
	looksEach = 2
	// looksWithin is far more time than that takes on a busy machine.
	looksWithin = 5 * time.Minute
	// shortestWindow bounds the time over which the child measures itself.
	shortestWindow = 5 * time.Second
	// goroutinesPerRequest bounds those that net/http and plextest start for a request.
	goroutinesPerRequest = 2
)

// looks notes each look at a PIN when it leaves.
type looks struct {
	base     http.RoundTripper
	underWay atomic.Int64 // requests

	mu      sync.Mutex
	pins    map[string]pinLooks
	total   int
	closest time.Duration
	longest time.Duration // between two looks at one PIN
}

// pinLooks is what was noted about one PIN.
type pinLooks struct {
	last  time.Time
	count int
}

func (l *looks) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/v2/pins/") {
		l.note(r.URL.Path)
	}
	l.underWay.Add(1)
	defer l.underWay.Add(-1)
	return l.base.RoundTrip(r)
}

func (l *looks) note(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, pin := time.Now(), l.pins[path]
	if pin.count > 0 {
		l.closest = min(l.closest, now.Sub(pin.last))
		l.longest = max(l.longest, now.Sub(pin.last))
	}
	l.pins[path] = pinLooks{now, pin.count + 1}
	l.total++
}

func (l *looks) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// longestGap returns the longest time between two looks at one PIN.
func (l *looks) longestGap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.longest
}

// pinsWith counts the PINs that were looked at n times or more.
func (l *looks) pinsWith(n int) (pins int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pin := range l.pins {
		if pin.count >= n {
			pins++
		}
	}
	return pins
}

func load(arg string) error {
	var t loadTask
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	before := goleak.IgnoreCurrent()
	fake := plextest.NewServer()
	alice := fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	l := &looks{base: fake.Client().Transport, pins: make(map[string]pinLooks, t.Logins), closest: time.Hour}
	if t.URL != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(t.CA)
		l.base = &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	o := plexauth.Options{Product: "My App", BaseURL: t.URL, HTTPClient: &http.Client{Transport: l}, PollInterval: t.Interval}
	first, err := plexauth.New(o)
	if err != nil {
		return err
	}
	if _, err := first.Start(context.Background(), plexauth.PinOptions{}); err != nil { // opens the connection
		return err
	}

	idle := measureProcess(l)
	logins, codes, err := startLogins(o, t.Logins)
	if err != nil {
		return err
	}
	ended := waitForAll(logins, t.Interval)
	if err := allLookedAt(l, t.Logins, ended); err != nil {
		return err
	}
	r := measureLogins(l, idle, float64(t.Logins), max(t.Interval, shortestWindow))

	if t.URL == "" {
		for _, code := range codes {
			if err := fake.Approve(code, alice); err != nil {
				return err
			}
		}
	} else { // the parent approves
		fmt.Println("pending")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
	}
	approved := time.Now()
	for range t.Logins {
		if err := <-ended; err != nil {
			return err
		}
	}
	r.Finished = time.Since(approved)
	r.Closest = l.closest
	fake.Close()
	if c, ok := l.base.(*http.Transport); ok {
		c.CloseIdleConnections()
	}
	if err := goleak.Find(before); err != nil {
		r.Leaks = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// startLogins starts n logins and returns them with their codes. Each has a client and a
// store of its own, as another person's login has.
func startLogins(o plexauth.Options, n int) (logins []*plexauth.PlexAuth, codes []string, err error) {
	for range n {
		p, err := plexauth.New(o)
		if err != nil {
			return nil, nil, err
		}
		pin, err := p.Start(context.Background(), plexauth.PinOptions{})
		if err != nil {
			return nil, nil, err
		}
		logins, codes = append(logins, p), append(codes, pin.Code)
	}
	return logins, codes, nil
}

// waitForAll lets all logins wait, and returns how they end. They begin within an interval,
// because people do not come all at once.
func waitForAll(logins []*plexauth.PlexAuth, interval time.Duration) <-chan error {
	ended := make(chan error, len(logins))
	for i, p := range logins {
		go func() {
			s, err := p.Wait(context.Background())
			if err == nil && s.Connected && s.User == "" { // a busy machine did not learn the account in time
				s, err = p.Verify(context.Background())
			}
			if err == nil && (!s.Connected || s.User != "alice") {
				err = fmt.Errorf("a login ended as %+v", s)
			}
			ended <- err
		}()
		if i%100 == 99 {
			time.Sleep(interval * 100 / time.Duration(len(logins)))
		}
	}
	return ended
}

// allLookedAt waits until each login has asked about its PIN looksEach times.
func allLookedAt(l *looks, logins int, ended <-chan error) error {
	for end := time.Now().Add(looksWithin); l.pinsWith(looksEach) < logins; time.Sleep(100 * time.Millisecond) {
		if len(ended) > 0 {
			return fmt.Errorf("a login ended before its approval: %w", <-ended)
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v only %d of %d logins have asked about their PIN %d times", looksWithin, l.pinsWith(looksEach), logins, looksEach)
		}
	}
	return nil
}

// usage is what the process takes at one moment.
type usage struct {
	inUse, resident, goroutines, underWay float64
}

// measureProcess measures the process after a collection.
func measureProcess(l *looks) usage {
	debug.FreeOSMemory()
	return usage{float64(measure.InUse()), float64(measure.Resident()), float64(runtime.NumGoroutine()), float64(l.underWay.Load())}
}

// measureLogins measures what the process takes more than idle for each of n logins.
func measureLogins(l *looks, idle usage, n float64, window time.Duration) (r loadReport) {
	var resident, goroutines, underWay []float64
	before, start := l.count(), time.Now()
	for time.Since(start) < window {
		time.Sleep(100 * time.Millisecond)
		resident = append(resident, float64(measure.Resident()))
		goroutines = append(goroutines, float64(runtime.NumGoroutine()))
		underWay = append(underWay, float64(l.underWay.Load()))
	}
	r.Pace = float64(l.count()-before) / time.Since(start).Seconds() / n
	r.Resident = (measure.Median(resident) - idle.resident) / n
	r.Goroutines = (measure.Median(goroutines) - idle.goroutines) / n
	r.UnderWay = measure.Median(underWay) / n
	inUse := math.Inf(1)
	for range 3 { // requests under way come and go
		inUse = min(inUse, float64(measure.InUse()))
	}
	r.InUse = (inUse - idle.inUse) / n
	return r
}

// TestPendingLogins has ten thousand of them in one process. On a busy machine fewer share one
// connection.
// G6: each is asked about again and again, and none more than once per interval. G9: none
// leaves anything.
func TestPendingLogins(t *testing.T) {
	logins := 10_000
	if testing.Short() || raceDetector {
		logins = 500
	}
	pace := 1.0
	t.Run("in process", func(t *testing.T) { // the fake's memory counts, its journal above all
		task := loadTask{Logins: logins, Interval: time.Second}
		out, err := child(t, "load", encode(t, task)).Output()
		require.NoError(t, err)
		pace = checkLoad(t, task, out)
	})
	t.Run("over one HTTP/2 connection", func(t *testing.T) {
		fake := plextest.NewServer()
		defer fake.Close()
		alice := fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
		url, connections, stop, err := measure.ServeHTTP2(fake.Handler(), fake)
		require.NoError(t, err)
		defer stop()
		// At a look per second the requests alone would take all of a small machine. On one that
		// is too busy, requests take longer than their limit, and the connection breaks.
		interval := time.Duration(10 / max(pace, 0.25) * float64(time.Second)).Round(time.Second)
		most := int(float64(logins) * min(1, 2*pace))
		task := loadTask{Logins: most, Interval: interval, URL: url, CA: fake.CACertificate()}
		cmd := child(t, "load", encode(t, task))
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		pipe, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		out := bufio.NewReader(pipe)
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "pending\n", line)
		for _, code := range fake.PendingCodes() {
			require.NoError(t, fake.Approve(code, alice))
		}
		_, err = fmt.Fprintln(in)
		require.NoError(t, err)
		line, err = out.ReadString('\n')
		require.NoError(t, err)
		require.NoError(t, cmd.Wait())
		checkLoad(t, task, []byte(line))
		assert.EqualValues(t, 1, connections.Load(), "connections")
		for _, v := range fake.Violations() {
			// On a busy machine requests that left a second apart can arrive
			// closer: checkLoad has seen them leave.
			if !strings.Contains(v, "more than once a second") {
				t.Error("what a client must never do:", v)
			}
		}
	})
}

// checkLoad checks what holds on a busy machine too. How soon a look follows the one
// before is up to the machine here; TestPolitePace proves it with a fake clock. It returns the
// looks per second and login.
func checkLoad(t *testing.T, task loadTask, out []byte) (pace float64) {
	t.Helper()
	var r loadReport
	require.NoError(t, json.Unmarshal(out, &r), string(out))
	t.Logf("per login: %.1f kB in use, %.1f kB resident, %.2f goroutines, %.2f requests under way, %.2f looks a second, none closer than %v; all ended %v after their approval",
		r.InUse/1000, r.Resident/1000, r.Goroutines, r.UnderWay, r.Pace, r.Closest, r.Finished.Round(time.Millisecond))
	assert.GreaterOrEqual(t, r.Closest, task.Interval, "between two looks at one PIN")
	assert.Empty(t, r.Leaks, "goroutines left behind")
	assert.Less(t, r.Goroutines, 1.5+goroutinesPerRequest*r.UnderWay, "goroutines per login")
	if raceDetector {
		return r.Pace // it takes memory of its own
	}
	// Two or three times what an idle machine shows. On a busy one many requests are
	// under way at once, each with buffers and stacks.
	assert.Less(t, r.InUse, 40_000.0, "bytes in use per login")
	assert.Less(t, r.Resident, 60_000.0, "bytes resident per login")
	return r.Pace
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}
