package jsonfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unicode/utf8"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/ordered"
)

// content is the content of the file when it was read.
type content struct {
	path   string
	data   []byte // {} if the file does not exist
	object *ordered.Object
	info   fs.FileInfo // nil if the file does not exist
}

// read reads and parses the file at path. A file that does not exist is an empty object.
func read(ctx context.Context, path string) (*content, error) {
	c := &content{path: path, data: []byte("{}\n")}
	file, err := openFile(ctx, path)
	if err == nil {
		defer file.Close()
		if c.info, err = file.Stat(); err == nil {
			c.data, err = readAll(file, c.info.Size())
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, explain(path, err)
	}
	if name := encoding(c.data); name != "" {
		return nil, &encodingError{path, name}
	}
	c.object, err = ordered.Parse(c.data)
	if errors.Is(err, ordered.ErrNotObject) {
		return nil, c.notObject("", len(c.data)-len(bytes.TrimLeft(c.data, " \t\r\n")))
	}
	if err != nil {
		return nil, &corruptError{path, "", err}
	}
	return c, nil
}

// readAll reads the rest of r, which is probably of this size.
func readAll(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), 1<<30)) + bytes.MinRead) // so that the end is read without growing
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// member returns the object at name, or nil if it is absent or null.
func (c *content) member(name string) (json.RawMessage, error) {
	if !utf8.ValidString(name) { // JSON would replace its invalid bytes
		return nil, fmt.Errorf("%w: %s: the namespace %q is not UTF-8", fault.ErrStore, c.path, name)
	}
	m, ok := c.object.Member(name)
	if !ok || string(m.Value) == "null" {
		return nil, nil
	}
	if m.Value[0] != '{' {
		return nil, c.notObject(name, m.Start)
	}
	return m.Value, nil
}

// replace replaces the file with one that contains doc, unless ctx has ended.
func (c *content) replace(ctx context.Context, dir *os.File, doc []byte) error {
	temp, err := writeTemp(c.path, doc, c.info)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		os.Remove(temp)
		return fmt.Errorf("%w: %s was not changed: %w", fault.ErrStore, c.path, err)
	}
	if err := replaceFile(ctx, temp, c.path); err != nil {
		os.Remove(temp)
		return explain(c.path, err)
	}
	return c.syncName(dir)
}

// sync syncs a file that did not change, and its entry in the directory. An earlier Update may
// have been killed between the rename and the sync of the directory, and other programs may
// not sync.
func (c *content) sync(dir *os.File) error {
	if c.info == nil {
		return nil
	}
	if err := syncFile(c.path); err != nil {
		return explain(c.path, err)
	}
	return c.syncName(dir)
}

// syncName syncs the directory entry of the file.
func (c *content) syncName(dir *os.File) error {
	if err := Sync(dir); err != nil {
		return fmt.Errorf("%w: %s is saved, but a power cut may undo that: cannot sync its directory: %w", fault.ErrStore, c.path, err)
	}
	return nil
}

// notObject returns the error for a member, or for the whole file if member is "", that is not
// an object. The value starts at offset.
func (c *content) notObject(member string, offset int) error {
	line, column := ordered.Position(c.data, offset)
	return &corruptError{c.path, member, fmt.Errorf("line %d, column %d: %w", line, column, ordered.ErrNotObject)}
}
