package jsonfile_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// TestMain runs the tests in a directory of their own, in which a relative path does no harm.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "jsonfile")
	if err == nil {
		err = os.Chdir(dir)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// open returns the file at path.
func open(path string) *jsonfile.File {
	f := jsonfile.New(path)
	return &f
}

// becomes is an edit that returns value, whatever there was.
func becomes(value string) func(json.RawMessage) (json.RawMessage, error) {
	return func(json.RawMessage) (json.RawMessage, error) {
		if value == "" {
			return nil, nil
		}
		return json.RawMessage(value), nil
	}
}

// fileWith returns the path of a new file with that content.
func fileWith(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// checkNoLitter requires that only these names are in the directory of path.
func checkNoLitter(t *testing.T, path string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	assert.ElementsMatch(t, names, have)
}
