// Package confdir creates files beside a config file that several programs
// share. Temporary files have names that identify them after a crash. On Unix
// the package also finds the owner that new files should have.
package confdir

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// The name of a temporary file is a dot, the name of the config, tempMark, random
// bytes in hex, and tempSuffix.
const (
	tempMark        = ".plexauth-"
	tempSuffix      = ".tmp"
	tempRandomBytes = 8
)

// CreateTemp creates a file of mode 0600 beside config and opens it for writing.
func CreateTemp(config string) (*os.File, error) {
	return os.OpenFile(tempName(config), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// MkdirTemp creates a directory of mode 0700 beside dir and returns its name.
func MkdirTemp(dir string) (name string, err error) {
	name = tempName(dir)
	return name, os.Mkdir(name, 0o700)
}

func tempName(config string) string {
	var b [tempRandomBytes]byte
	rand.Read(b[:]) // never fails
	dir, base := filepath.Split(config)
	return filepath.Join(dir, "."+base+tempMark+hex.EncodeToString(b[:])+tempSuffix)
}

// IsTemp reports whether CreateTemp or MkdirTemp may have made the file name in
// the directory of config.
func IsTemp(config, name string) bool {
	middle, ok := strings.CutPrefix(name, "."+filepath.Base(config)+tempMark)
	if !ok {
		return false
	}
	middle, ok = strings.CutSuffix(middle, tempSuffix)
	b, err := hex.DecodeString(middle)
	return ok && err == nil && len(b) == tempRandomBytes
}
