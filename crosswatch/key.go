package crosswatch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fernet/fernet-go"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/jsonfile"
)

// keyVariables are looked at before the file, in this order.
var keyVariables = []string{"CW_CONFIG_KEY", "CROSSWATCH_CONFIG_KEY"}

// masterKey is CrossWatch's key and where it was found.
type masterKey struct {
	key    *fernet.Key
	source string // the variable's name, or the file's path
	onDisk bool   // a power cut does not take it; always so for a variable
}

// findKey returns the key in use, nil where there is none. As in CrossWatch,
// reading the file gives it back its mode and owner.
func findKey(dir string) (*masterKey, error) {
	for _, name := range keyVariables {
		if text := strings.TrimSpace(os.Getenv(name)); text != "" {
			key, err := normalizeKey(text)
			if err != nil {
				return nil, fmt.Errorf("%w: the key in %s: %w", plexauth.ErrStore, name, err)
			}
			return &masterKey{key, name, true}, nil
		}
	}
	path := filepath.Join(dir, keyName)
	key, err := readKey(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: the key: %w: let the user that runs this program (uid %d) read it, or run as the user of CrossWatch", plexauth.ErrStore, err, os.Geteuid())
	case err != nil:
		return nil, fmt.Errorf("%w: the key: %w", plexauth.ErrStore, err)
	}
	return &masterKey{key, path, false}, nil
}

func readKey(path string) (*fernet.Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		if to, linkErr := os.Readlink(path); linkErr == nil { // as in FileStore, no first run
			return nil, fmt.Errorf("%s is a symbolic link to %s, which cannot be followed: mount or make what it leads to, or remove the link: %v", path, to, err)
		}
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file (%s)", path, info.Mode())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	protect(f)
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	key, err := normalizeKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// findOrMakeKey makes the key file where there is no key at all. The caller
// holds the lock and knows that nothing in the config is encrypted. CrossWatch
// makes its file without the lock, so the file appears whole, and never in the
// place of another.
func findOrMakeKey(dir string) (*masterKey, error) {
	path := filepath.Join(dir, keyName)
	key, err := findKey(dir)
	write := writeNew
	if errors.Is(err, errEmptyKey) && abandoned(path) {
		write = writeOver
	} else if key != nil || err != nil {
		return key, err
	}
	made := new(fernet.Key)
	if err := made.Generate(); err != nil {
		return nil, fmt.Errorf("%w: the key: %w", plexauth.ErrStore, err)
	}
	err = write(path, []byte(made.Encode()))
	if err == nil {
		err = syncFile(dir) // before anything that needs the key is on the disk
	}
	if errors.Is(err, fs.ErrExist) {
		key, err := findKey(dir)
		if err == nil && key == nil {
			err = fmt.Errorf("%w: the key: %s came and went while it was made: try again", plexauth.ErrStore, path)
		}
		return key, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: cannot make the key: %w", plexauth.ErrStore, err)
	}
	return &masterKey{made, path, true}, nil
}

// keyWriting is longer than CrossWatch takes from making its key file to filling
// it.
const keyWriting = 10 * time.Second

// abandoned reports whether the empty key file at path is what a killed process
// has left: no process is filling it, and it is no link to a file elsewhere.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > keyWriting
}

// putOnDisk makes sure that a power cut cannot take a key file which another
// program has just made. CrossWatch does not sync it.
func (k *masterKey) putOnDisk() error {
	if k.onDisk {
		return nil
	}
	path, err := filepath.EvalSymlinks(k.source)
	if err == nil {
		err = syncFile(path)
	}
	if err == nil {
		err = syncFile(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("%w: the key: cannot put %s on the disk: %w", plexauth.ErrStore, k.source, err)
	}
	k.onDisk = true
	return nil
}

// writeTemp makes a file with the content beside path.
func writeTemp(path string, content []byte) (name string, err error) {
	// As a FileStore's, which clears away what a killed process leaves.
	temp, err := jsonfile.CreateTemp(filepath.Join(filepath.Dir(path), configName))
	if err != nil {
		return "", err
	}
	if err := fill(temp, content); err != nil {
		os.Remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}

// writeOver puts a file of mode 0600 in the place of the one at path.
func writeOver(path string, content []byte) error {
	temp, err := writeTemp(path, content)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}

// writeNew makes a file of mode 0600 that must not exist yet, all at once
// where the file system has hard links.
func writeNew(path string, content []byte) error {
	temp, err := writeTemp(path, content)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	err = os.Link(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeExclusive(path, content)
}

// writeExclusive is writeNew without hard links: for a moment the file is empty.
func writeExclusive(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f, content); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

// syncFile puts a file on the disk, or the names of the files in a directory.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return jsonfile.Sync(f)
}

// fill writes, syncs and closes f, and gives it to the owner of its directory.
func fill(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		giveToOwner(f)
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

var (
	errEmptyKey   = errors.New("the key is empty: CrossWatch may be writing it at this moment, so try again; else put the key back from a backup of CrossWatch, or remove the file where there is no backup")
	errKeyNotText = errors.New("the key is not UTF-8 text, and CrossWatch cannot read it either: put it back from a backup of CrossWatch")
)

// normalizeKey makes a key of any text as CrossWatch does: a text that decodes
// to 32 bytes is those bytes, any other is hashed.
func normalizeKey(text string) (*fernet.Key, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errEmptyKey
	}
	if !utf8.ValidString(text) {
		return nil, errKeyNotText
	}
	key := new(fernet.Key)
	if b, ok := lenientBase64(text); ok && len(b) == len(key) {
		copy(key[:], b)
		return key, nil
	}
	*key = sha256.Sum256([]byte(text))
	return key, nil
}

// lenientBase64 decodes as Python's urlsafe_b64decode does: both alphabets,
// foreign characters ignored, nothing read after a complete padding.
func lenientBase64(text string) ([]byte, bool) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var out []byte
	var carry byte
	quad, pads := 0, 0
	for i := range len(text) {
		c := text[i]
		switch c {
		case '-':
			c = '+'
		case '_':
			c = '/'
		}
		if c == '=' {
			if quad >= 2 {
				if pads++; quad+pads >= 4 {
					return out, true
				}
			}
			continue
		}
		v := bytes.IndexByte([]byte(alphabet), c)
		if v < 0 {
			continue
		}
		pads = 0
		b := byte(v)
		switch quad {
		case 0:
			carry = b
		case 1:
			out = append(out, carry<<2|b>>4)
			carry = b & 0x0f
		case 2:
			out = append(out, carry<<4|b>>2)
			carry = b & 0x03
		case 3:
			out = append(out, carry<<6|b)
		}
		quad = (quad + 1) % 4
	}
	return out, quad == 0
}
