package plexauth

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

	"github.com/plexauth/plexauth/internal/confdir"
	"github.com/plexauth/plexauth/internal/ordered"
)

// FileStore is a [ConfigStore] in one JSON file, shared safely with other
// processes and with programs that keep settings of their own in it. It is
// safe for concurrent use; any number of FileStores may share a path.
//
// The file is one JSON object. Each namespace is a top-level member of it, and
// an Update changes the bytes of that member alone: other members, their
// order, the spelling of numbers, a line ending of Windows stay as they are.
// Of duplicate members the last counts. A file that is missing is a first run
// and is made with mode 0600, in a directory made with mode 0700 if need be. A
// file that is empty, cut short, not UTF-8 or not a JSON object is
// [ErrCorruptConfig] with line and column; it is left alone. Every error but that
// of an edit matches [ErrStore], none quotes what is in the file.
//
// # Writing
//
// An Update takes a lock, reads, edits, writes a new file beside the old one,
// syncs it to the disk, gives it the old one's mode, owner and POSIX ACL, puts it
// in the old one's place and syncs the directory. At any moment, also after a power
// cut, the file is entirely the old one or entirely the new one. Nothing is
// ever written in place, so the directory must be writable and a single file
// mounted into a container cannot be updated: mount its directory. Run by root
// in a directory of somebody else, what is new, and a file of root's own, gets
// the directory's owner. A new file that a killed process left behind (its name is
// that of the file with a dot before and ".plexauth-", 16 hex digits and
// ".tmp" behind) is removed by the next Update. An error in the very last
// step, the sync of the directory, is returned although the new file is in
// place: it may not outlive a power cut.
//
// # Locking
//
// The lock is flock(2) on a file with ".lock" added to the name, as CrossWatch
// and Python's fcntl.flock take it; LockFileEx on Windows. It stays there
// between Updates: it must not be deleted, and is made with mode 0660, so that
// the group can share it. A busy lock is tried every 25 ms until ctx ends, or
// for 30 seconds. A file system without locks is an error. Load takes no lock:
// whoever replaces the file by a rename, as CrossWatch and FileStore do, shows
// readers the old file or the new one.
//
// # Symbolic links
//
// If the path is a symbolic link the file it leads to is replaced, not the
// link. A link that leads nowhere is an error, not a first run: more often
// than not a volume is not mounted.
//
// # Operating systems
//
// Linux and macOS do all of this, but on macOS no ACL is kept and Check cannot
// tell a single file that is mounted. On Linux an ACL that cannot be copied (that
// needs /proc) leaves the group nothing. Windows has no owner and mode to keep (a
// new file inherits the directory's permissions) and no way to sync a directory; a
// file that another program has open cannot be replaced there, so that is tried for
// two seconds.
type FileStore struct {
	path string
}

var _ ConfigStore = (*FileStore)(nil)

// NewFileStore returns the store in the file at path. It touches nothing. A
// relative path counts from the working directory of this moment.
func NewFileStore(path string) *FileStore {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		path = abs
	}
	return &FileStore{path: path}
}

// Load implements [ConfigStore].
func (s *FileStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrStore, s.path, err)
	}
	path, err := s.resolve()
	if err != nil {
		return nil, err
	}
	f, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	return f.namespace(namespace)
}

// Update implements [ConfigStore]. A panic of edit changes nothing and leaves
// nothing locked.
func (s *FileStore) Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error {
	return s.locked(ctx, func(dir *os.File, f *configFile) error {
		current, err := f.namespace(namespace)
		if err != nil {
			return err
		}
		next, err := edit(bytes.Clone(current))
		if err != nil {
			return err
		}
		if err := checkEdited(next); err != nil {
			return err
		}
		if bytes.Equal(next, current) {
			return nil
		}
		doc, err := ordered.Replace(f.data, namespace, next)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrStore, f.path, err)
		}
		if bytes.Equal(doc, f.data) { // other white space, perhaps
			return nil
		}
		return f.replace(ctx, dir, doc)
	})
}

// Check answers "would an Update succeed now?" by doing all of it but the last
// step: it takes the lock, reads the file, and writes, syncs and removes a file
// as large as the next one would be. Its errors name the path, the user and the
// mode, and say what to do, for: a read-only mount, a wrong owner or mode, a
// single file that is mounted (on Linux), an immutable file or directory, a
// file system without locks, a full disk or quota, a corrupt file. It leaves
// nothing behind but the lock file and, on a first run, the directory.
func (s *FileStore) Check(ctx context.Context) error {
	return s.locked(ctx, func(_ *os.File, f *configFile) error {
		if isMountPoint(f.path) {
			return explain(f.path, errMounted)
		}
		if f.info != nil {
			if err := findImmutable(f.path); err != nil {
				return explain(f.path, err)
			}
		}
		const room = 4096 // for what the next Update adds
		temp, err := writeTemp(f.path, append(f.data, make([]byte, room)...), f.info)
		if err != nil {
			return err
		}
		if err := os.Remove(temp); err != nil {
			return explain(f.path, err)
		}
		return nil
	})
}

