package plexauth

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/plexauth/plexauth/internal/plain"
)

// LevelSuccess is the level of the two good news of a login, "PIN issued" and
// "token stored". It lies between Info and Warn: a [LogFunc] hears of "SUCCESS",
// and a handler of slog's shows "INFO+2" unless its ReplaceAttr knows better.
const LevelSuccess slog.Level = slog.LevelInfo + 2

// LogFunc is a host's own log function. level is "DEBUG", "INFO", "SUCCESS",
// "WARN" or "ERROR", module is "AUTH", and a record's attributes follow the
// message as key=value. It must be safe for concurrent use.
type LogFunc func(level, module, message string)

// NewLogHandler returns a [slog.Handler] that hands every record to f. With a
// nil f it prints Info and above as "[AUTH] INFO: message" to standard output.
func NewLogHandler(f LogFunc) slog.Handler {
	h := &logHandler{f: f, min: slog.LevelDebug}
	if f == nil {
		h.min = slog.LevelInfo
		h.f = func(level, module, message string) {
			fmt.Printf("[%s] %s: %s\n", module, level, message)
		}
	}
	return h
}

type logHandler struct {
	f      LogFunc
	min    slog.Level
	group  string // the open groups, "a.b."
	prefix string // the attributes given so far, " k=v"
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.min }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(plain.Line(r.Message))
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, h.group, a)
		return true
	})
	h.f(levelName(r.Level), "AUTH", b.String())
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	for _, a := range attrs {
		writeAttr(&b, h.group, a)
	}
	next := *h
	next.prefix += b.String()
	return &next
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.group += name + "."
	return &next
}

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
		s = fmt.Sprintf("%q", s) // which shows what is hidden, too
	}
	fmt.Fprintf(b, " %s=%s", plain.Line(group+a.Key), plain.Line(s))
}

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

func (s *profileStore) info(ctx context.Context, what string) { s.logf(ctx, slog.LevelInfo, what) }

func (s *profileStore) warn(ctx context.Context, what string, err error) {
	s.logf(ctx, slog.LevelWarn, what, slog.String("error", plain.Long(err.Error())))
}

// logf speaks as CrossWatch's provider does.
func (s *profileStore) logf(ctx context.Context, level slog.Level, what string, attrs ...slog.Attr) {
	s.log.LogAttrs(ctx, level, plain.Line("Plex["+s.instance+"]: "+what), attrs...)
}
