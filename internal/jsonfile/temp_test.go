package jsonfile_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// G15: an Update removes the temporary files that killed processes left, and no
// other file.
func TestCreateTemp(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.json")
	dir := filepath.Dir(config)
	old := time.Now().Add(-time.Hour) // on a shared file system only old files are removed
	temps := map[string]bool{}
	for range 3 {
		f, err := jsonfile.CreateTemp(config)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, os.Chtimes(f.Name(), old, old))
		assert.Equal(t, dir, filepath.Dir(f.Name()))
		temps[f.Name()] = true
	}
	assert.Len(t, temps, 3)
	others := []string{
		"config.json.plexauth-0123456789abcdef.tmp",
		".other.json.plexauth-0123456789abcdef.tmp",
		".config.json.plexauth-0123456789abcdef",
		"0123456789abcdef.tmp",
		".config.json.plexauth-0123456789abcde.tmp",
		".config.json.plexauth-0123456789abcdeg.tmp",
		".config.json.plexauth-0123456789abcdef00.tmp",
	}
	for _, name := range others {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		require.NoError(t, os.Chtimes(filepath.Join(dir, name), old, old))
	}

	file := jsonfile.New(config)
	err := file.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{}`), nil
	})
	require.NoError(t, err)
	for name := range temps {
		assert.NoFileExists(t, name)
	}
	for _, name := range others {
		assert.FileExists(t, filepath.Join(dir, name))
	}
}

// A complete file gets its name unless another file has it.
func TestNameNew(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.json")
	name := func(content string) error {
		f, err := jsonfile.CreateTemp(config)
		require.NoError(t, err)
		_, err = f.WriteString(content)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		return jsonfile.NameNew(f.Name(), config)
	}
	require.NoError(t, name("first"))
	require.ErrorIs(t, name("second"), fs.ErrExist)
	data, err := os.ReadFile(config)
	require.NoError(t, err)
	assert.Equal(t, "first", string(data))
	assert.ErrorIs(t, jsonfile.NameNew(config+".gone", config+".new"), fs.ErrNotExist)
}
