package jsonfile_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// fileOf describes a file of an owner.
type fileOf struct {
	jsonfile.Owner
	mode fs.FileMode
}

func (fileOf) Name() string        { return "config.json" }
func (fileOf) Size() int64         { return 0 }
func (f fileOf) Mode() fs.FileMode { return f.mode }
func (fileOf) ModTime() time.Time  { return time.Time{} }
func (fileOf) IsDir() bool         { return false }
func (f fileOf) Sys() any          { return &syscall.Stat_t{Uid: uint32(f.UID), Gid: uint32(f.GID)} }

// give gives the file at path an owner if root runs the test, and returns the owner that it
// has then.
func give(t *testing.T, path string, o jsonfile.Owner) jsonfile.Owner {
	t.Helper()
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(path, o.UID, o.GID))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	return jsonfile.OwnerOf(info)
}

// G15: a new file gets the owner of the config. If root runs the program, the owner of the
// directory comes before root.
func TestOwnerOfNewFiles(t *testing.T) {
	isRoot := os.Geteuid() == 0
	person, other := jsonfile.Owner{UID: 1001, GID: 2001}, jsonfile.Owner{UID: 1002, GID: 2002}
	root, rootsGroup := jsonfile.Owner{}, jsonfile.Owner{GID: 2003}
	path := filepath.Join(t.TempDir(), "config.json")
	for _, of := range []jsonfile.Owner{person, root} {
		dir := give(t, filepath.Dir(path), of)
		got, ok := jsonfile.OwnerBeside(path, nil)
		assert.Equal(t, isRoot, ok, "a new config")
		if isRoot {
			assert.Equal(t, dir, got)
		}
		for _, config := range []jsonfile.Owner{person, other, root, rootsGroup} {
			want := config
			if isRoot && config.UID == 0 && dir.UID != 0 {
				want = dir
			}
			got, ok := jsonfile.OwnerBeside(path, fileOf{Owner: config})
			assert.True(t, ok)
			assert.Equal(t, want, got, "a config of %v in a directory of %v", config, dir)
		}
	}
	_, ok := jsonfile.OwnerBeside(filepath.Join(t.TempDir(), "not", "there.json"), nil)
	assert.False(t, ok)
	dir, _ := dirOf(t, 0o755)
	asGuest(t, func() {
		_, ok := jsonfile.OwnerBeside(filepath.Join(dir, "config.json"), nil)
		assert.False(t, ok, "only root gives files away")
	})
}

// G16: a lock file can be opened by the config's owner, and by the group that may write the
// config.
func TestRightsOfTheLock(t *testing.T) {
	path := fileWith(t, "{}")
	person := give(t, path, jsonfile.Owner{UID: 1000, GID: 2000})
	mine, groups, stranger := person, person, jsonfile.Owner{UID: person.UID + 1, GID: person.GID + 1}
	mine.GID++
	groups.UID++
	owner, group := fmt.Sprintf("uid %d, who owns the config,", person.UID), fmt.Sprintf("group %d, which may write the config,", person.GID)
	for name, tc := range map[string]struct {
		is           jsonfile.Owner
		mode, config fs.FileMode
		who          string // cannot open it
	}{
		"the owner's and the group's": {person, 0o660, 0o660, ""},
		"the group's":                 {groups, 0o060, 0o660, ""},
		"the group's for reading":     {person, 0o640, 0o660, group},
		"the owner's":                 {mine, 0o600, 0o640, ""},
		"the owner's for reading":     {mine, 0o400, 0o640, owner},
		"the owner's, with others":    {mine, 0o600, 0o660, group},
		"another group's":             {mine, 0o660, 0o660, group},
		"a stranger's":                {stranger, 0o660, 0o600, owner},
		"everyone's":                  {stranger, 0o666, 0o660, ""},
		"everyone's for reading":      {stranger, 0o664, 0o600, owner},
	} {
		require.NoError(t, os.Chmod(path, tc.config))
		err := jsonfile.CheckLock(fileOf{tc.is, tc.mode}, path)
		if tc.who == "" {
			assert.NoError(t, err, name)
			continue
		}
		assert.EqualError(t, err, fmt.Sprintf("%s could not open the lock file (%v of %d:%d), and would go on without a lock", tc.who, tc.mode, tc.is.UID, tc.is.GID), name)
	}
	root := give(t, path, jsonfile.Owner{GID: 2000})
	require.NoError(t, os.Chmod(path, 0o600))
	err := jsonfile.CheckLock(fileOf{stranger, 0o600}, path)
	assert.Equal(t, root.UID == 0, err == nil, "root can open every file")
	require.NoError(t, os.Chmod(path, 0o620))
	assert.Error(t, jsonfile.CheckLock(fileOf{stranger, 0o600}, path), "the group cannot")
	assert.NoError(t, jsonfile.CheckLock(fileOf{stranger, 0o600}, path+".gone"))
}

