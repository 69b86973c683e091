package plexauth_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// The handler passes level, module and text with attributes to its function.
func TestLogFunc(t *testing.T) {
	var got []string
	log := slog.New(plexauth.NewLogHandler(func(level, module, message string) { got = append(got, level+"|"+module+"|"+message) }))
	log.Debug("d")
	log.Info("i", "key", "value", "n", 3)
	log.Log(context.Background(), plexauth.LevelSuccess, "s")
	log.WithGroup("g").With("a", "two words").Warn("w", slog.Group("h", "b", ""))
	log.Error("e")
	assert.Equal(t, []string{"DEBUG|AUTH|d", "INFO|AUTH|i key=value n=3", "SUCCESS|AUTH|s", `WARN|AUTH|w g.a="two words" g.h.b=""`, "ERROR|AUTH|e"}, got)
}

// A nil function prints to standard output, as CrossWatch does.
func TestLogFuncNil(t *testing.T) {
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	os.Stdout = w
	log := slog.New(plexauth.NewLogHandler(nil))
	log.Debug("not shown")
	log.Info("Plex[default]: request PIN")
	w.Close()
	out, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "[AUTH] INFO: Plex[default]: request PIN\n", string(out))
}

// The handler follows slog's rules.
func TestLogHandlerConformance(t *testing.T) {
	var lines []string
	h := plexauth.NewLogHandler(func(level, _, message string) { lines = append(lines, level+" "+message) })
	err := slogtest.TestHandler(h, func() []map[string]any {
		var all []map[string]any
		for _, line := range lines {
			level, rest, _ := strings.Cut(line, " ")
			m := map[string]any{slog.LevelKey: level, slog.TimeKey: time.Now()}
			msg, attrs, _ := strings.Cut(rest, " ")
			m[slog.MessageKey] = msg
			for _, f := range strings.Fields(attrs) {
				k, v, _ := strings.Cut(f, "=")
				if u, err := strconv.Unquote(v); err == nil {
					v = u
				}
				at, path := m, strings.Split(k, ".")
				for _, g := range path[:len(path)-1] {
					if at[g] == nil {
						at[g] = map[string]any{}
					}
					at = at[g].(map[string]any)
				}
				at[path[len(path)-1]] = v
			}
			all = append(all, m)
		}
		return all
	})
	// The handler shows no time, so slogtest's rule on the zero time does not apply.
	for _, line := range strings.Split(errText(err), "\n") {
		if line != "" && !strings.Contains(line, "time") {
			t.Error(line)
		}
	}
}

// errText returns the text of err, or nothing.
func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A login writes CrossWatch's log lines.
func TestLoginLog(t *testing.T) {
	var b bytes.Buffer
	w := newWorld(t, func(o *plexauth.Options) {
		o.Instance = "PLEX-P01"
		o.Logger = slog.New(plexauth.NewLogHandler(func(level, module, message string) { b.WriteString(level + " " + message + "\n") }))
	})
	w.signInNow(t)
	_, err := w.Disconnect(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "INFO Plex[PLEX-P01]: request PIN\nSUCCESS Plex[PLEX-P01]: PIN issued\nSUCCESS Plex[PLEX-P01]: token stored\nINFO Plex[PLEX-P01]: disconnected\n", b.String())
}

// hostileName contains control sequences for terminals and characters that hide or
// reverse text.
const hostileName = "Box\x1b[2J\u009b2J\u009d0;title\u009c\u202egnp\u200b\u2028\u2029\u0085\ufeff\x7f\r\n\U000e0041\xff!"

// assertPlain asserts that each line of text is visible as it is.
func assertPlain(t *testing.T, text string) {
	t.Helper()
	hidden := func(r rune) bool { return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) }
	for part := range strings.SplitSeq(text, "\n") { // joined errors
		assert.False(t, !utf8.ValidString(part) || strings.ContainsFunc(part, hidden), "%+q", part)
	}
}

// G13: names that other people have given to servers, accounts and themselves appear
// in logs and errors as visible text on one line.
func TestNamesOfOthersInLogsAndErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var texts []string
		note := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			texts = append(texts, text)
		}
		w := newWorld(t, func(o *plexauth.Options) {
			o.Logger = slog.New(plexauth.NewLogHandler(func(_, _, message string) { note(message) }))
		})
		mallory := w.plex.AddUser(plextest.User{Username: hostileName, Title: hostileName})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: hostileName, Connections: []plextest.Connection{lan}})
		require.NoError(t, errOf(w.Inspect(t.Context())))
		w.plex.AddMediaServer(mallory, plextest.MediaServer{Name: hostileName, SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{URI: "https://\u202e\u009b2J.example", Address: "\u009b2J.example"}}})
		w.edit(t, map[string]any{"server_url": "", "machine_id": "", "pms_token": ""})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: hostileName, NoAccessToken: true})
		note(errOf(w.Inspect(t.Context())).Error())
		note(errOf(w.UseServer(t.Context(), hostileName)).Error())
		for _, s := range must(w.Servers(t.Context())) {
			if s.MachineID != box.MachineID {
				note(errOf(w.UseServer(t.Context(), s.MachineID)).Error())
			}
		}
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 422, ContentType: "application/json", Body: `{"errors":[{"code":1234,"message":"no\u009b2J \u202egnp"}]}`})
		note(errOf(w.Verify(t.Context())).Error())
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, mallory))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		note(err.Error())
		log := slog.New(plexauth.NewLogHandler(func(_, _, message string) { note(message) }))
		log.With("who\u202e", hostileName).WithGroup("g\u009b").Info("seen: "+hostileName, "name", hostileName, "one", "a\u202eb")
		for _, text := range texts {
			assertPlain(t, text)
		}
		assert.Greater(t, len(texts), 9)
	})
}

// A secret is redacted even if hidden characters are mixed into it.
func TestHiddenCharactersInASecret(t *testing.T) {
	p, mock := linkedMock(t)
	mock.RegisterResponder("GET", "https://plex.tv/api/v2/user", jsonAnswer(400, `{"errors":[{"code":1,"message":"TEST_acc\u200bount-tok\u202een is unknown"}]}`))
	_, err := p.Verify(t.Context())
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "TEST_account-token")
}
