package plexauth_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goBlock matches a block of Go in a document.
var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// wrapped makes a whole file of a block that is a function or some lines.
func wrapped(block string) string {
	switch {
	case strings.HasPrefix(block, "package "):
		return block
	case !regexp.MustCompile(`(?m)^func `).MatchString(block):
		var uses strings.Builder
		for _, m := range regexp.MustCompile(`(?m)^(\w+(?:, \w+)*) :=`).FindAllStringSubmatch(block, -1) {
			for _, name := range strings.Split(m[1], ", ") {
				fmt.Fprintf(&uses, "_ = %s\n", name)
			}
		}
		block = "func _(ctx context.Context, auth *plexauth.PlexAuth) {\n" + block + uses.String() + "}\n"
	}
	imports := ""
	for name, path := range map[string]string{
		"context": "context", "fmt": "fmt", "http": "net/http", "testing": "testing", "slog": "log/slog", "sql": "database/sql", "log": "log", "errors": "errors", "json": "encoding/json", "strings": "strings",
		"plexauth": "github.com/plexauth/plexauth", "plextest": "github.com/plexauth/plexauth/plextest", "storetest": "github.com/plexauth/plexauth/storetest",
		"signin": "github.com/plexauth/plexauth/signin", "crosswatch": "github.com/plexauth/plexauth/crosswatch", "sqlstore": "github.com/plexauth/plexauth/sqlstore",
		"httpmock": "github.com/jarcoal/httpmock",
	} {
		if regexp.MustCompile(`\b` + name + `\.`).MatchString(block) {
			imports += fmt.Sprintf("import %q\n", path)
		}
	}
	return "package p\n\n" + imports + block
}

// Every Go block in the documents compiles.
func TestDocumentsCompile(t *testing.T) {
	docs, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	dir := t.TempDir()
	root, err := os.Getwd()
	require.NoError(t, err)
	overlay := map[string]map[string]string{"Replace": {}}
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json")}
	n := 0
	for _, name := range append([]string{"README.md"}, docs...) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, m := range goBlock.FindAllStringSubmatch(string(text), -1) {
			n++
			pkg := fmt.Sprintf("internal/document%d", n)
			file := filepath.Join(dir, fmt.Sprintf("%d.go", n))
			require.NoError(t, os.WriteFile(file, []byte(wrapped(m[1])), 0o600))
			overlay["Replace"][filepath.Join(root, pkg, "block.go")] = file
			args = append(args, "./"+pkg)
		}
	}
	require.Greater(t, n, 3)
	b, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), b, 0o600))
	out, err := exec.Command("go", args...).CombinedOutput()
	assert.NoError(t, err, string(out))
}

// The README shows the first commands, and a login that is short enough to read at a
// glance.
func TestReadmeCommands(t *testing.T) {
	b, err := os.ReadFile("README.md")
	require.NoError(t, err)
	login := goBlock.FindStringSubmatch(string(b))
	require.NotNil(t, login)
	assert.LessOrEqual(t, strings.Count(login[1], "\n"), 29, "lines, with package and imports")
	for _, command := range []string{"\ngo run ./cmd/plexauth login -offline\n", "\ngo test ./...\n", "`go run ./cmd/plexauth login`", "\ngo run ./examples/sync -offline start\n", "\ngo run ./examples/device -offline\n"} {
		assert.Contains(t, string(b), command)
	}
}
