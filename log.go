package plexauth

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/plexauth/plexauth/internal/hostlog"
	"github.com/plexauth/plexauth/internal/plain"
)

// LevelSuccess is the level of the messages "PIN issued" and "token stored". It is
// between Info and Warn. A [LogFunc] gets it as "SUCCESS". A handler of package slog
// prints "INFO+2", unless its ReplaceAttr changes that.
const LevelSuccess slog.Level = hostlog.LevelSuccess

// LogFunc is the log function of a host program. level is "DEBUG", "INFO", "SUCCESS",
// "WARN" or "ERROR", and module is "AUTH". A record's attributes follow the message as
// key=value. A LogFunc must be safe for concurrent use.
type LogFunc func(level, module, message string)

// NewLogHandler returns a [slog.Handler] that passes every record to f. If f is nil, it
// prints Info and above to standard output as "[AUTH] INFO: message".
func NewLogHandler(f LogFunc) slog.Handler {
	if f != nil {
		return hostlog.New(f, slog.LevelDebug)
	}
	return hostlog.New(func(level, module, message string) {
		fmt.Printf("[%s] %s: %s\n", module, level, message)
	}, slog.LevelInfo)
}

func (s *profileStore) info(ctx context.Context, what string) { s.logf(ctx, slog.LevelInfo, what) }

func (s *profileStore) warn(ctx context.Context, what string, err error) {
	s.logf(ctx, slog.LevelWarn, what, slog.String("error", plain.Long(err.Error())))
}

// logf logs what, in the form of CrossWatch's provider, which has one document.
func (s *profileStore) logf(ctx context.Context, level slog.Level, what string, attrs ...slog.Attr) {
	if !s.log.Enabled(ctx, level) {
		return
	}
	if s.namespace != Namespace {
		attrs = append(attrs, slog.String("namespace", s.namespace))
	}
	s.log.LogAttrs(ctx, level, plain.Line("Plex["+s.instance+"]: "+what), attrs...)
}
