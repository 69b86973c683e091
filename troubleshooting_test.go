package plexauth_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// sentinelOrComment matches lines that no person sees.
var sentinelOrComment = regexp.MustCompile(`^\s*(//|(var )?Err\w+ += )`)

// Every text in docs/troubleshooting.md is one that a person can see: that of an error
// made here, or one in the sources. Sentinels do not count, since most stand behind
// another text.
func TestTroubleshootingTexts(t *testing.T) {
	seen := errorTexts(t)
	for _, pattern := range []string{"*.go", "internal/words/en.json", "signin/*.go", "crosswatch/*.go", "sqlstore/*.go", "internal/*/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			if strings.HasSuffix(name, "_test.go") && name != "findings_test.go" { // there each finding is compared
				continue
			}
			for line := range strings.Lines(string(b)) {
				if !sentinelOrComment.MatchString(line) {
					seen = append(seen, line)
				}
			}
		}
	}
	changes := regexp.MustCompile(`%[a-z]|\d+|\{\w+\}`) // from case to case
	all := changes.ReplaceAllString(strings.Join(seen, "\n"), "#")

	page, err := os.ReadFile("docs/troubleshooting.md")
	require.NoError(t, err)
	n := 0
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \| `).FindAllStringSubmatch(string(page), -1) {
		for _, text := range regexp.MustCompile("`(.+?)`").FindAllStringSubmatch(row[1], -1) {
			var parts []string
			for part := range strings.SplitSeq(changes.ReplaceAllString(text[1], "#"), "…") {
				parts = append(parts, regexp.QuoteMeta(strings.TrimSpace(part)))
			}
			n++
			assert.True(t, regexp.MustCompile(strings.Join(parts, ".*")).MatchString(all), "no person sees %q", text[1])
		}
	}
	assert.Greater(t, n, 60)
}

// errorTexts returns the texts of errors that it provokes.
func errorTexts(t *testing.T) (texts []string) {
	add := func(err error) {
		t.Helper()
		require.Error(t, err)
		texts = append(texts, err.Error())
	}
	for _, f := range wireFaults {
		if f.says == harmless {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			f.strike(w, faultAt("GET", "/api/v2/user"))
			add(errOf(w.Verify(t.Context())))
		})
	}
	w := newWorld(t)
	w.signInNow(t)
	add(errOf(w.Probe(t.Context(), "http://server/?query")))
	w.plex.Revoke(w.alice)
	add(errOf(w.Verify(t.Context())))
	add(errOf(w.Verify(t.Context())))
	corrupt := fileWith(t, "{\n\"plex\": {\n  \"a\":}")
	add(errOf(w.open(t, withStore(plexauth.NewFileStore(corrupt))).Status(t.Context())))
	add(&plexauth.ServerChoiceError{Servers: []plexauth.Server{{Name: "Box"}}})
	for _, err := range []error{plexauth.ErrPinExpired, plexauth.ErrPinSuperseded, plexauth.ErrNoPendingPin, plexauth.ErrAccountMismatch} { // these come as they are
		add(err)
	}
	return texts
}
