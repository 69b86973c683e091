// Package jsonfile edits one member of a JSON file that other programs may share. It takes a
// lock that other programs use too, and replaces the file in one step. CreateTemp, NameNew,
// OwnerBeside and Sync are for other files in the directory of the JSON file.
package jsonfile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/plexauth/plexauth/internal/fault"
)

// File is a JSON file; plexauth.FileStore documents it. The methods of the zero File, which
// has no path, return errors. A File is safe for concurrent use.
type File struct {
	path string
}

// New returns the file at path. It does not access the file. A relative path is relative to
// the present working directory, even if that changes later.
func New(path string) File {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		path = abs
	}
	return File{path: path}
}

// Load returns a copy of the member's object, or nil if it is absent or null.
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

// Update edits the member under the lock. If edit panics, the file does not change and the
// lock is released.
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
		if bytes.Equal(next, current) && (next == nil) == (current == nil) {
			return c.sync(dir)
		}
		doc, err := c.object.Replace(c.data, member, next)
		if err != nil {
			return fmt.Errorf("%w: the edit returned no JSON object: %w", fault.ErrStore, err)
		}
		if bytes.Equal(doc, c.data) { // next differs in white space only
			return c.sync(dir)
		}
		return c.replace(ctx, dir, doc)
	})
}

// Check does everything that an Update does, except for replacing the file. It may make the
// lock file and the directory, and leaves no other file behind.
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
		const room = 4096 // for what the next Update may add
		temp, err := writeTemp(c.path, append(c.data, make([]byte, room)...), c.info)
		if err != nil {
			return err
		}
		defer os.Remove(temp)
		return tryReplacing(ctx, c.path, temp)
	})
}

// Exposed returns "" if other users cannot read the files that are made beside the file.
// Otherwise it returns why they can, and a remedy. Some file systems (SMB, FAT, 9p) give every
// file the same mode.
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

// tryReplacing returns an error if a rename cannot replace a file on the file system of path.
// It tries that with temp, a temporary file.
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

// locked calls do with the directory and the content of the file while it holds the lock. It
// first removes temporary files that killed processes have left.
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
	removeTempFiles(dir, path)
	c, err := read(ctx, path)
	if err != nil {
		return err
	}
	return do(dir, c)
}
