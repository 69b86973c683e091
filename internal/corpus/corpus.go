// Package corpus checks that a fuzz test has seeds. Without seeds it tests next
// to nothing in an ordinary test run, and still passes.
package corpus

import (
	"os"
	"path/filepath"
	"testing"
)

// Require fails f if testdata/fuzz has no seeds for it. Seeds written by hand
// have descriptive file names.
func Require(f *testing.F) {
	f.Helper()
	dir := filepath.Join("testdata", "fuzz", f.Name())
	if seeds, err := os.ReadDir(dir); err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds in %s", dir)
	}
}
