package signin_test

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/signin"
)

type recorder struct{ text string }

func (r *recorder) Errorf(format string, args ...any) { r.text += fmt.Sprintf(format, args...) }

// G13: nothing that prints a Handler shows the key with which everybody could
// make the cookies of a sign-in.
func TestKeyIsNotPrinted(t *testing.T) {
	h := newWorld(t, func(w *world, o *signin.Options) { o.Plex, o.HTTPClient = nil, nil }).Handler
	type app struct {
		name   string
		signIn *signin.Handler
	}
	shown := ""
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		shown += fmt.Sprintf(verb, h) + fmt.Sprintf(verb, &app{"a", h})
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "handler", h)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "handler", h)
	diff := &recorder{}
	assert.Equal(diff, &app{"a", h}, &app{"b", nil})
	shown += log.String() + diff.text
	assert.Contains(t, diff.text, "signin.Handler")
	start := []byte(testKey)[:10]
	goBytes := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", start), "[]byte{"), "}")
	for _, form := range []string{string(start), hex.EncodeToString(start), strings.Trim(fmt.Sprint(start), "[]"), goBytes, fmt.Sprintf("% x", start)} {
		assert.NotContains(t, shown, form)
	}
	// Nor what is made of the key: the cipher stays out of sight.
	assert.NotContains(t, diff.text, "aes.Block")
}
