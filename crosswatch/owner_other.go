//go:build !unix

package crosswatch

import "os"

// giveToOwner does nothing where files have no such owner.
func giveToOwner(*os.File) {}

// protect does nothing where files have no such mode.
func protect(*os.File) {}
