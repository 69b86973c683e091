//go:build !unix

package confdir

import "os"

// Sync does nothing where a directory cannot be synced.
func Sync(*os.File) error { return nil }
