package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

// world is a fake plex.tv with alice, and a directory for her logins.
type world struct {
	plex  *plextest.Server
	alice *plextest.User
	dir   string
	in    string    // what the person types
	stdin io.Reader // nil: in
}

func newWorld(t *testing.T) *world {
	w := &world{plex: plextest.NewServer(), dir: t.TempDir()}
	t.Cleanup(w.plex.Close)
	w.alice = w.plex.AddUser(plextest.User{Username: "alice"})
	return w
}

// addServer adds a media server of alice, which answers at an address of its own.
func (w *world) addServer(name, ip string) *plextest.MediaServer {
	return w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: name, Connections: []plextest.Connection{{Address: ip, Local: true}}})
}

// result is what a run of the program has printed, and its exit status.
type result struct {
	out, err string
	status   int
}

// run runs the program with a config file in w.dir, unless args name another place. No
// token may be printed, but by the command token to stdout.
func (w *world) run(t *testing.T, ctx context.Context, args ...string) result {
	t.Helper()
	if len(args) > 0 && !strings.Contains(strings.Join(args, " "), "-crosswatch") {
		args = append([]string{"-config", filepath.Join(w.dir, "plexauth.json")}, args...)
	}
	var out, err bytes.Buffer
	in := w.stdin
	if in == nil {
		in = strings.NewReader(w.in)
	}
	p := &program{stdin: in, stdout: &out, stderr: &err, client: w.plex.Client()}
	status := p.run(ctx, args)
	assert.NotContains(t, err.String(), "FAKE_", "a token")
	assert.NotContains(t, err.String(), "plexauth: plexauth:")
	if !strings.Contains(strings.Join(args, " "), "token") {
		assert.NotContains(t, out.String(), "FAKE_", "a token")
	}
	return result{out.String(), err.String(), status}
}

// login runs the command login while alice approves whatever code there is.
func (w *world) login(t *testing.T, args ...string) result {
	t.Helper()
	return w.loginUntil(t, t.Context(), args...)
}

// loginUntil does what login does, and stops the program when until ends.
func (w *world) loginUntil(t *testing.T, until context.Context, args ...string) result {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var approving sync.WaitGroup
	approving.Go(func() {
		for ctx.Err() == nil {
			for _, code := range w.plex.PendingCodes() {
				_ = w.plex.Approve(code, w.alice)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	r := w.run(t, until, append([]string{"login"}, args...)...)
	stop()
	approving.Wait()
	return r
}

// inBubble runs a test with a clock of its own, in which waiting takes no time.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

// A login shows link and code, finds the media server and is kept. The next one says that
// it is there, without a request, and -again begins a new one.
func TestLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.addServer("Attic", "192.168.1.5")
		r := w.login(t)
		require.Equal(t, 0, r.status, r)
		assert.Regexp(t, `^Open https://plex\.tv/link/\?pin=(\w{4})\nor enter \w{4} at https://plex\.tv/pin\nWaiting for your approval until \d\d:\d\d \.\.\.\n`, r.out)
		assert.Contains(t, r.out, "Signed in as alice.\nSaved in "+filepath.Join(w.dir, "plexauth.json")+"\n")
		assert.Regexp(t, `Media server at https://192-168-1-5\.\S+\.plex\.direct:32400\n`, r.out)
		assert.NotContains(t, r.out, "\x1b", "this is not a terminal")
		assert.Empty(t, r.err)

		requests := len(w.plex.Requests())
		r = w.login(t)
		assert.Equal(t, 0, r.status, r)
		assert.Contains(t, r.out, "Already signed in as alice")
		assert.Len(t, w.plex.Requests(), requests)

		before := w.run(t, t.Context(), "token").out
		r = w.login(t, "-again")
		assert.Equal(t, 0, r.status, r)
		assert.Contains(t, r.out, "Signed in as alice")
		assert.NotEqual(t, before, w.run(t, t.Context(), "token").out)
		assert.Empty(t, w.plex.Violations())
	})
}

// Where there are several media servers, the person is asked. No answer chooses none.
func TestLoginAsksForTheServer(t *testing.T) {
	for typed, chosen := range map[string]string{"\n5\nx\n2\n": "Media server Attic at https://192-168-1-6.", "0\n": "Not chosen. To choose later: plexauth use -config ", "": "Not chosen."} {
		inBubble(t, func(t *testing.T, w *world) {
			w.addServer("Living\x1b[2J\u202eroom", "192.168.1.5")
			w.addServer("Attic", "192.168.1.6")
			w.in = typed
			r := w.login(t)
			assert.Equal(t, 0, r.status, r)
			assert.Contains(t, r.out, "Which media server?\n  1  Living [2Jroom\n  2  Attic\nEnter 1, 2, or 0 to choose none: ")
			assert.Contains(t, r.out, chosen)
			assert.Empty(t, r.err)
			wrong := []string{}
			if strings.Contains(typed, "x") {
				wrong = []string{`"5" is not one of these numbers.`, `"x" is not one of these numbers.`}
			}
			assert.ElementsMatch(t, wrong, regexp.MustCompile(`".*" is not one of these numbers\.`).FindAllString(r.out, -1))
		})
	}
}

// Stopping it at the question does not end the login.
func TestLoginInterruptedAtTheQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.addServer("Living room", "192.168.1.5")
		w.addServer("Attic", "192.168.1.6")
		r, typing := io.Pipe()
		defer typing.Close()
		w.stdin = r
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, stop)
		result := w.loginUntil(t, ctx)
		assert.Equal(t, 130, result.status, result)
		assert.Contains(t, result.out, "Signed in as alice.")
		assert.Contains(t, result.err, "Stopped.\nYou are signed in. To choose the media server: plexauth use -config ")
		assert.Equal(t, 0, w.run(t, t.Context(), "status").status)
	})
}

