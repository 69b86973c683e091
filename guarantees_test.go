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

// Every promise of docs/guarantees.md names tests that exist, at least one of
// them in a file that speaks of the promise.
func TestGuaranteesAreTested(t *testing.T) {
	page, err := os.ReadFile("docs/guarantees.md")
	require.NoError(t, err)
	files := map[string]string{} // a test's name to its file's text
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
			files[m[1]] += string(b)
		}
		return err
	}))
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	for n := 1; n <= 25; n++ {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| G%d \|.*$`, n)).FindString(string(page))
		tests := named.FindAllStringSubmatch(row, -1)
		if !assert.NotEmpty(t, tests, "G%d names no test", n) {
			continue
		}
		speaks := false
		for _, m := range tests {
			text, ok := files[m[1]]
			assert.True(t, ok, "G%d: there is no %s", n, m[1])
			speaks = speaks || regexp.MustCompile(fmt.Sprintf(`\bG%d\b`, n)).MatchString(text)
		}
		assert.True(t, speaks, "no test of G%d says so", n)
	}
}
