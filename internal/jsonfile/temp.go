package jsonfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The name of a temporary file is a dot, the name of the config, tempMark, random bytes in hex,
// and tempSuffix. So it can be recognized if the process dies.
const (
	tempMark        = ".plexauth-"
	tempSuffix      = ".tmp"
	tempRandomBytes = 8
)

// CreateTemp creates a file of mode 0600 beside config and opens it for writing.
// If the process dies, a later Update of config removes the file.
func CreateTemp(config string) (*os.File, error) {
	return os.OpenFile(tempName(config), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// NameNew gives the complete file temp its name, by a hard link, or on Linux by a rename. If
// the system can do neither, it returns an error. It never replaces a file: if name exists,
// the error matches [fs.ErrExist]. temp may still exist afterwards; the caller removes it.
func NameNew(temp, name string) error {
	err := os.Link(temp, name)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return renameNew(temp, name)
}

func tempName(config string) string {
	var b [tempRandomBytes]byte
	rand.Read(b[:]) // never fails
	dir, base := filepath.Split(config)
	return filepath.Join(dir, "."+base+tempMark+hex.EncodeToString(b[:])+tempSuffix)
}

// isTemp reports whether name is one that CreateTemp or mkdirTemp gives to files
// beside config.
func isTemp(config, name string) bool {
	middle, ok := strings.CutPrefix(name, "."+filepath.Base(config)+tempMark)
	if !ok {
		return false
	}
	middle, ok = strings.CutSuffix(middle, tempSuffix)
	b, err := hex.DecodeString(middle)
	return ok && err == nil && len(b) == tempRandomBytes
}

// writeTemp writes data to a new file beside path and syncs it. The file gets the mode and owner
// of path, which old describes, or those of a new file if old is nil. If writeTemp fails, it
// removes the file.
func writeTemp(path string, data []byte, old fs.FileInfo) (name string, err error) {
	f, err := CreateTemp(path)
	if err != nil {
		return "", explain(path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = keepOwner(f, path, old)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(f.Name())
		return "", explain(path, err)
	}
	return f.Name(), nil
}

// sharedTempAge is the age at which a temporary file is removed if other machines may use it.
// Their writers may not see our lock.
const sharedTempAge = 10 * time.Minute

// removeTempFiles removes the temporary files that killed processes have left beside path. The
// lock must be held, so that no other process on this machine uses them.
func removeTempFiles(dir *os.File, path string) {
	names, _ := dir.Readdirnames(-1) // if this fails, the files stay
	for _, name := range names {
		if !isTemp(path, name) {
			continue
		}
		full := filepath.Join(filepath.Dir(path), name)
		info, err := os.Lstat(full)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if time.Since(info.ModTime()) >= sharedTempAge || !mayBeShared(path) {
			os.Remove(full)
		}
	}
}
