package jsonfile

import (
	"bytes"
	"fmt"

	"github.com/plexauth/plexauth/internal/fault"
)

// corruptError is ErrCorruptConfig with the place of the error. It does not quote the file.
type corruptError struct {
	path   string
	member string // "" for the whole file
	err    error
}

func (e *corruptError) Error() string {
	what := e.path
	if e.member != "" {
		what = fmt.Sprintf("%q in %s", e.member, e.path)
	}
	return fmt.Sprintf("%v: %s: %v: it was not changed; repair it, restore a backup, or move it away to start with a new one", fault.ErrCorruptConfig, what, e.err)
}

func (e *corruptError) Unwrap() []error {
	return []error{fault.ErrStore, fault.ErrCorruptConfig, e.err}
}

// encodingError is ErrCorruptConfig for a file in another encoding than UTF-8.
type encodingError struct{ path, encoding string }

func (e *encodingError) Error() string {
	return fmt.Sprintf("%v: %s is %s: it was not changed; save it as UTF-8 without a byte order mark (in PowerShell 7: Set-Content -Encoding utf8NoBOM)", fault.ErrCorruptConfig, e.path, e.encoding)
}

func (e *encodingError) Unwrap() []error { return []error{fault.ErrStore, fault.ErrCorruptConfig} }

// encoding returns the encoding of data, or "" for plain UTF-8. It recognizes a byte order
// mark, and the zero bytes around the first character: JSON begins with an ASCII character.
func encoding(data []byte) string {
	for _, e := range []struct{ start, name string }{
		{"\xff\xfe\x00\x00", "UTF-32 with a byte order mark"}, // must come before UTF-16, because it begins with the same mark
		{"\x00\x00\xfe\xff", "UTF-32 with a byte order mark"},
		{"\xff\xfe", "UTF-16 with a byte order mark"},
		{"\xfe\xff", "UTF-16 with a byte order mark"},
		{"\xef\xbb\xbf", "UTF-8 with a byte order mark"},
	} {
		if bytes.HasPrefix(data, []byte(e.start)) {
			return e.name
		}
	}
	if len(data) < 4 {
		return ""
	}
	zero := [4]bool{data[0] == 0, data[1] == 0, data[2] == 0, data[3] == 0}
	switch zero {
	case [4]bool{false, true, true, true}, [4]bool{true, true, true, false}:
		return "UTF-32"
	case [4]bool{false, true, false, true}, [4]bool{true, false, true, false}:
		return "UTF-16"
	}
	return ""
}
