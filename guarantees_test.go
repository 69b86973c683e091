package plexauth_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// declaredTest matches a test with its comment and its body.
var declaredTest = regexp.MustCompile(`(?m)^(?://.*\n)*func ((?:Test|Fuzz)\w+)\(.*(?:\}$|\n(?:[^}\n].*\n|\n)*\}$)`)

// docs/guarantees.md names tests that exist, and each of them names its promise.
func TestGuaranteesAreTested(t *testing.T) {
	page, err := os.ReadFile("docs/guarantees.md")
	require.NoError(t, err)
	texts := map[string]string{} // a test's name to its text; more than one may have the name
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declaredTest.FindAllStringSubmatch(string(b), -1) {
			texts[m[1]] += m[0]
		}
		return err
	}))
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	promises, attacks, ok := strings.Cut(string(page), "## How the promises were attacked\n")
	require.True(t, ok)
	for _, m := range named.FindAllStringSubmatch(attacks, -1) {
		assert.NotEmpty(t, texts[m[1]], "there is no test %s", m[1])
	}
	ways := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-zA-Z ]+) \|.*\|.*\|$`).FindAllStringSubmatch(attacks, -1) {
		ways[m[1]] = true
	}
	for n := 1; n <= 29; n++ {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| G%d \|.*$`, n)).FindString(promises)
		attackedBy := regexp.MustCompile(fmt.Sprintf(`(?m)^\| G%d \| (.*) \|$`, n)).FindStringSubmatch(attacks)
		if assert.NotEmpty(t, attackedBy, "G%d: attacked in no way", n) {
			list, _, _ := strings.Cut(attackedBy[1], ":")
			for _, way := range strings.Split(list, ", ") {
				assert.True(t, ways[way], "G%d: %q is no way of the table", n, way)
			}
		}
		tests := named.FindAllStringSubmatch(row, -1)
		assert.NotEmpty(t, tests, "G%d names no test", n)
		for _, m := range tests {
			assert.Contains(t, texts, m[1], "G%d: there is no such test", n)
			assert.Regexp(t, fmt.Sprintf(`\bG%d\b`, n), texts[m[1]], "%s does not say that it is of G%d", m[1], n)
		}
	}
}
