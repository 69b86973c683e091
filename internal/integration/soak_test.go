package integration_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/plextest"
)

// TestSoak lets two programs share a config for a hundred days. One runs all the time, the
// other is restarted every third day. There are outages of minutes, hours and ten days,
// plex.tv rotates its keys, and a person signs in again every week.
// G9, G24: nothing grows but the fake's journal, and no more requests are made than promised.
func TestSoak(t *testing.T) {
	for name, deviceKey := range map[string]bool{"long-lived token": false, "device key": true} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			synctest.Test(t, func(t *testing.T) { soak(t, deviceKey) })
		})
	}
}

const soakDays = 100

// soakedProgram is one of the two programs.
type soakedProgram struct {
	*plexauth.PlexAuth
	client *http.Client
	stop   context.CancelFunc
	panel  http.Handler
}

func soak(t *testing.T, deviceKey bool) {
	fake := plextest.NewServer()
	defer fake.Close()
	alice := fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	open := func() *soakedProgram {
		p, err := plexauth.New(plexauth.Options{
			Product: "My App", HTTPClient: fake.Client(), Store: plexauth.NewFileStore(path), DeviceKey: deviceKey,
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		return &soakedProgram{p, &http.Client{Transport: p.Transport(fake.Client().Transport)}, cancel, p.Handler(ctx)}
	}
	signIn := func(p *soakedProgram) {
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, fake.Approve(pin.Code, alice))
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		require.True(t, s.Connected)
	}
	steady, other := open(), open()
	defer func() { steady.stop(); other.stop() }()
	signIn(steady)

	var answered, failed, logins int
	var size []int64 // of the config, after each sign-in
	var goroutines []int
	var growth []int64
	outages := map[int]time.Duration{4: 10 * time.Minute, 11: 6 * time.Hour, 23: 50 * time.Hour, 40: 240 * time.Hour, 61: time.Minute, 82: 26 * time.Hour}
	up := time.Now() // when plex.tv can be reached again
	for day := range soakDays {
		if d, ok := outages[day]; ok {
			fake.Inject(plextest.Fault{Times: -1, For: d, Reset: true})
			up = time.Now().Add(d)
		}
		if day%20 == 19 {
			fake.RotateKeys()
		}
		if day%3 == 2 {
			other.stop()
			synctest.Wait()
			other = open()
		}
		if day%7 == 6 && time.Now().After(up) {
			signIn(other)
			logins++
			info, err := os.Stat(path)
			require.NoError(t, err)
			size = append(size, info.Size())
		}
		for hour := range 24 {
			for _, p := range []*soakedProgram{steady, other} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://plex.tv/api/v2/user", nil)
				require.NoError(t, err)
				req.Header.Set("Accept", "application/json")
				resp, err := p.client.Do(req)
				if err != nil {
					failed++
					require.True(t, time.Now().Before(up.Add(20*time.Minute)), "day %d, hour %d: %v", day, hour, err)
					continue
				}
				resp.Body.Close()
				answered++
				require.Equal(t, http.StatusOK, resp.StatusCode, "day %d, hour %d", day, hour)
				ask(p.panel, http.MethodGet, "/status")
			}
			time.Sleep(time.Hour)
		}
		s, err := steady.Verify(t.Context())
		require.True(t, err == nil || time.Now().Before(up), "day %d: %v", day, err)
		require.False(t, s.NeedsLogin, "day %d", day)
		if day%25 == 24 {
			synctest.Wait()
			goroutines = append(goroutines, bubbleGoroutines())
			growth = append(growth, measure.InUse())
		}
	}

	t.Logf("%d days: %d sign-ins, %d requests answered, %d failed; config %v bytes, goroutines %v, memory %v bytes; at plex.tv %v",
		soakDays, logins, answered, failed, size, goroutines, growth, journal(fake))
	for _, n := range size {
		assert.InDelta(t, size[0], n, 64, "bytes of the config")
	}
	for _, n := range goroutines {
		assert.Equal(t, goroutines[0], n, "goroutines of the test")
	}
	assert.Less(t, growth[len(growth)-1]-growth[0], int64(2000*len(fake.Requests())), "bytes that were added; the journal takes about a thousand per request")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "the config and its lock: %v", entries)
	assertRequests(t, fake, deviceKey, logins+1, answered, failed)
	for _, v := range fake.Violations() {
		if !strings.Contains(v, "a PIN is polled") { // each program keeps its own pace
			t.Error("a client must never do this:", v)
		}
	}

	// The memory that the programs hold is what is free without them. The fake and its
	// journal stay.
	before := measure.InUse()
	steady.stop()
	other.stop()
	synctest.Wait()
	steady.PlexAuth, steady.client, steady.panel = nil, nil, nil
	other.PlexAuth, other.client, other.panel = nil, nil, nil
	held := before - measure.InUse()
	t.Logf("the programs held %d bytes", held)
	assert.Less(t, held, int64(512<<10), "bytes that two programs hold after %d days", soakDays)
}

// bubbleGoroutines counts the goroutines of the synctest bubble. Others may belong to
// tests that have just ended.
func bubbleGoroutines() int {
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2) // a strings.Builder never fails
	return strings.Count(stacks.String(), "synctest bubble")
}

// journal counts the requests by method and path.
func journal(fake *plextest.Server) map[string]int {
	n := map[string]int{}
	for _, r := range fake.Requests() {
		n[r.Method+" "+r.Path]++
		if r.Broken {
			n["broken "+r.Method+" "+r.Path]++
		}
	}
	return n
}

// assertRequests compares the journal with the promises of the documentation.
func assertRequests(t *testing.T, fake *plextest.Server, deviceKey bool, logins, answered, failed int) {
	n := journal(fake)
	atMost := func(most int, what, why string) {
		t.Helper()
		assert.LessOrEqual(t, n[what], most, "%s: %s", what, why)
	}
	atMost(logins, "POST /api/v2/pins", "one for each sign-in")
	atMost(4*logins, "GET /api/v2/pins/{id}", "each was approved at once, and both programs ask")
	broken := n["broken GET /api/v2/user"] // each with its retries
	atMost(answered+soakDays+2*logins+broken, "GET /api/v2/user", "those that the programs made, a Verify a day, one for each sign-in")
	if !deviceKey {
		assert.Zero(t, n["POST /api/v2/auth/token"]+n["POST /api/v2/auth/nonce"]+n["GET /api/v2/auth/nonce"])
		return
	}
	// A JWT of seven days is renewed at 70 to 75 % of its life.
	renewals := n["POST /api/v2/auth/token"] - n["broken POST /api/v2/auth/token"]
	assert.LessOrEqual(t, renewals, soakDays*10/49+1+logins, "renewals")
	assert.GreaterOrEqual(t, renewals, 10, "renewals")
	atMost(2*(renewals+logins)+4*failed, "GET /api/v2/auth/keys", "for a renewal; in an outage four tries for a request")
}
