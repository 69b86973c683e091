package main

import (
	"context"
	"log/slog"
	"strings"
)

// noteHandler is a log handler that tells a person of warnings.
type noteHandler struct{ note func(text string) }

// Enabled implements [slog.Handler].
func (noteHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements [slog.Handler]. It leaves out which profile plexauth speaks of, because
// there is only one.
func (h noteHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	if _, after, ok := strings.Cut(text, "]: "); ok && strings.HasPrefix(text, "Plex[") {
		text = after
	}
	r.Attrs(func(a slog.Attr) bool {
		text += ": " + a.Value.String()
		return true
	})
	h.note("plexauth: " + forPeople(text))
	return nil
}

// WithAttrs implements [slog.Handler]. plexauth does not use it.
func (h noteHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements [slog.Handler]. plexauth does not use it.
func (h noteHandler) WithGroup(string) slog.Handler { return h }
