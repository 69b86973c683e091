// Package corpus keeps the fuzz tests honest: one without seeds tries next to
// nothing in an ordinary test run, and passes.
package corpus

import (
	"os"
	"path/filepath"
	"testing"
)

// Require fails f unless testdata/fuzz has seeds for it. Those that people
// wrote have names that say what they are.
func Require(f *testing.F) {
	f.Helper()
	dir := filepath.Join("testdata", "fuzz", f.Name())
	if seeds, err := os.ReadDir(dir); err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds in %s", dir)
	}
}
