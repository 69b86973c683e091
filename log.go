package plexauth

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/plexauth/plexauth/internal/plain"
)

// LevelSuccess is the level of the messages "PIN issued" and "token stored". It is
// between Info and Warn. A [LogFunc] gets it as "SUCCESS". A handler of package slog
// prints "INFO+2", unless its ReplaceAttr changes that.
const LevelSuccess slog.Level = slog.LevelInfo + 2

// LogFunc is the log function of a host program. level is "DEBUG", "INFO", "SUCCESS",
// "WARN" or "ERROR", and module is "AUTH". A record's attributes follow the message as
// key=value. A LogFunc must be safe for concurrent use.
type LogFunc func(level, module, message string)

// NewLogHandler returns a [slog.Handler] that passes every record to f. If f is nil, it
// prints Info and above to standard output as "[AUTH] INFO: message".
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
		s = fmt.Sprintf("%q", s) // shows invisible characters
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

// logf logs what, in the form of CrossWatch's provider.
func (s *profileStore) logf(ctx context.Context, level slog.Level, what string, attrs ...slog.Attr) {
	s.log.LogAttrs(ctx, level, plain.Line("Plex["+s.instance+"]: "+what), attrs...)
}