// A login is kept even if no media server can be found.
func TestLoginWithoutServer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		r := w.login(t)
		assert.Equal(t, 0, r.status, r)
		assert.Contains(t, r.out, "This account may use no media server.\n")
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.plex.ChangeMediaServer(w.addServer("Attic", "192.168.1.5"), func(m *plextest.MediaServer) { m.Offline = true })
		r := w.login(t)
		assert.Equal(t, 0, r.status, r)
		assert.Contains(t, r.out, "Signed in as alice")
		assert.Contains(t, r.err, "You are signed in. To try again with the media server: plexauth use -config ")
		assert.Regexp(t, `^plexauth: the media server answers at none of its addresses: https://192-168-1-5\.\S+ nothing listens there`, r.err)
	})
}

// A person who stops a login is told how to go on, and the next run takes up the same code.
func TestLoginInterrupted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		canceled, cancel := context.WithCancel(t.Context())
		context.AfterFunc(ctx, cancel)
		r := w.run(t, canceled, "login")
		assert.Equal(t, 130, r.status, r)
		assert.Regexp(t, `^Stopped\.\nThe code stays valid until \d\d:\d\d\. To go on with it:\nplexauth login -config \S+\n$`, r.err)
		code := regexp.MustCompile(`or enter (\w+)`).FindStringSubmatch(r.out)[1]

		s := w.run(t, t.Context(), "status")
		assert.Equal(t, 3, s.status)
		assert.Contains(t, s.out, "\nopen https://plex.tv/link/?pin="+code)

		canceled, cancel = context.WithCancel(t.Context())
		cancel()
		assert.Equal(t, 130, w.run(t, canceled, "login").status)

		require.NoError(t, w.plex.Approve(code, w.alice))
		r = w.run(t, t.Context(), "login")
		assert.Equal(t, 0, r.status, r)
		assert.Contains(t, r.out, "Signed in as alice")
		assert.NotContains(t, r.out, "Open ", "it is approved already")
		assert.Empty(t, w.plex.PendingCodes())
	})
}

// Trouble while a login waits is told once, and does not end it.
func TestLoginOutlivesAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Times: 3, Status: 502})
		r := w.login(t)
		assert.Equal(t, 0, r.status, r)
		assert.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
		assert.Contains(t, r.err, "plexauth: cannot ask plex.tv about the PIN; the login continues: ")
	})
}

