package plexauth_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

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

// The handler keeps slog's own rules.
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
	// The handler shows no time, so slogtest's one rule on the zero time does
	// not apply; everything else does.
	for _, line := range strings.Split(errText(err), "\n") {
		if line != "" && !strings.Contains(line, "time") {
			t.Error(line)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The provider's log lines, in CrossWatch's words.
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
