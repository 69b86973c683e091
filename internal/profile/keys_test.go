package profile_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The README lists every key under which something is stored, for those who share the
// store with other programs.
func TestReadmeListsTheStoredKeys(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(readme), "## What is stored")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	source, err := os.ReadFile("keys.go")
	require.NoError(t, err)
	keys := regexp.MustCompile(`(?m)^\tkey\w+\s+= "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		if key[1] != "instances" { // the text above the table describes it
			assert.Regexp(t, "`"+key[1]+"[`.]", table)
		}
	}
}