// How a login fails says the exit status.
func TestLoginFails(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins", Status: 503, Times: 9})
		r := w.login(t)
		assert.Equal(t, 4, r.status, r)
		assert.Contains(t, r.err, "plexauth: create PIN: plex.tv answered 503")
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.plex.SetPinLifetime(20*time.Second, 0)
		r := w.run(t, t.Context(), "login")
		assert.Equal(t, 1, r.status, r)
		assert.Contains(t, r.err, "plexauth: the PIN expired before it was approved\nBegin again with: plexauth login -config ")
	})
	inBubble(t, func(t *testing.T, w *world) {
		require.Equal(t, 0, w.login(t).status)
		w.alice = w.plex.AddUser(plextest.User{Username: "bob"})
		r := w.login(t, "-again")
		assert.Equal(t, 1, r.status, r)
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, stop)
		require.Equal(t, 130, w.run(t, ctx, "login", "-again").status)
		require.NoError(t, w.plex.Approve(w.plex.PendingCodes()[0], w.alice))
		assert.Equal(t, r.err, w.run(t, t.Context(), "login", "-again").err, "approved after it was stopped")
		assert.Contains(t, r.err, "Nothing was changed. To use the other account, first sign out with: plexauth logout -config ")
		assert.Contains(t, w.run(t, t.Context(), "status").out, "Signed in as alice")
	})
	inBubble(t, func(t *testing.T, w *world) {
		require.NoError(t, os.WriteFile(filepath.Join(w.dir, "plexauth.json"), []byte("{"), 0o600))
		r := w.login(t)
		assert.Equal(t, 1, r.status, r)
		assert.Contains(t, r.err, "plexauth: config store: ")
		assert.Empty(t, w.plex.Requests())
	})
}

// status tells people and scripts what is stored, and makes no request.
func TestStatus(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		r := w.run(t, t.Context(), "status")
		assert.Equal(t, 3, r.status)
		assert.Contains(t, r.out, "Not signed in. Sign in with: plexauth login -config "+w.dir)
		assert.Empty(t, r.err)
		assert.NoFileExists(t, filepath.Join(w.dir, "plexauth.json"), "a look leaves nothing")

		box := w.addServer("Attic", "192.168.1.5")
		require.Equal(t, 0, w.login(t).status)
		requests := len(w.plex.Requests())
		r = w.run(t, t.Context(), "status")
		assert.Equal(t, 0, r.status)
		assert.Regexp(t, `(?s)^Signed in as alice\.\naccount number: +\d+\n.*server: +https://192-168-1-5\.\S+\nmachine id: +`+box.MachineID+`\nkept in: +`+w.dir, r.out)

		r = w.run(t, t.Context(), "status", "-json")
		assert.Equal(t, 0, r.status)
		var v struct {
			Status struct {
				Connected bool
				User      string
			}
			Settings map[string]any
			Config   string
		}
		require.NoError(t, json.Unmarshal([]byte(r.out), &v), r.out)
		assert.True(t, v.Status.Connected)
		assert.Equal(t, "alice", v.Status.User)
		assert.Equal(t, box.MachineID, v.Settings["machine_id"])
		assert.Equal(t, filepath.Join(w.dir, "plexauth.json"), v.Config)
		assert.Len(t, w.plex.Requests(), requests)

		r = w.run(t, t.Context(), "status", "-json", "-profile", "kids")
		assert.Equal(t, 3, r.status)
		require.NoError(t, json.Unmarshal([]byte(r.out), &v), r.out)
		assert.False(t, v.Status.Connected)
	})
}

// token prints the token and nothing else, or nothing at all.
func TestToken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, args := range [][]string{{"token"}, {"token", "-server"}} {
			r := w.run(t, t.Context(), args...)
			assert.Equal(t, 3, r.status)
			assert.Empty(t, r.out)
			assert.Contains(t, r.err, "plexauth: not connected to Plex, sign in first\nSign in with: plexauth login -config ")
		}
		require.Equal(t, 0, w.login(t).status)
		r := w.run(t, t.Context(), "token")
		assert.Equal(t, 0, r.status)
		assert.Regexp(t, `^FAKE_\S+\n$`, r.out)
		assert.Empty(t, r.err)
		account := r.out

		r = w.run(t, t.Context(), "token", "-server")
		assert.Equal(t, 1, r.status)
		assert.Empty(t, r.out)
		assert.Contains(t, r.err, "Choose a server with: plexauth use -config ")

		box := w.addServer("Attic", "192.168.1.5")
		require.Equal(t, 0, w.login(t, "-again").status)
		r = w.run(t, t.Context(), "token", "-server")
		assert.Equal(t, 0, r.status)
		assert.Equal(t, w.plex.ServerToken(w.alice, box)+"\n", r.out)
		assert.NotEqual(t, account, r.out)
	})
}

