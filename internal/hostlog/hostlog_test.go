package hostlog_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/hostlog"
)

// logged returns the lines that log writes, each as "LEVEL MODULE message".
func logged(min slog.Level, log func(*slog.Logger)) (lines []string) {
	log(slog.New(hostlog.New(func(level, module, message string) { lines = append(lines, level+" "+module+" "+message) }, min)))
	return lines
}

// Each level has the name of the last one that is not above it.
func TestLevels(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug - 4:      "DEBUG",
		slog.LevelDebug:          "DEBUG",
		slog.LevelInfo:           "INFO",
		slog.LevelInfo + 1:       "INFO",
		hostlog.LevelSuccess:     "SUCCESS",
		hostlog.LevelSuccess + 1: "SUCCESS",
		slog.LevelWarn:           "WARN",
		slog.LevelError:          "ERROR",
		slog.LevelError + 4:      "ERROR",
	} {
		lines := logged(slog.LevelDebug-4, func(l *slog.Logger) { l.Log(t.Context(), level, "m") })
		assert.Equal(t, []string{want + " AUTH m"}, lines, "%d", level)
	}
}

func TestLevelsBelowTheMinimum(t *testing.T) {
	lines := logged(slog.LevelWarn, func(l *slog.Logger) {
		l.Info("no")
		l.Log(t.Context(), hostlog.LevelSuccess, "no")
		l.Warn("yes")
	})
	assert.Equal(t, []string{"WARN AUTH yes"}, lines)
}

// valuer has another value in a log.
type valuer struct{ slog.Value }

func (v valuer) LogValue() slog.Value { return v.Value }

func TestAttributes(t *testing.T) {
	for name, c := range map[string]struct {
		args []any
		want string
	}{
		"none":                 {nil, "m"},
		"plain":                {[]any{"a", "b", "n", 3, "on", true}, "m a=b n=3 on=true"},
		"an error":             {[]any{"error", errors.New("no route")}, `m error="no route"`},
		"empty":                {[]any{"a", ""}, `m a=""`},
		"with a space":         {[]any{"a", "b c"}, `m a="b c"`},
		"with an equals sign":  {[]any{"a", "b=c"}, `m a="b=c"`},
		"with a quote":         {[]any{"a", `b"c`}, `m a="b\"c"`},
		"a group":              {[]any{slog.Group("g", "a", 1, slog.Group("h", "b", 2))}, "m g.a=1 g.h.b=2"},
		"a group without name": {[]any{slog.Group("", "a", 1)}, "m a=1"},
		"an empty group":       {[]any{slog.Group("g")}, "m"},
		"an empty attribute":   {[]any{slog.Attr{}, "a", 1}, "m a=1"},
		"a LogValuer":          {[]any{"a", valuer{slog.StringValue("shown")}}, "m a=shown"},
		"a LogValuer of a group": {
			[]any{"g", valuer{slog.GroupValue(slog.Int("a", 1))}}, "m g.a=1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			lines := logged(slog.LevelInfo, func(l *slog.Logger) { l.Info("m", c.args...) })
			assert.Equal(t, []string{"INFO AUTH " + c.want}, lines)
		})
	}
}

func TestGroupsAndGivenAttributes(t *testing.T) {
	lines := logged(slog.LevelInfo, func(l *slog.Logger) {
		g := l.With("a", 1).WithGroup("g")
		h := g.With("b", 2).WithGroup("h")
		h.Info("inner", "c", 3)
		g.Info("outer", "c", 3)
		l.WithGroup("").Info("none", "c", 3)
		l.Info("plain", "c", 3)
	})
	assert.Equal(t, []string{
		"INFO AUTH inner a=1 g.b=2 g.h.c=3",
		"INFO AUTH outer a=1 g.c=3",
		"INFO AUTH none c=3",
		"INFO AUTH plain c=3",
	}, lines, "a logger does not change the one it was made from")
}

// G13: a record is one line of visible text, whatever other people call themselves.
func TestOneLine(t *testing.T) {
	lines := logged(slog.LevelInfo, func(l *slog.Logger) {
		l.Info("two\nlines\x1b[2J", "name", "Box\n\u202e[AUTH] ERROR", "k\ney", "v", "zero width", "a\u200bb")
	})
	assert.Equal(t, []string{`INFO AUTH two lines [2J name="Box\n\u202e[AUTH] ERROR" k ey=v zero width="a\u200bb"`}, lines)
}

// A handler says which levels it takes, so that a record of another one is not made.
func TestEnabled(t *testing.T) {
	h := hostlog.New(func(string, string, string) {}, slog.LevelInfo)
	assert.False(t, h.Enabled(context.Background(), slog.LevelDebug))
	assert.True(t, h.Enabled(context.Background(), slog.LevelInfo))
	assert.Same(t, h, h.WithGroup(""), "a group without a name changes nothing")
	assert.True(t, h.WithGroup("g").WithAttrs([]slog.Attr{slog.Int("a", 1)}).Enabled(context.Background(), slog.LevelInfo))
	assert.False(t, h.WithGroup("g").Enabled(context.Background(), slog.LevelDebug))
}