// A path is on the mount with the longest point above it. Each Linux has one at /proc.
func TestMountOf(t *testing.T) {
	for path, want := range map[string]bool{"/proc": true, "/proc/self/stat": true, "/": false, "/proc2": false, "/pro": false} {
		point, kind := jsonfile.MountOf(path)
		assert.Equal(t, want, point == "/proc", path)
		assert.Equal(t, want, kind == "proc", path)
		assert.NotEmpty(t, kind, path)
	}
	dir := t.TempDir()
	assert.Equal(t, dir, jsonfile.Existing(dir))
	assert.Equal(t, dir, jsonfile.Existing(filepath.Join(dir, "not", "there")))
	assert.Equal(t, "/", jsonfile.Existing("/not-there"))
}

// An ACL is read whole, though it may change in between. A file system may have none.
func TestReadACL(t *testing.T) {
	type answer struct {
		n   int
		err error
	}
	for name, tc := range map[string]struct {
		answers []answer
		want    []byte
		err     error
	}{
		"an ACL":          {[]answer{{2, nil}, {2, nil}}, []byte{1, 1}, nil},
		"a shorter one":   {[]answer{{2, nil}, {1, nil}}, []byte{1}, nil},
		"a longer one":    {[]answer{{2, nil}, {0, unix.ERANGE}, {3, nil}, {3, nil}}, []byte{1, 1, 1}, nil},
		"a signal":        {[]answer{{0, unix.EINTR}, {1, nil}, {1, nil}}, []byte{1}, nil},
		"none":            {[]answer{{0, unix.ENODATA}}, nil, nil},
		"none any more":   {[]answer{{2, nil}, {0, unix.ENODATA}}, nil, nil},
		"not supported":   {[]answer{{0, unix.ENOTSUP}}, nil, nil},
		"no such call":    {[]answer{{0, unix.ENOSYS}}, nil, nil},
		"not to be read":  {[]answer{{0, unix.EACCES}}, nil, unix.EACCES},
		"an error of I/O": {[]answer{{2, nil}, {0, unix.EIO}}, nil, unix.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := jsonfile.ReadACL(func(value []byte) (int, error) {
				require.NotEmpty(t, tc.answers)
				a := tc.answers[0]
				tc.answers = tc.answers[1:]
				for i := range value {
					value[i] = 1
				}
				return a.n, a.err
			})
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.err, err)
			assert.Empty(t, tc.answers)
		})
	}
}

// Only the owner has a right to a private file.
func TestExposedModes(t *testing.T) {
	for mode, want := range map[fs.FileMode]bool{0o600: false, 0o700: false, 0o640: true, 0o604: true, 0o601: true} {
		assert.Equal(t, want, jsonfile.Exposes(mode), mode)
	}
	assert.Empty(t, open(filepath.Join(t.TempDir(), "config.json")).Exposed())
	assert.Empty(t, open("").Exposed())
	assert.Empty(t, open(filepath.Join(t.TempDir(), "not", "there.json")).Exposed())
}