// Profiles of one file, and CrossWatch's config, have logins of their own.
func TestPlaces(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		require.Equal(t, 0, w.login(t, "-profile", "kids").status)
		assert.Equal(t, 3, w.run(t, t.Context(), "status").status)
		r := w.run(t, t.Context(), "-profile", "kids", "status")
		assert.Equal(t, 0, r.status)
		assert.Contains(t, r.out, "kids")
		r = w.run(t, t.Context(), "-profile", "a\tb", "status")
		assert.Equal(t, 2, r.status)
		assert.Contains(t, r.err, `-profile "a\tb" is not an ID: `)

		dir := t.TempDir()
		r = w.login(t, "-crosswatch", dir)
		assert.Equal(t, 0, r.status, r)
		assert.Contains(t, r.out, "Saved in "+filepath.Join(dir, "config.json"))
		b, err := os.ReadFile(filepath.Join(dir, "config.json"))
		require.NoError(t, err)
		assert.Contains(t, string(b), "enc:v1:")
		assert.Regexp(t, `^FAKE_\S+\n$`, w.run(t, t.Context(), "token", "-crosswatch", dir).out)
	})
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AppData", filepath.Join(t.TempDir(), "none"))
	dir, err := os.UserConfigDir()
	require.NoError(t, err)
	var out bytes.Buffer
	p := &program{stdout: &out, stderr: &out}
	assert.Equal(t, 3, p.run(t.Context(), []string{"status"}))
	assert.Contains(t, out.String(), filepath.Join(dir, "plexauth", "plexauth.json"))
}

// Wrong usage says what is wrong and where to read more, and does nothing.
func TestUsage(t *testing.T) {
	w := newWorld(t)
	for args, says := range map[string]string{
		"nope":                           `there is no command "nope"`,
		"-nope":                          "flag provided but not defined: -nope",
		"status -nope":                   "flag provided but not defined: -nope",
		"status extra":                   `unexpected argument "extra"`,
		"status -config":                 "flag needs an argument: -config",
		"status -crosswatch d -config f": "-config and -crosswatch are two places",
		"token -json":                    "flag provided but not defined: -json",
	} {
		var out, err bytes.Buffer
		p := &program{stdout: &out, stderr: &err, client: w.plex.Client()}
		assert.Equal(t, 2, p.run(t.Context(), strings.Fields(args)), args)
		assert.Empty(t, out.String(), args)
		assert.Contains(t, err.String(), "plexauth: "+says, args)
		assert.Contains(t, err.String(), "\nFor help: plexauth ", args)
	}
	assert.Empty(t, w.plex.Requests())
	var out, err bytes.Buffer
	assert.Equal(t, 2, (&program{stdout: &out, stderr: &err}).run(t.Context(), nil))
	assert.Empty(t, out.String())
	assert.Equal(t, help, err.String())
}

// The help names all commands and flags, on stdout.
func TestHelp(t *testing.T) {
	for _, args := range []string{"-h", "help", "--help"} {
		var out, err bytes.Buffer
		assert.Equal(t, 0, (&program{stdout: &out, stderr: &err}).run(t.Context(), []string{args}))
		for _, c := range commands() {
			assert.Regexp(t, `(?m)^  `+c.name+` +\S`, out.String())
		}
		assert.Empty(t, err.String())
	}
	for _, c := range commands() {
		var out, err bytes.Buffer
		assert.Equal(t, 0, (&program{stdout: &out, stderr: &err}).run(t.Context(), []string{c.name, "-h"}))
		assert.Contains(t, out.String(), "Usage: plexauth "+c.name+" ")
		assert.Contains(t, out.String(), "  -config file\n")
		assert.Empty(t, err.String())
		for line := range strings.Lines(out.String()) {
			assert.LessOrEqual(t, len([]rune(line)), 130, line)
		}
	}
}

// docs/program.md describes every command, and every flag that a command has beside the
// common ones.
func TestProgramIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/program.md")
	require.NoError(t, err)
	for _, c := range commands() {
		assert.Contains(t, string(page), "| `"+c.name)
		var out bytes.Buffer
		(&program{stdout: &out}).run(t.Context(), []string{c.name, "-h"})
		for _, m := range regexp.MustCompile(`(?m)^  -(\w+)`).FindAllStringSubmatch(out.String(), -1) {
			assert.Regexp(t, "`("+c.name+" )?-"+m[1]+"[ `]", string(page), c.name)
		}
	}
}
