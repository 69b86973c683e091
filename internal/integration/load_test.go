package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
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

// loadTask is what the child is to do. It has a process of its own, so that
// its memory is.
type loadTask struct {
	Logins int
	URL    string // of the fake plex.tv; empty: the child has one, in process
	CA     []byte // of its certificate
}

// loadReport is what came out.
type loadReport struct {
	InUse      float64       // bytes a login of heap and stacks, after a collection
	Resident   float64       // bytes a login, as the operating system sees it
	Goroutines float64       // a login
	Pace       float64       // looks a second and login
	Closest    time.Duration // the least time between two looks at one PIN
	Finished   time.Duration // from the approval of all to the end of the last
	Leaks      string        // goroutines left behind
}

// pace notes when looks leave.
type pace struct {
	base http.RoundTripper

	mu      sync.Mutex
	last    map[string]time.Time
	looks   int
	closest time.Duration
}

func (p *pace) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/v2/pins/") {
		p.note(r.URL.Path)
	}
	return p.base.RoundTrip(r)
}

func (p *pace) note(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if before, ok := p.last[path]; ok {
		p.closest = min(p.closest, now.Sub(before))
	}
	p.last[path] = now
	p.looks++
}

func (p *pace) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.looks
}

func load(arg string) error {
	var t loadTask
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	before := goleak.IgnoreCurrent()
	o := plexauth.Options{Product: "My App", BaseURL: t.URL}
	p := &pace{last: make(map[string]time.Time, t.Logins), closest: time.Hour}
	fake := plextest.NewServer()
	alice := fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	p.base = fake.Client().Transport
	if t.URL != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(t.CA)
		p.base = &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	o.HTTPClient = &http.Client{Transport: p}
	warm, err := plexauth.New(o)
	if err != nil {
		return err
	}
	if _, err := warm.Start(context.Background(), plexauth.PinOptions{}); err != nil { // opens the connection
		return err
	}

	debug.FreeOSMemory()
	inUse, resident, goroutines := measure.InUse(), measure.Resident(), runtime.NumGoroutine()
	all := make([]*plexauth.PlexAuth, t.Logins)
	codes := make([]string, t.Logins)
	for i := range all {
		if all[i], err = plexauth.New(o); err != nil { // with a store of its own, as another person's login has
			return err
		}
		pin, err := all[i].Start(context.Background(), plexauth.PinOptions{})
		if err != nil {
			return err
		}
		codes[i] = pin.Code
	}
	ended := make(chan error, t.Logins)
	for i, a := range all {
		go func() {
			s, err := a.Wait(context.Background())
			if err == nil && (!s.Connected || s.User != "alice") {
				err = fmt.Errorf("a login ended as %+v", s)
			}
			ended <- err
		}()
		if i%100 == 99 { // within two seconds: people do not come all at once
			time.Sleep(20 * time.Millisecond)
		}
	}
	for p.count() < 2*t.Logins {
		if len(ended) > 0 {
			return fmt.Errorf("a login ended early: %w", <-ended)
		}
		time.Sleep(100 * time.Millisecond)
	}
	var r loadReport
	var rss, alive []float64
	looks, start := p.count(), time.Now()
	for time.Since(start) < 5*time.Second {
		time.Sleep(100 * time.Millisecond)
		rss = append(rss, float64(measure.Resident()))
		alive = append(alive, float64(runtime.NumGoroutine()))
	}
	n := float64(t.Logins)
	r.Pace = float64(p.count()-looks) / time.Since(start).Seconds() / n
	r.InUse = float64(measure.InUse()-inUse) / n
	r.Resident = (measure.Median(rss) - float64(resident)) / n
	r.Goroutines = (measure.Median(alive) - float64(goroutines)) / n

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
	r.Closest = p.closest
	fake.Close()
	if c, ok := p.base.(*http.Transport); ok {
		c.CloseIdleConnections()
	}
	if err := goleak.Find(before); err != nil {
		r.Leaks = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// TestPendingLogins has ten thousand of them in one process.
// G6: none is asked about more than once a second. G9: none leaves anything.
func TestPendingLogins(t *testing.T) {
	logins := 10_000
	if testing.Short() || raceDetector {
		logins = 500
	}
	t.Run("in process", func(t *testing.T) { // the fake's memory counts, its journal above all
		out, err := child(t, "load", encode(t, loadTask{Logins: logins})).Output()
		require.NoError(t, err)
		checkLoad(t, out)
	})
	t.Run("over one HTTP/2 connection", func(t *testing.T) {
		fake := plextest.NewServer()
		defer fake.Close()
		alice := fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
		url, connections, stop, err := measure.ServeHTTP2(fake.Handler(), fake)
		require.NoError(t, err)
		defer stop()
		cmd := child(t, "load", encode(t, loadTask{Logins: logins, URL: url, CA: fake.CACertificate()}))
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
		checkLoad(t, []byte(line))
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

func checkLoad(t *testing.T, out []byte) {
	var r loadReport
	require.NoError(t, json.Unmarshal(out, &r), string(out))
	t.Logf("a login: %.1f kB in use, %.1f kB resident, %.2f goroutines, %.2f looks a second, none closer than %v; all ended %v after their approval",
		r.InUse/1000, r.Resident/1000, r.Goroutines, r.Pace, r.Closest, r.Finished.Round(time.Millisecond))
	assert.LessOrEqual(t, r.Pace, 1.0, "looks a second and login")
	assert.Greater(t, r.Pace, 0.5, "looks a second and login")
	assert.GreaterOrEqual(t, r.Closest, time.Second, "between two looks at one PIN")
	assert.Empty(t, r.Leaks)
	if raceDetector {
		return // which needs memory of its own
	}
	// Twice to thrice of what a quiet machine shows: on a busy one many
	// requests are under way at once, each with a goroutine of net/http's.
	assert.Less(t, r.InUse, 40_000.0, "bytes a login")
	assert.Less(t, r.Resident, 60_000.0, "bytes a login")
	assert.Less(t, r.Goroutines, 2.5, "goroutines a login")
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}
