//go:build unix

package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
	"github.com/plexauth/plexauth/plextest"
)

var (
	soakFlag = flag.Duration("soak", 0, "how long TestCrossWatchSoak takes; 0: ten seconds, or a minute with PLEXAUTH_CI=1")
	seedFlag = flag.Uint64("seed", 0, "the seed of TestCrossWatchSoak; 0: a random one")
)

// soakProfiles are the profiles of the Go processes. Each process has one.
var soakProfiles = []string{"", "PLEX-P01", "PLEX-P02"}

// soakConfig is a config in CrossWatch's form, before anything was saved. Its one secret is
// not encrypted yet.
const soakConfig = `{
  "version": "0.11.3",
  "app_auth": {
    "uses": 0
  },
  "plex": {
    "client_id": %q,
    "home_pin": "SECRET_home_pin",
    "instances": {}
  },
  "trakt": {
    "access_token": "",
    "note": "<&>é\u007f",
    "rate": 10.0
  },
  "runtime": {
    "saves": 0
  },
  "pairs": []
}
`

// G8, G15, G16: three Go processes count and sign in while CrossWatch saves old copies of the
// whole file, and processes of both sides are killed at random moments. Here CrossWatch is a
// Python program with the real cryptography module. What a living Store has written comes back
// within two seconds, what CrossWatch has written stays, and every reading finds a whole config
// without a secret in clear, with the same key and the same mode.
func TestCrossWatchSoak(t *testing.T) {
	noKeyVariables(t)
	s := newCrossWatchSoak(t)
	ctx, cancel := context.WithTimeout(t.Context(), s.duration)
	defer cancel()
	readCtx, stopReading := context.WithCancel(t.Context())
	defer stopReading()
	var reader, killers sync.WaitGroup
	reader.Go(func() { s.read(readCtx) })
	killers.Go(func() { s.keepKilling(ctx, "CrossWatch", s.startCrossWatch, s.crossWatchLife) })
	for process, id := range soakProfiles {
		killers.Go(func() {
			s.keepKilling(ctx, id, func(life int) *soakVictim { return s.startGo(process, life) }, s.goLife)
		})
	}
	killers.Wait()
	s.end(s.running["CrossWatch"])
	s.settle()
	for _, id := range soakProfiles {
		s.end(s.running[id])
	}
	stopReading()
	reader.Wait()
	s.report()
	s.checkEnd()
}

// crossWatchSoak is the state of the test.
type crossWatchSoak struct {
	*testing.T
	duration time.Duration
	seed     uint64
	dir      string
	python   string
	key      string
	mode     os.FileMode
	store    *crosswatch.Store // for readings; it writes nothing
	fake     *plextest.Server
	users    []*plextest.User // of the profiles
	ledger   *soakLedger

	mu      sync.Mutex // guards the fields below
	random  *rand.Rand
	lives   map[int]int            // the present life of each Go process
	running map[string]*soakVictim // what was not killed at the end; Go processes by profile
	ends    map[string]soakEvent   // by profile: what a Go process said at its end
}

func newCrossWatchSoak(t *testing.T) *crossWatchSoak {
	s := &crossWatchSoak{
		T: t, duration: *soakFlag, seed: *seedFlag, dir: t.TempDir(), python: pythonWithCryptography(t), mode: 0o640,
		fake: plextest.NewServer(), ledger: newSoakLedger(), lives: map[int]int{}, running: map[string]*soakVictim{}, ends: map[string]soakEvent{},
	}
	t.Cleanup(s.fake.Close)
	if s.duration == 0 {
		s.duration = 10 * time.Second
		if os.Getenv("PLEXAUTH_CI") == "1" {
			s.duration = time.Minute
		}
	}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	t.Logf("-soak %v -seed %d", s.duration, s.seed)
	s.random = rand.New(rand.NewPCG(s.seed, 0))
	for i := range soakProfiles {
		s.users = append(s.users, s.fake.AddUser(plextest.User{Username: fmt.Sprint("user", i)}))
	}
	clientID := ""
	if s.random.IntN(2) == 0 {
		clientID = "0123456789abcdef89abcdef"
	}
	config := fmt.Sprintf(soakConfig, clientID)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "config.json"), []byte(config), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(s.dir, "config.json"), s.mode))
	s.ledger.saving(0, soakRest([]byte(config)), time.Now(), soakDocument{})
	s.makeKey()
	store, err := crosswatch.Open(s.dir)
	require.NoError(t, err)
	s.store = store
	return s
}

