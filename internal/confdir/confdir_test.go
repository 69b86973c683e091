package confdir_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/confdir"
)

func TestTemp(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.json")
	names := map[string]bool{}
	for range 3 {
		f, err := confdir.CreateTemp(config)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		assert.Equal(t, filepath.Dir(config), filepath.Dir(f.Name()))
		assert.True(t, confdir.IsTemp(config, filepath.Base(f.Name())), f.Name())
		names[f.Name()] = true
	}
	assert.Len(t, names, 3)
	for _, name := range []string{
		"config.json",
		"config.json.plexauth-0123456789abcdef.tmp",
		".other.json.plexauth-0123456789abcdef.tmp",
		".config.json.plexauth-0123456789abcdef",
		".config.json.plexauth-0123456789abcde.tmp",
		".config.json.plexauth-0123456789abcdeg.tmp",
		".config.json.plexauth-0123456789abcdef00.tmp",
	} {
		assert.False(t, confdir.IsTemp(config, name), name)
	}
}
