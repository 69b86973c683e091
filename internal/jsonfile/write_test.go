package jsonfile_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// An Update that changes nothing does not touch the file.
func TestFileStoreNoWriteWithoutChange(t *testing.T) {
	doc := "{\n  \"plex\": {\n    \"a\": 1.0\n  }\n}\n"
	path := fileWith(t, doc)
	before, err := os.Stat(path)
	require.NoError(t, err)
	store := open(path)
	for name, edit := range map[string]func(json.RawMessage) (json.RawMessage, error){
		"the same bytes":    func(current json.RawMessage) (json.RawMessage, error) { return current, nil },
		"other white space": becomes(`{"a":1.0}`),
	} {
		require.NoError(t, store.Update(t.Context(), "plex", edit), name)
		after, err := os.Stat(path)
		require.NoError(t, err)
		assert.True(t, os.SameFile(before, after), name)
	}
	require.NoError(t, store.Update(t.Context(), "absent", becomes("")))
	require.NoError(t, store.Check(t.Context()))
	compact := fileWith(t, `{"plex":{"a":1.0}}`)
	require.NoError(t, open(compact).Update(t.Context(), "plex", becomes(`{"a":1.0}`)))
	assert.Equal(t, `{"plex":{"a":1.0}}`, content(t, compact), "a file is not reformatted without a change")
	after, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))
	assert.Equal(t, doc, content(t, path))
}

// G15: the mode of an existing file is kept.
func TestFileStoreKeepsMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes on Windows")
	}
	for _, mode := range []os.FileMode{0o600, 0o640, 0o664, 0o400} {
		path := fileWith(t, "{}")
		require.NoError(t, os.Chmod(path, mode))
		require.NoError(t, open(path).Update(t.Context(), "plex", becomes(`{"a":1}`)))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm())
	}
}

// G15: files that a killed process has left are removed, and no others.
func TestFileStoreRemovesLitter(t *testing.T) {
	path := fileWith(t, "{}")
	dir := filepath.Dir(path)
	others := []string{
		"config.1700000000.12.34.0123abcd.tmp",            // CrossWatch's
		".config.json.plexauth-0123456789abcdef.tmp.bak",  // a person's copy
		".config.json.plexauth-0123456789abcde.tmp",       // too short
		".config.json.plexauth-0123456789abcdeg.tmp",      // no hex
		".other.json.plexauth-0123456789abcdef.tmp",       // another store's
		"config.json.backup_20260101_000000_000000",       // CrossWatch's
		".config.json.plexauth-fedcba9876543210-mine.tmp", // a person's
	}
	for _, name := range others {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	// A directory or link of such a name is not ours.
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".config.json.plexauth-00000000000000d1.tmp"), 0o700))
	require.NoError(t, os.Symlink("config.json", filepath.Join(dir, ".config.json.plexauth-0000000000000001.tmp")))
	others = append(others, ".config.json.plexauth-00000000000000d1.tmp", ".config.json.plexauth-0000000000000001.tmp")
	litter := filepath.Join(dir, ".config.json.plexauth-0123456789abcdef.tmp")
	for _, call := range []func(*jsonfile.File) error{
		func(s *jsonfile.File) error { return s.Update(t.Context(), "plex", becomes(`{"a":1}`)) },
		func(s *jsonfile.File) error { return s.Update(t.Context(), "plex", becomes(`{"a":1}`)) }, // changes nothing
		func(s *jsonfile.File) error { return s.Check(t.Context()) },
	} {
		require.NoError(t, os.WriteFile(litter, []byte("{"), 0o600))
		require.NoError(t, call(open(path)))
		checkNoLitter(t, path, append(others, "config.json", "config.json.lock")...)
	}
}

// A document of ten megabytes is edited in place.
func TestFileStoreLargeDocument(t *testing.T) {
	big := `{"a":[` + strings.Repeat(`{"k":"value","n":10.0},`, 450_000) + `0],"plex":{"x":1},"z":0}`
	path := fileWith(t, big)
	require.Greater(t, len(big), 10_000_000)
	require.NoError(t, open(path).Update(t.Context(), "plex", becomes(`{"x":2}`)))
	assert.True(t, content(t, path) == strings.Replace(big, `{"x":1}`, "{\n    \"x\": 2\n  }", 1))
}
