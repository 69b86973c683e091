// Package hostlog formats log records for the log function of a host program.
package hostlog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/plexauth/plexauth/internal/plain"
)

// LevelSuccess is the level with the name "SUCCESS", between Info and Warn.
const LevelSuccess = slog.LevelInfo + 2

// module is the name under which a host logs.
const module = "AUTH"

// Handler is a [slog.Handler] that passes each record to a function as one line of text. It
// is safe for concurrent use if the function is.
type Handler struct {
	f      func(level, module, message string)
	min    slog.Level
	group  string // the open groups, "a.b."
	prefix string // the attributes given so far, " k=v"
}

// New returns a Handler that passes records of level min and above to f.
func New(f func(level, module, message string), min slog.Level) *Handler {
	return &Handler{f: f, min: min}
}

// Enabled implements [slog.Handler].
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.min }

// Handle implements [slog.Handler].
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(plain.Line(r.Message))
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, h.group, a)
		return true
	})
	h.f(levelName(r.Level), module, b.String())
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	for _, a := range attrs {
		writeAttr(&b, h.group, a)
	}
	next := *h
	next.prefix += b.String()
	return &next
}

// WithGroup implements [slog.Handler].
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.group += name + "."
	return &next
}

// writeAttr writes " key=value" to b for an attribute in group, and for each attribute of
// a group. A value that would be ambiguous is quoted.
func writeAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, a := range v.Group() {
			writeAttr(b, group, a)
		}
		return
	}
	s := v.String()
	if s == "" || plain.Line(s) != s || strings.ContainsAny(s, ` "=`) {
		s = fmt.Sprintf("%q", s) // shows invisible characters
	}
	fmt.Fprintf(b, " %s=%s", plain.Line(group+a.Key), plain.Line(s))
}

// levelName returns the name by which hosts know a level.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < LevelSuccess:
		return "INFO"
	case l < slog.LevelWarn:
		return "SUCCESS"
	case l < slog.LevelError:
		return "WARN"
	}
	return "ERROR"
}
