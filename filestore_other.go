//go:build !unix

package plexauth

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// shareWait is how long a file that another program has open is tried again.
const shareWait = 2 * time.Second

// patiently tries again while another program has the file open.
func patiently(try func() error) error {
	for end := time.Now().Add(shareWait); ; time.Sleep(lockPace) {
		err := try()
		if err == nil || errors.Is(err, fs.ErrNotExist) || time.Now().After(end) {
			return err
		}
	}
}

func openFile(path string) (f *os.File, err error) {
	err = patiently(func() error {
		f, err = os.Open(path)
		return err
	})
	return f, err
}

func replaceFile(temp, path string) error {
	return patiently(func() error { return os.Rename(temp, path) })
}

func keepOwner(*os.File, string, fs.FileInfo) error { return nil }

func shareLock(*os.File, string) {}

func shareDir(string) {}

func findImmutable(string) error { return nil }

func isMountPoint(string) bool { return false }

func lockHolder(string) string { return "" }

func diagnose(path string, err error) (facts, remedy string) {
	if errors.Is(err, fs.ErrPermission) {
		return "", "let the user that runs this program read the file and write to its directory, and see that no other program keeps it open"
	}
	return "", ""
}
