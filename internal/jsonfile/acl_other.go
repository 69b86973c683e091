//go:build unix && !linux

package jsonfile

import "os"

// copyACL does nothing: on macOS an ACL is independent of the mode.
func copyACL(*os.File, string) error { return nil }
