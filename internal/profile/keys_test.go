package profile_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/stored.md lists every key under which something is stored, for those who share the
// store with other programs.
func TestStoredKeysAreListed(t *testing.T) {
	table, err := os.ReadFile("../../docs/stored.md")
	require.NoError(t, err)
	source, err := os.ReadFile("keys.go")
	require.NoError(t, err)
	keys := regexp.MustCompile(`(?m)^\tkey\w+\s+= "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		if key[1] != "instances" { // the text above the table describes it
			assert.Regexp(t, "`"+key[1]+"[`.]", string(table))
		}
	}
}
