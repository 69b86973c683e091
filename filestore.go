package plexauth

import (
	"context"
	"encoding/json"

	"github.com/plexauth/plexauth/internal/jsonfile"
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
// [ErrCorruptConfig] with line and column, or with the name of its encoding; it
// is left alone. Every error but that
// of an edit matches [ErrStore], none quotes what is in the file.
//
// # Writing
//
// An Update takes a lock, reads, edits, writes a new file beside the old one,
// syncs it to the disk, gives it the old one's mode, owner and POSIX ACL, puts
// it in the old one's place and syncs the directory. At any moment, also after a
// power cut, the file is entirely the old one or entirely the new one. An Update
// that changes nothing syncs both, too, in case a killed process did not.
// Nothing is ever written in place, so the directory must be writable and a
// single file mounted into a container cannot be updated: mount its directory.
// Run by root in a directory of another user, what is new, and a file of root's
// own, gets the directory's owner. If the owner, or a group that has any right,
// cannot be kept, the Update fails and the file stays as it was.
//
// A new file that a killed process left behind (its name is that of the file
// with a dot before and ".plexauth-", 16 hex digits and ".tmp" behind) is removed
// by the next Update; on a network file system once it is ten minutes old. An
// error in the very last step, the sync of the directory, is returned although
// the new file is in place: it may not outlive a power cut.
//
// # Locking
//
// The lock is flock(2) on a file with ".lock" added to the name, as CrossWatch
// and Python's fcntl.flock take it; LockFileEx on Windows. It stays there
// between Updates: it must not be deleted. It is made with the config's owner
// and group and mode 0660, and one that the config's owner could not open is put
// right or is an error: that owner's CrossWatch would go on without a lock. A
// busy lock is tried each millisecond until ctx ends, or for 30 seconds. A file
// system without locks is an error, and so is, on Linux, one that is known to
// keep them to this machine (NFS with nolock, sshfs, rclone). Load takes no
// lock: programs that replace the file by a rename, as CrossWatch and FileStore
// do, show readers the old file or the new one.
//
// # Symbolic links
//
// If the path is a symbolic link the file it leads to is replaced, not the
// link. The lock is then taken beside the link, for programs that know the file
// by that name, and beside the file. A link that is changed during the wait for
// the lock is followed again. A link that leads nowhere is an error, not a first
// run: more often than not a volume is not mounted.
//
// # Operating systems
//
// Linux and macOS do all of this, but on macOS no ACL is kept and Check cannot
// tell a single file that is mounted. Windows has no owner and mode to keep (a
// new file inherits the directory's permissions) and no way to sync a directory; a
// file that another program has open cannot be replaced there, so that is tried for
// two seconds, or until ctx ends.
type FileStore struct {
	file jsonfile.File
}

var _ ConfigStore = (*FileStore)(nil)

// NewFileStore returns the store in the file at path. It touches nothing. A
// relative path counts from the working directory of this moment.
func NewFileStore(path string) *FileStore { return &FileStore{jsonfile.New(path)} }

// Load implements [ConfigStore].
func (s *FileStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	return s.file.Load(ctx, namespace)
}

// Update implements [ConfigStore]. A panic of edit changes nothing and leaves
// nothing locked.
func (s *FileStore) Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error {
	return s.file.Update(ctx, namespace, edit)
}

// Check answers "would an Update succeed now?" by doing all of it but the last
// step: it takes the lock, reads the file, writes, syncs and removes a file as
// large as the next one would be, and replaces one temporary file by another.
// Its errors name the path, the user and the mode, and say what to do, for: a
// read-only mount, a wrong owner or mode, a single file that is mounted (on
// Linux), a Kubernetes Secret or ConfigMap, an immutable file or directory, a
// file system without locks, or (on Linux) one that keeps them to this machine,
// a lock file that the config's owner cannot open, a full disk or quota, a
// corrupt file. It leaves nothing behind but the lock file and, on a first run,
// the directory.
func (s *FileStore) Check(ctx context.Context) error { return s.file.Check(ctx) }
