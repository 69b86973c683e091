package sqlstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// PostgreSQL writes the whole of a changed column, but not a large column that has not changed.
// So a small change of a large document goes into the column patch.

// maxPatch is the length in bytes up to which a change is kept in the column patch.
const maxPatch = 8 << 10

// patch is the difference between the column document and the document.
type patch struct {
	version int64  // of the row; the table's constraint compares it
	sum     uint32 // of the column document
	from    int    // where the two begin to differ, in bytes
	length  int    // of what is different in the column document
	text    []byte // what is there in the document
}

// newPatch returns the patch from base to next, both in UTF-8, in the row of that version. It cuts
// no character in two, because the database would refuse the rest.
func newPatch(version int64, base, next []byte) patch {
	from := commonPrefix(base, next)
	for from > 0 && from < len(base) && !utf8.RuneStart(base[from]) {
		from--
	}
	same := commonSuffix(base[from:], next[from:])
	for same > 0 && !utf8.RuneStart(next[len(next)-same]) {
		same--
	}
	return patch{version, crc32.ChecksumIEEE(base), from, len(base) - same - from, next[from : len(next)-same]}
}

// column returns the text of the column.
func (p patch) column() string {
	return fmt.Sprintf("%d %d %d %d %s", p.version, p.sum, p.from, p.length, p.text)
}

var errPatch = errors.New("the column patch is not one of this document: if the document was edited by hand, set patch to NULL")

// applyPatch returns the document of a row with the columns document and patch.
func applyPatch(base json.RawMessage, column string) (json.RawMessage, error) {
	fields := strings.SplitN(column, " ", 5)
	if len(fields) < 5 {
		return nil, errPatch
	}
	var numbers [4]int
	for i := range numbers {
		n, err := strconv.Atoi(fields[i])
		if err != nil || n < 0 {
			return nil, errPatch
		}
		numbers[i] = n
	}
	sum, from, length, text := numbers[1], numbers[2], numbers[3], fields[4]
	if sum != int(crc32.ChecksumIEEE(base)) || from > len(base) || length > len(base)-from {
		return nil, errPatch
	}
	return slices.Concat(base[:from], []byte(text), base[from+length:]), nil
}

// blockSize is how many bytes are compared at once.
const blockSize = 1 << 10

// commonPrefix returns the length of the longest common prefix of a and b.
func commonPrefix(a, b []byte) int {
	n, i := min(len(a), len(b)), 0
	for n-i >= blockSize && bytes.Equal(a[i:i+blockSize], b[i:i+blockSize]) {
		i += blockSize
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// commonSuffix returns the length of the longest common suffix of a and b.
func commonSuffix(a, b []byte) int {
	n, i := min(len(a), len(b)), 0
	for n-i >= blockSize && bytes.Equal(a[len(a)-i-blockSize:len(a)-i], b[len(b)-i-blockSize:len(b)-i]) {
		i += blockSize
	}
	for i < n && a[len(a)-i-1] == b[len(b)-i-1] {
		i++
	}
	return i
}
