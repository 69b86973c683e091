package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
)

var allFaults = flag.Bool("long", false, "inject every error into every system call, and not one of them")

// person is a user of files.
type person struct{ uid, gid, extra int }

var (
	owner  = person{uid: 1000, gid: 2000}
	member = person{uid: 1001, gid: 2000} // of the owner's group
)

// faultCase is an Update by a user, in a directory that others use too.
type faultCase struct {
	caller   []string // options of setpriv
	files    func(t *testing.T, dir string)
	path     string // of the config; "": config.json
	noLinks  bool   // the file system has no hard links
	cw       bool   // crosswatch's
	readers  []person
	writer   person // who may always replace the config; reads it as well
	firstRun bool   // there is no config yet
	anyGroup bool   // the group of the config has no rights, and need not stay
}

// ofOwner returns what makes a directory of the owner, with a config of theirs unless content
// is "".
func ofOwner(dirMode, mode os.FileMode, gid int, content string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		require.NoError(t, os.Chown(dir, owner.uid, owner.gid))
		require.NoError(t, os.Chmod(dir, dirMode))
		if content != "" {
			owned(t, filepath.Join(dir, "config.json"), content, owner.uid, gid, mode)
		}
	}
}

// and returns what makes the files of all.
func and(all ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, f := range all {
			f(t, dir)
		}
	}
}

// has returns what makes a file of the owner.
func has(name, content string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		owned(t, filepath.Join(dir, name), content, owner.uid, owner.gid, mode)
	}
}

const foreignGroup = 3000

var (
	asOwner          = []string{"--reuid=1000", "--regid=2000", "--clear-groups"}
	asMember         = []string{"--reuid=1001", "--regid=2000", "--clear-groups"}
	asRoot           = []string{"--clear-groups"}
	rootWithoutChown = []string{"--clear-groups", "--bounding-set=-chown", "--inh-caps=-all"}
)

var faultCases = map[string]faultCase{
	"by the owner":                                    {caller: asOwner, files: ofOwner(0o750, 0o640, 2000, before), readers: []person{member}, writer: owner},
	"by root":                                         {caller: asRoot, files: ofOwner(0o750, 0o640, 2000, before), readers: []person{member}, writer: owner},
	"by root, with a lock":                            {caller: asRoot, files: and(ofOwner(0o750, 0o640, 2000, before), has("config.json.lock", "", 0o600)), readers: []person{member}, writer: owner},
	"by root without chown":                           {caller: rootWithoutChown, files: ofOwner(0o750, 0o640, 2000, before), readers: []person{member}, writer: owner},
	"by root without chown, with a lock":              {caller: rootWithoutChown, files: and(ofOwner(0o750, 0o640, 2000, before), has("config.json.lock", "", 0o660)), readers: []person{member}, writer: owner},
	"by root, no hard links":                          {caller: asRoot, files: ofOwner(0o750, 0o640, 2000, before), readers: []person{member}, writer: owner, noLinks: true},
	"of a foreign group":                              {caller: asOwner, files: ofOwner(0o755, 0o640, foreignGroup, before), readers: []person{owner, {uid: 1002, gid: foreignGroup}}, writer: person{1000, 2000, foreignGroup}},
	"of a foreign group without rights":               {caller: asOwner, files: ofOwner(0o755, 0o600, foreignGroup, before), writer: owner, anyGroup: true},
	"by a member of the group":                        {caller: asMember, files: ofOwner(0o770, 0o660, 2000, before), readers: []person{member}, writer: owner},
	"one's own in another's directory":                {caller: asMember, files: and(ofOwner(0o770, 0, 0, ""), membersConfig), readers: []person{owner}, writer: member},
	"first run of the owner":                          {caller: asOwner, files: ofOwner(0o750, 0, 0, ""), path: "made/deeper/config.json", writer: owner, firstRun: true},
	"first run of root":                               {caller: asRoot, files: ofOwner(0o750, 0, 0, ""), writer: owner, firstRun: true},
	"first run of root, new directories":              {caller: asRoot, files: ofOwner(0o750, 0, 0, ""), path: "made/deeper/config.json", writer: owner, firstRun: true},
	"crosswatch's by the owner":                       {caller: asOwner, files: ofOwner(0o750, 0o640, 2000, before), cw: true, writer: owner},
	"crosswatch's by root":                            {caller: asRoot, files: ofOwner(0o750, 0o640, 2000, before), cw: true, writer: owner},
	"crosswatch's by root, no hard links":             {caller: asRoot, files: ofOwner(0o750, 0o640, 2000, before), cw: true, writer: owner, noLinks: true},
	"crosswatch's by root without chown":              {caller: rootWithoutChown, files: ofOwner(0o750, 0o640, 2000, before), cw: true, writer: owner},
	"crosswatch's by root without chown, with a lock": {caller: rootWithoutChown, files: and(ofOwner(0o750, 0o640, 2000, before), has("config.json.lock", "", 0o660)), cw: true, writer: owner},
	"crosswatch's by a member":                        {caller: asMember, files: ofOwner(0o770, 0o660, 2000, before), cw: true, writer: owner},
	"crosswatch's with a key, by root":                {caller: asRoot, files: and(ofOwner(0o750, 0, 0, ""), encrypted), cw: true, writer: owner},
	"crosswatch's with an empty key":                  {caller: asRoot, files: and(ofOwner(0o750, 0o640, 2000, before), emptyKey), cw: true, writer: owner},
	"crosswatch's first run of root":                  {caller: asRoot, files: ofOwner(0o750, 0, 0, ""), cw: true, writer: owner, firstRun: true},
	"crosswatch's first run of the owner":             {caller: asOwner, files: ofOwner(0o750, 0, 0, ""), cw: true, writer: owner, firstRun: true},
}

