//go:build !unix

package confdir

import "os"

// Sync does nothing: this system cannot sync a directory.
func Sync(*os.File) error { return nil }
