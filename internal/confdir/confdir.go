// Package confdir makes files beside a config file that other programs share:
// temporary ones that are recognized when a killed process has left them, and
// all of them for whom the config belongs to.
package confdir

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// A temporary file's name is that of the config with a dot before and this
// behind. The part between is random bytes in hex.
const (
	mark   = ".plexauth-"
	suffix = ".tmp"
	random = 8
)

// CreateTemp makes a new file of mode 0600 beside config, open for writing.
func CreateTemp(config string) (*os.File, error) {
	return os.OpenFile(tempName(config), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// MkdirTemp makes a new directory of mode 0700 beside dir, and returns its name.
func MkdirTemp(dir string) (name string, err error) {
	name = tempName(dir)
	return name, os.Mkdir(name, 0o700)
}

func tempName(config string) string {
	var b [random]byte
	rand.Read(b[:]) // never fails
	dir, base := filepath.Split(config)
	return filepath.Join(dir, "."+base+mark+hex.EncodeToString(b[:])+suffix)
}

// IsTemp reports whether name, that of a file in config's directory, is one
// that CreateTemp or MkdirTemp gives.
func IsTemp(config, name string) bool {
	middle, ok := strings.CutPrefix(name, "."+filepath.Base(config)+mark)
	if !ok {
		return false
	}
	middle, ok = strings.CutSuffix(middle, suffix)
	b, err := hex.DecodeString(middle)
	return ok && err == nil && len(b) == random
}