// makeKey lets one side write first, which makes the key.
func (s *crossWatchSoak) makeKey() {
	if s.random.IntN(2) == 0 {
		store, err := crosswatch.Open(s.dir)
		require.NoError(s, err)
		require.NoError(s, store.Update(s.Context(), plexauth.Namespace, func(current json.RawMessage) (json.RawMessage, error) {
			return withCount(current, "", "first", 1)
		}))
		require.NoError(s, store.Close())
	} else {
		s.end(s.startCrossWatch(-1))
	}
	key, err := os.ReadFile(filepath.Join(s.dir, ".cw_master_key"))
	require.NoError(s, err)
	s.key = string(key)
}

// between returns a random time.
func (s *crossWatchSoak) between(least, most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return least + time.Duration(s.random.Int64N(int64(most-least)))
}

func (s *crossWatchSoak) goLife() time.Duration {
	return s.between(200*time.Millisecond, 7*time.Second)
}

func (s *crossWatchSoak) crossWatchLife() time.Duration {
	return s.between(500*time.Millisecond, 20*time.Second)
}

// soakVictim is a running process of either side.
type soakVictim struct {
	cmd    *exec.Cmd
	stdin  io.Closer // its end lets the process end
	heard  chan struct{}
	killed func() // takes note of the kill
}

// start starts a process, and hands each line of its output to heard.
func (s *crossWatchSoak) start(c *exec.Cmd, heard func(line []byte) error) *soakVictim {
	v := &soakVictim{cmd: c, heard: make(chan struct{})}
	in, err := c.StdinPipe()
	require.NoError(s, err)
	v.stdin = in
	out, err := c.StdoutPipe()
	require.NoError(s, err)
	require.NoError(s, c.Start())
	go func() {
		defer close(v.heard)
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return // a line that a kill has cut is not one
			}
			assert.NoError(s, heard(line), "%s", line)
		}
	}()
	return v
}

// startGo starts a Go process.
func (s *crossWatchSoak) startGo(process, life int) *soakVictim {
	task := soakTask{Dir: s.dir, URL: s.fake.URL(), Instance: soakProfiles[process], Process: process, Life: life, Seed: s.seed}
	arg, err := json.Marshal(task)
	require.NoError(s, err)
	s.mu.Lock()
	s.lives[process] = life
	s.mu.Unlock()
	v := s.start(child(s, "crosswatch soak", string(arg)), func(line []byte) error {
		var e soakEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		s.heardGo(task, e)
		return nil
	})
	v.killed = func() {
		s.ledger.killed(task)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lives[process]++
	}
	return v
}

// heardGo takes up what a Go process says.
func (s *crossWatchSoak) heardGo(task soakTask, e soakEvent) {
	s.ledger.heard(task, e)
	switch e.Name {
	case soakBegins:
		s.eventuallyNil(func() error { return s.ledger.judgeFound(task.Instance, e.Token, s.valid(e.Token)) })
	case soakPIN:
		time.AfterFunc(s.between(0, 2*time.Second), func() { s.approve(task, e.Code) })
	case soakLost:
		s.Errorf("lost in process %d: %s", task.Process, e.Text)
	case soakEnds:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ends[task.Instance] = e
	}
}

// approve approves a PIN, unless the life that shows it was killed. Its approval would end the
// token of the next life.
func (s *crossWatchSoak) approve(task soakTask, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lives[task.Process] == task.Life {
		_ = s.fake.Approve(code, s.users[task.Process]) // fails if it was approved in an earlier life
	}
}

