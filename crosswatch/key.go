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
	"unicode/utf8"

	"github.com/fernet/fernet-go"

	"github.com/plexauth/plexauth"
)

// keyVariables are the environment variables that come before the key file, in this order.
var keyVariables = []string{"CW_CONFIG_KEY", "CROSSWATCH_CONFIG_KEY"}

// masterKey is CrossWatch's key.
type masterKey struct {
	key    *fernet.Key
	source string // the name of the variable, or the path of the file
	synced bool   // a power cut cannot lose the key; always true for a variable
}

// findKey returns the key in use, or nil if there is none. Like CrossWatch, it restores the
// mode and owner of the key file.
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
		if to, linkErr := os.Readlink(path); linkErr == nil { // a link that leads nowhere is not a first run
			return nil, fmt.Errorf("%s is a symbolic link to %s, which does not exist or cannot be read: mount or create it, or remove the link: %v", path, to, err)
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
	restoreRights(f)
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

var (
	errEmptyKey   = errors.New("the key is empty: CrossWatch may be writing it right now, so try again; if it stays empty, restore the key from a backup of CrossWatch, or remove the file if there is no backup")
	errKeyUTF16   = errors.New("the key is UTF-16 text, as some editors on Windows save it, and CrossWatch cannot read it either: save it as UTF-8 (in PowerShell 7: Set-Content -Encoding utf8NoBOM), or restore it from a backup of CrossWatch")
	errKeyNotText = errors.New("the key is not UTF-8 text, and CrossWatch cannot read it either: restore it from a backup of CrossWatch")
)

// normalizeKey returns the key that CrossWatch makes of text. If text is base64 for 32 bytes,
// the key is those bytes; otherwise it is the SHA-256 hash of text.
func normalizeKey(text string) (*fernet.Key, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errEmptyKey
	}
	switch {
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"): // its byte order mark
		return nil, errKeyUTF16
	case !utf8.ValidString(text):
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

// lenientBase64 decodes text as Python's urlsafe_b64decode does. It accepts both base64
// alphabets, ignores all other characters, and stops after complete padding.
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
