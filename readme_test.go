package plexauth_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
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
		"strconv": "strconv", "io": "io", "template": "html/template", "httpmock": "github.com/jarcoal/httpmock",
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
	var files, args []string
	for _, name := range append([]string{"README.md"}, docs...) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, m := range goBlock.FindAllStringSubmatch(string(text), -1) {
			files = append(files, wrapped(m[1]))
			args = append(args, fmt.Sprintf("./internal/document%d", len(files)))
		}
	}
	require.Greater(t, len(files), 3)
	build(t, files, args...)
}

// build runs go build with packages that are not there: internal/document1 has the first
// of files, and so on.
func build(t *testing.T, files []string, args ...string) {
	t.Helper()
	root, err := os.Getwd()
	require.NoError(t, err)
	dir, replace := t.TempDir(), map[string]string{}
	for i, text := range files {
		file := filepath.Join(dir, fmt.Sprintf("%d.go", i+1))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		replace[filepath.Join(root, fmt.Sprintf("internal/document%d", i+1), "block.go")] = file
	}
	overlay := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlay, []byte(jsonText(map[string]any{"Replace": replace})), 0o600))
	out, err := exec.Command("go", append([]string{"build", "-overlay", overlay}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// The README's first program asks a person once: when it is started again, it is signed
// in, and makes no request.
func TestReadmeLoginAsksOnce(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	const product = `Product: "My App",`
	block := goBlock.FindStringSubmatch(string(text))[1]
	require.Contains(t, block, product)
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	program := filepath.Join(t.TempDir(), "program.exe")
	build(t, []string{strings.Replace(block, product, product+fmt.Sprintf("BaseURL: %q,", plex.URL()), 1)}, "-o", program, "./internal/document1")

	run := func() (printed []string) {
		c := exec.CommandContext(t.Context(), program)
		c.Dir = filepath.Dir(program)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		for lines := bufio.NewScanner(out); lines.Scan(); {
			printed = append(printed, lines.Text())
			if _, code, ok := strings.Cut(lines.Text(), "confirm the code "); ok {
				assert.NoError(t, plex.Approve(code, alice))
			}
		}
		require.NoError(t, c.Wait())
		return printed
	}
	assert.Len(t, run(), 2, "the code, and who has signed in")
	requests := len(plex.Requests())
	assert.Equal(t, []string{"Signed in as alice"}, run())
	assert.Len(t, plex.Requests(), requests)
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
