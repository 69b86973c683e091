// Package jsonfile edits one member of a JSON file that other programs share:
// under a lock, by replacing the file in one step.
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
	"path/filepath"
	"unicode/utf8"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/ordered"
)

// File is a JSON file, see plexauth.FileStore. The zero File has no path; its
// methods return an error. It is safe for concurrent use.
type File struct {
	path string
}

// New returns the file at path and touches nothing. A relative path counts
// from the working directory of this moment.
func New(path string) File {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		path = abs
	}
	return File{path: path}
}

// Load returns a copy of the member's object, nil if it is absent or null.
func (f *File) Load(ctx context.Context, member string) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", fault.ErrStore, f.path, err)
	}
	chain, err := f.resolve()
	if err != nil {
		return nil, err
	}
	c, err := read(ctx, chain.target())
	if err != nil {
		return nil, err
	}
	return c.member(member)
}

// Update edits the member under the lock. A panic of edit changes nothing and
// leaves nothing locked.
func (f *File) Update(ctx context.Context, member string, edit func(current json.RawMessage) (json.RawMessage, error)) error {
	return f.locked(ctx, func(dir *os.File, c *content) error {
		current, err := c.member(member)
		if err != nil {
			return err
		}
		next, err := edit(bytes.Clone(current))
		if err != nil {
			return err
		}
		if next != nil {
			if err := ordered.Check(next); err != nil {
				return fmt.Errorf("%w: the edit returned no JSON object: %w", fault.ErrStore, err)
			}
		}
		if bytes.Equal(next, current) {
			return c.sync(dir)
		}
		doc, err := ordered.Replace(c.data, member, next)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", fault.ErrStore, c.path, err)
		}
		if bytes.Equal(doc, c.data) { // it differed in white space only
			return c.sync(dir)
		}
		return c.replace(ctx, dir, doc)
	})
}

// Check does all that an Update does except the last step. It leaves nothing
// behind but the lock file and, on a first run, the directory.
func (f *File) Check(ctx context.Context) error {
	return f.locked(ctx, func(_ *os.File, c *content) error {
		if isMountPoint(c.path) {
			return explain(c.path, errMounted)
		}
		if c.info != nil {
			if err := findImmutable(c.path); err != nil {
				return explain(c.path, err)
			}
		}
		const room = 4096 // for what the next Update adds
		temp, err := writeTemp(c.path, append(c.data, make([]byte, room)...), c.info)
		if err != nil {
			return err
		}
		defer os.Remove(temp)
		return tryReplacing(ctx, c.path, temp)
	})
}

// Exposed says why a file that is made here is not private, "" if it is: some
// file systems (SMB, FAT, 9p) give each file the same mode.
func (f *File) Exposed() string {
	names, err := f.resolve()
	if err != nil {
		return ""
	}
	temp, err := CreateTemp(names.target())
	if err != nil {
		return ""
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	info, err := temp.Stat()
	if err != nil || !isExposed(info.Mode()) {
		return ""
	}
	return fmt.Sprintf("the file system of %s gives a private file the mode %v: mount it with file_mode=0600 or the like, or use another one", filepath.Dir(names.target()), info.Mode().Perm())
}

// tryReplacing finds a file system on which a rename cannot replace a file, by
// replacing temp, a temporary file.
func tryReplacing(ctx context.Context, path, temp string) error {
	other, err := CreateTemp(path)
	if err != nil {
		return explain(path, err)
	}
	err = other.Close()
	if err == nil {
		err = replaceFile(ctx, other.Name(), temp)
	}
	if err != nil {
		os.Remove(other.Name())
		return explain(path, err)
	}
	return nil
}

// locked calls do with the content under the lock, and with its directory,
// cleared of what killed processes left there.
func (f *File) locked(ctx context.Context, do func(dir *os.File, c *content) error) error {
	path, unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	removeLitter(dir, path)
	c, err := read(ctx, path)
	if err != nil {
		return err
	}
	return do(dir, c)
}

// content is the file as it was read.
type content struct {
	path   string
	data   []byte // of a new file if there is none
	object *ordered.Object
	info   fs.FileInfo // nil if there is no file
}

func read(ctx context.Context, path string) (*content, error) {
	c := &content{path: path, data: []byte("{}\n")}
	file, err := openFile(ctx, path)
	if err == nil {
		defer file.Close()
		if c.info, err = file.Stat(); err == nil {
			c.data, err = io.ReadAll(file)
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

// member returns a copy of a member's value, nil for absent and null.
func (c *content) member(name string) (json.RawMessage, error) {
	if !utf8.ValidString(name) { // in JSON it would become another name
		return nil, fmt.Errorf("%w: %s: the namespace %q is not UTF-8", fault.ErrStore, c.path, name)
	}
	m, ok := c.object.Member(name)
	if !ok || string(m.Value) == "null" {
		return nil, nil
	}
	if m.Value[0] != '{' {
		return nil, c.notObject(name, m.Start)
	}
	return bytes.Clone(m.Value), nil
}

// replace puts doc in the place of the file, unless ctx ends before.
func (c *content) replace(ctx context.Context, dir *os.File, doc []byte) error {
	temp, err := writeTemp(c.path, doc, c.info)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		os.Remove(temp)
		return fmt.Errorf("%w: %s was left as it was: %w", fault.ErrStore, c.path, err)
	}
	if err := replaceFile(ctx, temp, c.path); err != nil {
		os.Remove(temp)
		return explain(c.path, err)
	}
	return c.syncName(dir)
}

// sync puts a file that is to stay as it is on the disk. An earlier Update may
// have been killed between the rename and the sync of the directory, and other
// programs may not sync at all.
func (c *content) sync(dir *os.File) error {
	if c.info == nil {
		return nil
	}
	if err := syncFile(c.path); err != nil {
		return explain(c.path, err)
	}
	return c.syncName(dir)
}

func (c *content) syncName(dir *os.File) error {
	if err := Sync(dir); err != nil {
		return fmt.Errorf("%w: %s is saved, but may not outlive a power cut: sync its directory: %w", fault.ErrStore, c.path, err)
	}
	return nil
}

func (c *content) notObject(member string, offset int) error {
	line, column := ordered.Position(c.data, offset)
	return &corruptError{c.path, member, fmt.Errorf("line %d, column %d: %w", line, column, ordered.ErrNotObject)}
}