// locked calls do with the file as it is under the lock, and its directory,
// where nothing of killed processes is left.
func (s *FileStore) locked(ctx context.Context, do func(dir *os.File, f *configFile) error) error {
	path, unlock, err := s.lock(ctx)
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
	f, err := readConfig(path)
	if err != nil {
		return err
	}
	return do(dir, f)
}

// resolve is the path of the file itself, behind symbolic links.
func (s *FileStore) resolve() (string, error) {
	if s.path == "" {
		return "", fmt.Errorf("%w: NewFileStore was given no path", ErrStore)
	}
	named, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.resolveMissing()
	}
	if err != nil {
		return "", explain(s.path, err)
	}
	path, err := filepath.EvalSymlinks(s.path)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(path)
	}
	switch {
	case err == nil:
	case named.Mode()&fs.ModeSymlink != 0:
		return "", s.deadLink(s.path, err)
	case errors.Is(err, fs.ErrNotExist): // taken away just now
		return s.resolveMissing()
	default:
		return "", explain(s.path, err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %s is not a regular file (%s): give the path of a JSON file", ErrStore, path, info.Mode())
	}
	return path, nil
}

// resolveMissing is resolve for a first run. The directory may be reached by
// symbolic links, and all who come by them should agree on the path.
func (s *FileStore) resolveMissing() (string, error) {
	dir := filepath.Dir(s.path)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return filepath.Join(real, filepath.Base(s.path)), nil
	}
	for dir != filepath.Dir(dir) { // up to what is there
		info, err := os.Lstat(dir)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if _, err := os.Stat(dir); err != nil {
				return "", s.deadLink(dir, err)
			}
		}
		if err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return s.path, nil
}

// deadLink is the error for a symbolic link that leads nowhere.
func (s *FileStore) deadLink(link string, err error) error {
	to, _ := os.Readlink(link)
	return fmt.Errorf("%w: %s: %s is a symbolic link to %s, which cannot be followed: mount or make what it leads to, or remove the link: %w", ErrStore, s.path, link, to, err)
}

// configFile is the file as it was read.
type configFile struct {
	path   string
	data   []byte // that of a new file where there is none
	object *ordered.Object
	info   fs.FileInfo // nil where there is no file
}

func readConfig(path string) (*configFile, error) {
	f := &configFile{path: path, data: []byte("{}\n")}
	file, err := openFile(path)
	if err == nil {
		defer file.Close()
		if f.info, err = file.Stat(); err == nil {
			f.data, err = io.ReadAll(file)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, explain(path, err)
	}
	f.object, err = ordered.Parse(f.data)
	if errors.Is(err, ordered.ErrNotObject) {
		return nil, f.notObject("", len(f.data)-len(bytes.TrimLeft(f.data, " \t\r\n")))
	}
	if err != nil {
		return nil, &corruptError{path, "", err}
	}
	return f, nil
}

// namespace is a copy of the member's value, nil for absent and null.
func (f *configFile) namespace(name string) (json.RawMessage, error) {
	if !utf8.ValidString(name) { // in JSON it would be another one, and never be found again
		return nil, fmt.Errorf("%w: %s: the namespace %q is not UTF-8", ErrStore, f.path, name)
	}
	m, ok := f.object.Member(name)
	if !ok || string(m.Value) == "null" {
		return nil, nil
	}
	if m.Value[0] != '{' {
		return nil, f.notObject(name, m.Start)
	}
	return bytes.Clone(m.Value), nil
}

// replace puts doc in the place of the file, unless ctx ends before.
func (f *configFile) replace(ctx context.Context, dir *os.File, doc []byte) error {
	temp, err := writeTemp(f.path, doc, f.info)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		os.Remove(temp)
		return fmt.Errorf("%w: %s was left as it was: %w", ErrStore, f.path, err)
	}
	// The commit. What follows heeds ctx no more.
	if err := replaceFile(temp, f.path); err != nil {
		os.Remove(temp)
		return explain(f.path, err)
	}
	if err := confdir.Sync(dir); err != nil {
		return fmt.Errorf("%w: %s is saved, but may not outlive a power cut: sync its directory: %w", ErrStore, f.path, err)
	}
	return nil
}

func (f *configFile) notObject(namespace string, offset int) error {
	line, column := ordered.Position(f.data, offset)
	return &corruptError{f.path, namespace, fmt.Errorf("line %d, column %d: %w", line, column, ordered.ErrNotObject)}
}

// corruptError is ErrCorruptConfig with the place. It quotes nothing of the
// file.
type corruptError struct {
	path      string
	namespace string // empty: the file as a whole
	err       error
}

func (e *corruptError) Error() string {
	what := e.path
	if e.namespace != "" {
		what = fmt.Sprintf("%q in %s", e.namespace, e.path)
	}
	return fmt.Sprintf("%v: %s: %v: it was left as it is; repair it, restore a backup, or move it away to start anew", ErrCorruptConfig, what, e.err)
}

func (e *corruptError) Unwrap() []error { return []error{ErrStore, ErrCorruptConfig, e.err} }