// membersConfig makes a config of the member.
func membersConfig(t *testing.T, dir string) {
	owned(t, filepath.Join(dir, "config.json"), before, member.uid, member.gid, 0o640)
}

// encrypted makes a config of the owner with a key.
func encrypted(t *testing.T, dir string) {
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"account_token":"TEST_TOKEN_on_disk"}`)))
	require.NoError(t, store.Close())
	for _, name := range []string{"config.json", "config.json.lock", ".cw_master_key"} {
		require.NoError(t, os.Chown(filepath.Join(dir, name), owner.uid, owner.gid))
	}
}

// emptyKey makes the key file that a killed process has left.
func emptyKey(t *testing.T, dir string) {
	has(".cw_master_key", "", 0o600)(t, dir)
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(dir, ".cw_master_key"), old, old))
}

func init() {
	// These children make their calls in the main thread, so that each has the same number in
	// every run.
	if name := os.Getenv(childEnv); name == "filestore update" || name == "crosswatch update" {
		runtime.LockOSThread()
	}
	children["witness"] = func([]string) error {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var ask struct {
				Path       string
				CW, Update bool
			}
			if err := json.Unmarshal(in.Bytes(), &ask); err != nil {
				return err
			}
			token, err := bearWitness(ask.Path, ask.CW, ask.Update)
			fmt.Printf("%q %q\n", token, fmt.Sprint(err))
		}
		return nil
	}
}

// bearWitness returns the token in a config, after an update of it if that is asked for.
func bearWitness(path string, isCW, update bool) (token string, err error) {
	var store plexauth.ConfigStore = plexauth.NewFileStore(path)
	if isCW {
		cw, err := crosswatch.Open(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		defer cw.Close()
		store = cw
	}
	ctx, cancel := context.WithTimeout(context.Background(), slack)
	defer cancel()
	if update {
		err = store.Update(ctx, "plex", becomes(`{"account_token":"TEST_TOKEN_witness"}`))
	}
	raw, loadErr := store.Load(ctx, "plex")
	var plex struct {
		Token string `json:"account_token"`
	}
	if raw != nil {
		loadErr = errors.Join(loadErr, json.Unmarshal(raw, &plex))
	}
	return plex.Token, errors.Join(err, loadErr)
}

// witness is a process of a person, who looks at files.
type witness struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// says returns what the witness finds in a config.
func (w *witness) says(t *testing.T, path string, isCW, update bool) (token, problem string) {
	require.NoError(t, json.NewEncoder(w.in).Encode(map[string]any{"path": path, "cw": isCW, "update": update}))
	line, err := w.out.ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscanf(line, "%q %q", &token, &problem)
	require.NoError(t, err, line)
	return token, strings.TrimPrefix(problem, "<nil>")
}

// faultTest injects faults into the calls of one case.
type faultTest struct {
	faultCase
	*testing.T
	strace, setpriv, binary string
	top                     string // the directories of all runs are in it
	witnesses               map[person]*witness
	runs, saved, failed     int
}

// start starts the process of a person.
func (f *faultTest) start(p person) {
	c := child(f.T, "witness")
	c.Path, c.Dir = f.binary, "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.gid)}}
	if p.extra != 0 {
		c.SysProcAttr.Credential.Groups = []uint32{uint32(p.extra)}
	}
	in, err := c.StdinPipe()
	require.NoError(f, err)
	out, err := c.StdoutPipe()
	require.NoError(f, err)
	require.NoError(f, c.Start())
	f.witnesses[p] = &witness{c, in, bufio.NewReader(out)}
}

// stop ends the processes of all people.
func (f *faultTest) stop() {
	for _, w := range f.witnesses {
		w.in.Close()
		assert.NoError(f, w.Wait())
	}
}

// fault is what is injected into a system call.
type fault struct {
	call, what string // fsync, error=EIO
	n          int    // of the calls of that name in the main thread
	nth        int    // of those that concern the directory
	line       string // of the trace
}

// result is a run with a fault.
type result struct {
	path, stderr string
	ok           bool
	calls        []fault // all that concern the directory
}

// calledNames are the system calls that get faults.
const calledNames = "openat,write,fsync,fchown,chown,lchown,fchownat,fchmod,fchmodat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,flock"

var tracedCall = regexp.MustCompile(`^(\d+) +([a-z0-9]+)\(`)

// run runs the case in a directory of its own.
func (f *faultTest) run(inject ...string) (r result) {
	dir, err := os.MkdirTemp(f.top, "")
	require.NoError(f, err)
	f.files(f.T, dir)
	r.path = filepath.Join(dir, "config.json")
	if f.path != "" {
		r.path = filepath.Join(dir, f.path)
	}
	name, arg := "filestore update", r.path
	if f.cw {
		name, arg = "crosswatch update", dir
	}
	if f.noLinks {
		inject = append(inject, "-e", "inject=link,linkat:error=EPERM")
	}
	log := filepath.Join(f.top, "trace")
	c := exec.CommandContext(f.Context(), f.strace, slices.Concat([]string{"-f", "-y", "-qq", "-o", log, "-e", "trace=" + calledNames}, inject, []string{f.setpriv}, f.caller, []string{f.binary, arg})...)
	c.Env = append(os.Environ(), childEnv+"="+name, "GOGC=off", "LC_ALL=C")
	c.Dir = "/"
	var out bytes.Buffer
	c.Stderr = &out
	r.ok = c.Run() == nil
	r.stderr = out.String()
	trace, err := os.ReadFile(log)
	require.NoError(f, err, r.stderr)
	count, concerning := map[string]int{}, map[string]int{}
	thread := ""
	for line := range strings.Lines(string(trace)) {
		m := tracedCall.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if thread == "" {
			thread = m[1] // strace starts the main thread
		}
		if m[1] != thread {
			continue
		}
		count[m[2]]++
		if strings.Contains(line, dir) {
			concerning[m[2]]++
			r.calls = append(r.calls, fault{call: m[2], n: count[m[2]], nth: concerning[m[2]], line: strings.ReplaceAll(strings.TrimSpace(line), dir, "")})
		}
	}
	return r
}

// errorsOf are the errors that a call can have. The first ones are the likelier ones.
func errorsOf(c fault) []string {
	switch {
	case c.call == "openat" && strings.Contains(c.line, "O_CREAT"):
		return []string{"ENOSPC", "EACCES", "EROFS", "EDQUOT", "EIO", "EPERM", "EINTR"}
	case c.call == "openat":
		return []string{"EIO", "EACCES", "EPERM", "EINTR"}
	case c.call == "write":
		return []string{"ENOSPC", "EIO", "EDQUOT", "EINTR"}
	case c.call == "fsync":
		return []string{"EIO", "ENOSPC", "EDQUOT", "EROFS", "EINTR"}
	case strings.Contains(c.call, "chown"):
		return []string{"EPERM", "EIO", "EROFS", "EDQUOT", "EINTR"}
	case c.call == "flock":
		return []string{"EIO", "EINTR"}
	}
	return []string{"EIO", "EPERM", "EACCES", "EROFS", "ENOSPC", "EDQUOT"}
}

// G15, G16, G17: for every caller of Update, whatever happens in any of its system calls, an
// error or the end of the process: who could read the config still can, and its owner can
// replace it. It is as before or as the Update makes it, with its mode, owner and group. No
// file that is left keeps anyone out or lets anyone in, and no key is replaced.
func TestFaults(t *testing.T) {
	requireRoot(t)
	noKeyVariables(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		missing(t, "setpriv (util-linux)")
	}
	strace, binary := needsStrace(t), openBinary(t)
	var mu sync.Mutex
	total := 0
	t.Cleanup(func() { t.Logf("%d runs with a fault", total) })
	for n, name := range slices.Sorted(maps.Keys(faultCases)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &faultTest{faultCase: faultCases[name], T: t, strace: strace, setpriv: setpriv, binary: binary, top: openDir(t), witnesses: map[person]*witness{}}
			for _, p := range append(f.readers, f.writer) {
				f.start(p)
			}
			defer f.stop()
			f.all(n)
			t.Logf("%d runs with a fault: %d saved, %d refused or ended", f.runs, f.saved, f.failed)
			mu.Lock()
			defer mu.Unlock()
			total += f.runs
		})
	}
}

// openBinary returns a copy of the test binary that all users can run.
func openBinary(t *testing.T) string {
	self, err := os.Executable()
	require.NoError(t, err)
	data, err := os.ReadFile(self)
	require.NoError(t, err)
	path := filepath.Join(openDir(t), "child")
	require.NoError(t, os.WriteFile(path, data, 0o755))
	return path
}

// all injects a kill into each call, and one error or all of them.
func (f *faultTest) all(choice int) {
	clean := f.run()
	require.NotEmpty(f, clean.calls, clean.stderr)
	f.check(clean, fault{})
	for i, c := range clean.calls {
		if f.noLinks && strings.Contains(c.line, "(INJECTED)") {
			continue
		}
		whats := errorsOf(c)
		if !*allFaults {
			n := (choice + i) % len(whats)
			whats = whats[n : n+1]
		}
		for _, what := range whats {
			c.what = "error=" + what
			f.inject(c)
		}
		c.what = "signal=KILL"
		f.inject(c)
	}
}

// inject runs the case with a fault, and again if the fault has struck another call. The Go runtime
// writes to an eventfd of its own in some runs and not in others, which changes the number of c. So
// a miss is followed by a run without a fault, which tells the number again.
func (f *faultTest) inject(c fault) {
	for range 20 {
		r := f.run("-e", fmt.Sprintf("inject=%s:%s:when=%d", c.call, c.what, c.n))
		if r.isStruck(c) {
			f.runs++
			f.check(r, c)
			return
		}
		require.NoError(f, os.RemoveAll(filepath.Dir(r.path)))
		clean := f.run()
		if now, ok := clean.find(c); ok {
			c.n = now.n
		}
		require.NoError(f, os.RemoveAll(filepath.Dir(clean.path)))
	}
	f.Errorf("in twenty runs %s has never struck %s", c.what, c.line)
}

// find returns the call of r that is c in another run.
func (r result) find(c fault) (now fault, ok bool) {
	nth := 0
	for _, now := range r.calls {
		if now.call == c.call {
			if nth++; nth == c.nth {
				return now, true
			}
		}
	}
	return fault{}, false
}

// isStruck reports whether a run had the fault c, in a call that concerns the directory.
func (r result) isStruck(c fault) bool {
	at := slices.IndexFunc(r.calls, func(is fault) bool { return is.call == c.call && is.n == c.n })
	if c.what == "signal=KILL" {
		return at >= 0 && at == len(r.calls)-1
	}
	return at >= 0 && strings.Contains(r.calls[at].line, "(INJECTED)")
}

// check looks at the files after a run.
func (f *faultTest) check(r result, c fault) {
	what := fmt.Sprintf("%s in %s\n%s", c.what, c.line, r.stderr)
	if r.ok {
		f.saved++
	} else {
		f.failed++
	}
	assert.NotContains(f, r.stderr, "TEST_TOKEN", what) // G13
	f.checkConfig(r, what)
	key := f.checkFiles(r, what)
	for _, p := range append(slices.Clone(f.readers), f.writer) {
		f.checkReader(r, c, p, what)
	}
	// Root that cannot give a new file away keeps it. So a store that maps root to another user
	// can be used.
	if f.firstRun && strings.Contains(c.call, "chown") {
		require.NoError(f, os.RemoveAll(filepath.Dir(r.path)))
		return
	}
	token, problem := f.witnesses[f.writer].says(f.T, r.path, f.cw, true)
	assert.Empty(f, problem, what)
	assert.Equal(f, "TEST_TOKEN_witness", token, what)
	names := []string{"config.json", "config.json.lock"}
	if f.cw {
		names = append(names, ".cw_master_key")
		now, err := os.ReadFile(filepath.Join(filepath.Dir(r.path), ".cw_master_key"))
		assert.NoError(f, err, what)
		assert.True(f, len(key) == 0 || bytes.Equal(key, now), "%s: another key", what)
	}
	if have := namesIn(f.T, filepath.Dir(r.path)); !assert.ElementsMatch(f, names, have, what) {
		f.Log(r.calls)
	}
	require.NoError(f, os.RemoveAll(filepath.Dir(r.path)))
}

func namesIn(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// checkReader requires that a person finds the old token or the new one.
func (f *faultTest) checkReader(r result, c fault, p person, what string) {
	if f.firstRun && (!r.ok || strings.Contains(c.call, "chown")) {
		return // no one could read anything before
	}
	token, problem := f.witnesses[p].says(f.T, r.path, f.cw, false)
	assert.Empty(f, problem, "%s: uid %d", what, p.uid)
	if r.ok {
		assert.Equal(f, "TEST_TOKEN_new", token, what)
	} else {
		assert.Contains(f, []string{"TEST_TOKEN_on_disk", "TEST_TOKEN_new"}, token, what)
	}
}

// checkConfig compares the config with the one before.
func (f *faultTest) checkConfig(r result, what string) {
	info, err := os.Stat(r.path)
	if f.firstRun {
		if !errors.Is(err, fs.ErrNotExist) && assert.NoError(f, err, what) {
			assert.Equal(f, os.FileMode(0o600), info.Mode(), what)
		}
		return
	}
	if !assert.NoError(f, err, what) {
		return
	}
	twin, err := os.MkdirTemp(f.top, "")
	require.NoError(f, err)
	defer os.RemoveAll(twin)
	f.files(f.T, twin)
	was, err := os.Stat(filepath.Join(twin, "config.json"))
	require.NoError(f, err)
	assert.Equal(f, was.Mode(), info.Mode(), what)
	is, had := info.Sys().(*syscall.Stat_t), was.Sys().(*syscall.Stat_t)
	assert.Equal(f, had.Uid, is.Uid, what)
	assert.True(f, f.anyGroup || had.Gid == is.Gid, "%s: group %d", what, is.Gid)
	data, err := os.ReadFile(r.path)
	require.NoError(f, err)
	if !f.cw {
		assert.Contains(f, []string{before, strings.ReplaceAll(before, "on_disk", "new")}, string(data), what)
	}
}

// checkFiles requires that no file is open to more people than the config, except for the
// empty lock file. It returns the key.
func (f *faultTest) checkFiles(r result, what string) (key []byte) {
	allowed := os.FileMode(0o600)
	if info, err := os.Stat(r.path); err == nil {
		allowed |= info.Mode().Perm()
	}
	dir := filepath.Dir(r.path)
	if _, err := os.Stat(dir); f.firstRun && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range namesIn(f.T, dir) {
		info, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(f, err)
		if info.Size() > 0 {
			assert.Zero(f, info.Mode().Perm()&^allowed, "%s: %s is %v", what, name, info.Mode())
		}
		if name == ".cw_master_key" {
			assert.Equal(f, os.FileMode(0o600), info.Mode(), what)
			key, err = os.ReadFile(filepath.Join(dir, name))
			require.NoError(f, err)
		}
	}
	return key
}
