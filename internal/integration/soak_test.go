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

// outages are the days on which plex.tv goes down, and for how long.
var outages = map[int]time.Duration{4: 10 * time.Minute, 11: 6 * time.Hour, 23: 50 * time.Hour, 40: 240 * time.Hour, 61: time.Minute, 82: 26 * time.Hour}

// soaked is the state of the test.
type soaked struct {
	*testing.T
	fake      *plextest.Server
	alice     *plextest.User
	config    string // path
	deviceKey bool

	steady, other *soakedProgram
	up            time.Time // when plex.tv can be reached again

	answered, failed, logins int
	size                     []int64 // of the config, after each sign-in
	goroutines               []int
	memory                   []int64
}

// soakedProgram is one of the two programs.
type soakedProgram struct {
	*plexauth.PlexAuth
	client *http.Client
	stop   context.CancelFunc
	panel  http.Handler
}

func soak(t *testing.T, deviceKey bool) {
	s := &soaked{T: t, fake: plextest.NewServer(), config: filepath.Join(t.TempDir(), "config.json"), deviceKey: deviceKey, up: time.Now()}
	defer s.fake.Close()
	s.alice = s.fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	s.steady, s.other = s.open(), s.open()
	defer func() { s.steady.stop(); s.other.stop() }()
	s.signIn(s.steady)
	for day := range soakDays {
		s.begin(day)
		for hour := range 24 {
			s.request(s.steady, day, hour)
			s.request(s.other, day, hour)
			time.Sleep(time.Hour)
		}
		s.end(day)
	}
	s.checkGrowth()
	s.checkRequests()
	s.checkMemory()
}

// open starts a program.
func (s *soaked) open() *soakedProgram {
	p, err := plexauth.New(plexauth.Options{
		Product: "My App", HTTPClient: s.fake.Client(), Store: plexauth.NewFileStore(s.config), DeviceKey: s.deviceKey,
	})
	require.NoError(s, err)
	ctx, cancel := context.WithCancel(s.Context())
	return &soakedProgram{p, &http.Client{Transport: p.Transport(s.fake.Client().Transport)}, cancel, p.Handler(ctx)}
}

// signIn lets alice sign in.
func (s *soaked) signIn(p *soakedProgram) {
	pin, err := p.Start(s.Context(), plexauth.PinOptions{})
	require.NoError(s, err)
	require.NoError(s, s.fake.Approve(pin.Code, s.alice))
	status, err := p.Wait(s.Context())
	require.NoError(s, err)
	require.True(s, status.Connected)
}

// begin does what happens at the beginning of a day: an outage, new keys, a restart, a
// sign-in.
func (s *soaked) begin(day int) {
	if d, ok := outages[day]; ok {
		s.fake.Inject(plextest.Fault{Times: -1, For: d, Reset: true})
		s.up = time.Now().Add(d)
	}
	if day%20 == 19 {
		s.fake.RotateKeys()
	}
	if day%3 == 2 {
		s.other.stop()
		synctest.Wait()
		s.other = s.open()
	}
	if day%7 == 6 && time.Now().After(s.up) {
		s.signIn(s.other)
		s.logins++
		info, err := os.Stat(s.config)
		require.NoError(s, err)
		s.size = append(s.size, info.Size())
	}
}

// request sends a request with the token, which may fail only during an outage or soon
// after, and looks at the panel.
func (s *soaked) request(p *soakedProgram, day, hour int) {
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://plex.tv/api/v2/user", nil)
	require.NoError(s, err)
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		s.failed++
		require.True(s, time.Now().Before(s.up.Add(20*time.Minute)), "day %d, hour %d: %v", day, hour, err)
		return
	}
	resp.Body.Close()
	s.answered++
	require.Equal(s, http.StatusOK, resp.StatusCode, "day %d, hour %d", day, hour)
	ask(p.panel, http.MethodGet, "/status")
}

// end checks the token at the end of a day, and measures the process now and then.
func (s *soaked) end(day int) {
	status, err := s.steady.Verify(s.Context())
	require.True(s, err == nil || time.Now().Before(s.up), "day %d: %v", day, err)
	require.False(s, status.NeedsLogin, "day %d", day)
	if day%25 == 24 {
		synctest.Wait()
		s.goroutines = append(s.goroutines, bubbleGoroutines())
		s.memory = append(s.memory, measure.InUse())
	}
}

// checkGrowth checks that nothing grows but the fake's journal.
func (s *soaked) checkGrowth() {
	s.Logf("%d days: %d sign-ins, %d requests answered, %d failed; config %v bytes, goroutines %v, memory %v bytes; at plex.tv %v",
		soakDays, s.logins, s.answered, s.failed, s.size, s.goroutines, s.memory, journal(s.fake))
	for _, n := range s.size {
		assert.InDelta(s, s.size[0], n, 64, "bytes of the config")
	}
	for _, n := range s.goroutines {
		assert.Equal(s, s.goroutines[0], n, "goroutines of the test")
	}
	assert.Less(s, s.memory[len(s.memory)-1]-s.memory[0], int64(2000*len(s.fake.Requests())), "bytes that were added; the journal takes about a thousand per request")
	checkNames(s, filepath.Dir(s.config), "config.json", "config.json.lock")
}

// checkMemory checks that the programs hold little memory. That is what is free without
// them; the fake and its journal stay.
func (s *soaked) checkMemory() {
	before := measure.InUse()
	for _, p := range []*soakedProgram{s.steady, s.other} {
		p.stop()
		synctest.Wait()
		p.PlexAuth, p.client, p.panel = nil, nil, nil
	}
	held := before - measure.InUse()
	s.Logf("the programs held %d bytes", held)
	assert.Less(s, held, int64(512<<10), "bytes that two programs hold after %d days", soakDays)
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

// checkRequests compares the journal with the promises of the documentation.
func (s *soaked) checkRequests() {
	for _, v := range s.fake.Violations() {
		if !strings.Contains(v, "a PIN is polled") { // each program keeps its own pace
			s.Error("a client must never do this:", v)
		}
	}
	n := journal(s.fake)
	atMost := func(most int, what, why string) {
		s.Helper()
		assert.LessOrEqual(s, n[what], most, "%s: %s", what, why)
	}
	logins := s.logins + 1 // and the first
	atMost(logins, "POST /api/v2/pins", "one for each sign-in")
	atMost(4*logins, "GET /api/v2/pins/{id}", "each was approved at once, and both programs ask")
	broken := n["broken GET /api/v2/user"] // each with its retries
	atMost(s.answered+soakDays+2*logins+broken, "GET /api/v2/user", "those that the programs made, a Verify a day, one for each sign-in")
	if !s.deviceKey {
		assert.Zero(s, n["POST /api/v2/auth/token"]+n["POST /api/v2/auth/nonce"]+n["GET /api/v2/auth/nonce"], "requests for a JWT without a device key")
		return
	}
	// A JWT of seven days is renewed at 70 to 75 % of its life.
	renewals := n["POST /api/v2/auth/token"] - n["broken POST /api/v2/auth/token"]
	assert.LessOrEqual(s, renewals, soakDays*10/49+1+logins, "renewals")
	assert.GreaterOrEqual(s, renewals, 10, "renewals")
	atMost(2*(renewals+logins)+4*s.failed, "GET /api/v2/auth/keys", "for a renewal; in an outage four tries for a request")
}
