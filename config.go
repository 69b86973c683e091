package plexauth

import (
	"context"
	"encoding/json"

	"github.com/plexauth/plexauth/internal/jsonfile"
	"github.com/plexauth/plexauth/internal/memstore"
)

// Namespace is the document that plexauth reads and writes, unless another one is asked for:
// see [Options].Namespace and [PlexAuth.Namespace].
const Namespace = "plex"

// A ConfigStore keeps one JSON object for each namespace. Implementations must be safe
// for concurrent use. The package storetest checks the rules below with two handles on
// one store. Objects that other programs may have written need tests of your own.
//
// A store holds credentials in clear text. They must not appear in a log or an error.
//
// The context of each call ends after half a minute at the latest.
//
// A store may also have a method Check(context.Context) error, which reports whether an
// Update would succeed now. [PlexAuth.Start] calls it before it makes a PIN, so that a
// person is not sent to plex.tv for a login that cannot be saved.
type ConfigStore interface {
	// Load returns a copy of the namespace's JSON object, or nil if it is absent or
	// null. A value that is not an object is an error that matches [ErrCorruptConfig].
	Load(ctx context.Context, namespace string) (json.RawMessage, error)

	// Update replaces the object by the result of edit. No other Update of the
	// namespace, in this process or another, comes in between.
	//
	// current is what Load returns, and edit may change it. The result of edit becomes
	// the object: nil removes the namespace, {} is kept, bytes equal to current write
	// nothing, and anything but an object is an error. edit may run more than once. It
	// must not block, keep current or call the store. An error of edit changes nothing,
	// and is returned so that errors.Is finds it. The end of ctx stops Update before the
	// commit, also while it waits for another Update, but never after it. A store must
	// take an object of 128 KiB.
	Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error
}

// MemoryStore is a [ConfigStore] in memory. It is lost when the process ends. It is safe
// for concurrent use. Its errors match [ErrStore], except those of an edit.
type MemoryStore struct {
	documents *memstore.Store
}

var _ ConfigStore = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return &MemoryStore{memstore.New()} }

// Load implements [ConfigStore].
func (s *MemoryStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	return s.documents.LoadJSON(ctx, namespace)
}

// Update implements [ConfigStore].
func (s *MemoryStore) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	return s.documents.UpdateJSON(ctx, namespace, edit)
}

// FileStore is a [ConfigStore] in one JSON file. It shares the file safely with other
// processes, and with programs that keep settings of their own in it. It is safe for
// concurrent use. Any number of FileStores may share a path.
//
// The file is one JSON object. Each namespace is a top-level member of it. An Update
// changes only the bytes of that member: other members, their order, the spelling of
// numbers and Windows line endings stay as they are. Of duplicate members the last one
// counts. A file that is missing is made with mode 0600, in a directory made with mode
// 0700 if need be. A file that is empty, cut short, not UTF-8 or not a JSON object is
// [ErrCorruptConfig], with line and column or with the name of its encoding, and is
// left alone. Every error except that of an edit matches [ErrStore]. No error quotes
// what is in the file.
//
// # Writing
//
// An Update takes a lock, reads, edits, and writes a new file beside the old one. It
// syncs the new file to the disk, gives it the old one's mode, owner and POSIX ACL,
// renames it over the old one and syncs the directory. At any moment, even after a
// power cut, the file is either the old one or the new one. An Update that changes
// nothing syncs both too, in case a process was killed before it could. Nothing is
// written in place, so the directory must be writable. A single file that is mounted
// into a container cannot be updated: mount its directory. If root runs the program in
// another user's directory, new files and files of root get the directory's owner. If
// the owner, or a group that has any right, cannot be kept, the Update fails and the
// file stays as it was.
//
// The next Update removes a new file that a killed process has left behind, on a
// network file system once it is ten minutes old. Its name is the file's, with a dot
// before it and ".plexauth-", 16 hex digits and ".tmp" after it. An error in the last
// step, the sync of the directory, is returned although the new file is in place: it
// may not survive a power cut.
//
// # Locking
//
// The lock is flock(2) on a file with ".lock" added to the name, as CrossWatch and
// Python's fcntl.flock use it; on Windows it is LockFileEx. The lock file stays between
// Updates and must not be deleted. It is made with the config's owner and group and
// mode 0660. If the config's owner cannot open it, an Update corrects that or fails,
// because CrossWatch would go on without a lock. A busy lock is tried each millisecond
// until ctx ends, or for 30 seconds. A file system without locks is an error. So is, on
// Linux, a file system that is known to keep locks on one machine (NFS with nolock,
// sshfs, rclone). Load takes no lock: a program that replaces the file by a rename, as
// CrossWatch and FileStore do, shows readers the old file or the new one.
//
// # Links
//
// If the path is a symbolic link, the file that it leads to is replaced, not the link.
// The lock is then taken beside the link, for programs that know the file by that name,
// and beside the file. If the link changes during the wait for the lock, it is followed
// again. A link to a missing file is an error, not a first run, because usually a
// volume is not mounted. A hard link keeps the old file, because nothing is written in place.
//
// # Operating systems
//
// Linux and macOS do all of this, except that on macOS no ACL is kept, and Check cannot
// recognize a single file that is mounted. On Windows a new file inherits the
// directory's permissions, and directories cannot be synced. A file that another
// program has open cannot be replaced there; an Update tries for two seconds, or until
// ctx ends.
type FileStore struct {
	file jsonfile.File
}

var _ ConfigStore = (*FileStore)(nil)

// NewFileStore returns the store in the file at path. It does not open the file. A
// relative path is resolved now, from the present working directory.
func NewFileStore(path string) *FileStore { return &FileStore{jsonfile.New(path)} }

// Load implements [ConfigStore].
func (s *FileStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	return s.file.Load(ctx, namespace)
}

// Update implements [ConfigStore]. If edit panics, nothing changes and nothing stays
// locked.
func (s *FileStore) Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error {
	return s.file.Update(ctx, namespace, edit)
}

// Check reports whether an Update would succeed now, by doing everything except the last
// step. It takes the lock, reads the file, writes, syncs and removes a file as large as
// the next one would be, and replaces one temporary file by another. It leaves nothing
// behind except the lock file and, on a first run, the directory.
//
// An error names the path, the user and the mode, and says what to do. Check recognizes:
// a read-only mount; a wrong owner or mode; a single file that is mounted (on Linux); a
// Kubernetes Secret or ConfigMap; an immutable file or directory; a file system without
// locks or, on Linux, with locks on one machine only; a lock file that the config's
// owner cannot open; a full disk or quota; a corrupt file.
func (s *FileStore) Check(ctx context.Context) error { return s.file.Check(ctx) }