// valid reports whether plex.tv accepts a token.
func (s *crossWatchSoak) valid(token string) bool {
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://plex.tv/api/v2/user", nil)
	require.NoError(s, err)
	req.Header.Set("X-Plex-Client-Identifier", "a reader")
	req.Header.Set("X-Plex-Token", token)
	resp, err := s.fake.Client().Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// startCrossWatch starts the Python program.
func (s *crossWatchSoak) startCrossWatch(life int) *soakVictim {
	c := exec.CommandContext(s.Context(), s.python, "testdata/crosswatch.py", s.dir, "soak", strconv.Itoa(int(s.seed%1_000_000)+life+1))
	c.Stderr = os.Stderr
	v := s.start(c, s.heardCrossWatch)
	v.killed = func() {
		s.ledger.mu.Lock()
		defer s.ledger.mu.Unlock()
		s.ledger.figures.cwKills++
	}
	return v
}

// heardCrossWatch takes up what the Python program says.
func (s *crossWatchSoak) heardCrossWatch(line []byte) error {
	var e struct {
		At            int64
		Saving, Saved int
		Rest          string
		Plex          json.RawMessage
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	switch {
	case e.Saving != 0:
		doc, err := readSoakDocument(e.Plex)
		if err != nil {
			return err
		}
		s.ledger.saving(e.Saving, e.Rest, time.Unix(0, e.At), doc)
	case e.Saved != 0:
		s.ledger.hasSaved(e.Saved)
	}
	return nil
}

// keepKilling starts a process again and again, and kills each after a random time. The one
// that runs when ctx ends goes on.
func (s *crossWatchSoak) keepKilling(ctx context.Context, name string, start func(life int) *soakVictim, lives func() time.Duration) {
	for life := 0; ; life++ {
		v := start(life)
		select {
		case <-time.After(lives()):
		case <-v.heard:
			assert.Fail(s, "a process has ended by itself", "%s: %v", name, v.cmd.Wait())
			return
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.running[name] = v
			return
		}
		v.killed()
		require.NoError(s, v.cmd.Process.Signal(syscall.SIGKILL))
		<-v.heard
		_ = v.cmd.Wait() // "signal: killed"
	}
}

// end lets a process end.
func (s *crossWatchSoak) end(v *soakVictim) {
	if v == nil {
		return // it has failed already
	}
	require.NoError(s, v.stdin.Close())
	receive(s, v.heard, "a process ended")
	require.NoError(s, v.cmd.Wait())
}

// read reads the config until ctx ends.
func (s *crossWatchSoak) read(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		s.readFile()
		if n%10 == 0 {
			s.readDecrypted()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// readFile checks the config as any program may read it at any moment, without the lock.
func (s *crossWatchSoak) readFile() {
	path := filepath.Join(s.dir, "config.json")
	s.ledger.mu.Lock()
	saved := s.ledger.saved
	s.ledger.figures.readings++
	s.ledger.mu.Unlock()
	config, err := os.ReadFile(path)
	if !assert.NoError(s, err) {
		return
	}
	var whole struct{ Plex json.RawMessage }
	if !assert.NoError(s, json.Unmarshal(config, &whole), "%s", config) {
		return
	}
	for _, secret := range []string{"SECRET_", "FAKE_"} {
		assert.NotContains(s, string(config), secret, "a secret in clear")
	}
	doc, err := readSoakDocument(whole.Plex)
	assert.NoError(s, err)
	s.eventuallyNil(func() error { return s.ledger.judgeRest(config, doc, saved) })
	info, err := os.Stat(path)
	if assert.NoError(s, err) {
		assert.Equal(s, s.mode, info.Mode(), "the mode of the config")
	}
	key, err := os.ReadFile(filepath.Join(s.dir, ".cw_master_key"))
	assert.NoError(s, err)
	assert.Equal(s, s.key, string(key), "the key")
}

// readDecrypted compares the decrypted config with what both sides have said.
func (s *crossWatchSoak) readDecrypted() {
	s.eventuallyNil(func() error {
		before := time.Now()
		raw, err := s.store.Load(s.Context(), plexauth.Namespace)
		if err != nil {
			return err
		}
		doc, err := readSoakDocument(raw)
		if err != nil {
			return err
		}
		if mine := fmt.Sprint("SECRET_mine_", doc.saves); doc.saves != 0 && doc.tokens[soakMine] != mine {
			return fmt.Errorf("CrossWatch's own token is %q, not %q", doc.tokens[soakMine], mine)
		}
		return s.ledger.judge(doc, before)
	})
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	s.ledger.figures.decrypted++
}

// eventuallyNil calls judge until it returns nil. What explains an error may be heard later.
func (s *crossWatchSoak) eventuallyNil(judge func() error) {
	began := time.Now()
	err := judge()
	for ; err != nil && time.Since(began) < slack && !s.Failed(); err = judge() {
		time.Sleep(10 * time.Millisecond)
	}
	assert.NoError(s, err)
}

// settle waits until the file has what all living processes have written. CrossWatch has
// ended.
func (s *crossWatchSoak) settle() {
	time.Sleep(2 * time.Second)
	eventually(s, "all is repaired", func() bool { return !s.ledger.missesAny() || s.Failed() })
}

// checkEnd checks what all processes have left.
func (s *crossWatchSoak) checkEnd() {
	raw, err := s.store.Load(s.Context(), plexauth.Namespace)
	require.NoError(s, err)
	doc, err := readSoakDocument(raw)
	require.NoError(s, err)
	for _, id := range soakProfiles {
		e, ok := s.ends[id]
		require.True(s, ok, "the process of the profile %q has said nothing at its end", id)
		assert.Equal(s, e.Token, doc.tokens[id], "the token of the profile %q", id)
		if e.Number != 0 {
			assert.Contains(s, doc.counts, e.Text)
			assert.Equal(s, e.Number, doc.counts[e.Text], e.Text)
		}
	}
	assert.LessOrEqual(s, s.ledger.overdue, 2*time.Second+slack, "the longest time that a value of a living process was missing")

	entries, err := os.ReadDir(s.dir)
	require.NoError(s, err)
	theirs := 0
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(s.dir, e.Name()))
		require.NoError(s, err)
		for _, secret := range []string{"SECRET_", "FAKE_"} {
			assert.NotContains(s, string(data), secret, "a secret in clear in %s", e.Name())
		}
		switch {
		case strings.HasPrefix(e.Name(), "config.") && strings.HasSuffix(e.Name(), ".tmp"):
			theirs++ // CrossWatch leaves its temporary file where it is killed
		default:
			assert.Contains(s, []string{"config.json", "config.json.lock", ".cw_master_key"}, e.Name(), "a file that was left behind")
		}
	}
	assert.LessOrEqual(s, theirs, s.ledger.figures.cwKills, "temporary files of CrossWatch")
}

// report logs the figures, and fails if the test has proved nothing.
func (s *crossWatchSoak) report() {
	f := s.ledger.figures
	s.Logf("Go: %d Updates that count, %d logins and %d sign-outs, killed %d times; CrossWatch: %d saves, killed %d times; %d readings, %d of them decrypted",
		f.goWrites, f.goLogins, f.goSignOuts, f.goKills, f.cwSaves, f.cwKills, f.readings, f.decrypted)
	s.Logf("%d values of living processes were lost, and one was missing in the file for %v at most; old copies have overwritten %d values of killed processes, and ended %d logins that these had begun",
		f.lost, s.ledger.overdue.Round(time.Millisecond), f.reverted, f.takeovers)
	proves := map[string]int{"Updates": f.goWrites, "saves of CrossWatch": f.cwSaves, "kills of Go": f.goKills}
	if s.duration >= time.Minute {
		proves["logins"], proves["sign-outs"], proves["kills of CrossWatch"] = f.goLogins, f.goSignOuts, f.cwKills
	}
	for what, n := range proves {
		assert.NotZero(s, n, "no %s, so this proves nothing", what)
	}
}
