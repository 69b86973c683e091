package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

func ExampleNewFileStore() {
	dir, _ := os.MkdirTemp("", "plexauth")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "config.json")
	_ = os.WriteFile(path, []byte("{\n  \"theme\": \"dark\"\n}\n"), 0o600)

	store := plexauth.NewFileStore(path)
	err := store.Update(context.Background(), plexauth.Namespace, func(current json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{"server_url":"http://192.0.2.7:32400"}`), nil
	})
	if err != nil {
		fmt.Println(err)
	}
	data, _ := os.ReadFile(path)
	fmt.Print(string(data))
	// Output:
	// {
	//   "theme": "dark",
	//   "plex": {
	//     "server_url": "http://192.0.2.7:32400"
	//   }
	// }
}

// becomes is an edit that returns value, whatever there was.
func becomes(value string) func(json.RawMessage) (json.RawMessage, error) {
	return func(json.RawMessage) (json.RawMessage, error) {
		if value == "" {
			return nil, nil
		}
		return json.RawMessage(value), nil
	}
}

// fileWith returns the path of a new file with that content.
func fileWith(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// checkNoLitter requires that only these names are in the directory of path.
func checkNoLitter(t *testing.T, path string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	assert.ElementsMatch(t, names, have)
}

// holdLock takes the lock as another program would.
func holdLock(t *testing.T, path string) (release func()) {
	t.Helper()
	l := flock.New(path + ".lock")
	locked, err := l.TryLock()
	require.NoError(t, err)
	require.True(t, locked)
	t.Cleanup(func() { _ = l.Close() })
	return func() { require.NoError(t, l.Close()) }
}

// G15: a new file is private, and so is what it is made in.
func TestFileStoreFirstRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deeper", "config.json")
	store := plexauth.NewFileStore(path)

	raw, err := store.Load(t.Context(), "plex")
	require.NoError(t, err)
	assert.Nil(t, raw)
	assert.NoDirExists(t, filepath.Dir(path), "Load makes nothing")

	require.NoError(t, store.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
		assert.Nil(t, current)
		return nil, nil
	}))
	assert.NoFileExists(t, path, "no write without a change")

	require.NoError(t, store.Check(t.Context()))
	checkNoLitter(t, path, "config.json.lock")

	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"client_id":"<&>é","timeout":10.0,"empty":{},"none":[]}`)))
	assert.Equal(t, `{
  "plex": {
    "client_id": "<&>é",
    "timeout": 10.0,
    "empty": {},
    "none": []
  }
}
`, content(t, path))
	checkNoLitter(t, path, "config.json", "config.json.lock")
	if runtime.GOOS == "windows" {
		return
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, path + ".lock": 0o660, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
	}
}

// G16: other keys stay byte-equal.
func TestFileStoreKeepsTheRest(t *testing.T) {
	before := "{\r\n\t\"version\" : \"1\",\"z\":[ 10.0,1e16 ],\r\n  \"plex\": "
	behind := ",\r\n  \"trakt\": {\"note\": \"\\u003c&>\\u00e9\"},\"z\":null}   \n\n"
	for name, row := range map[string]struct{ old, edited, want string }{
		"an object":     {`{"a":1}`, `{"a":2,"b":{}}`, "{\n    \"a\": 2,\n    \"b\": {}\n  }"},
		"null":          {`null`, `{"a":2}`, "{\n    \"a\": 2\n  }"},
		"back to empty": {`{"a":1}`, `{}`, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileWith(t, before+row.old+behind)
			store := plexauth.NewFileStore(path)
			require.NoError(t, store.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
				if row.old == "null" {
					assert.Nil(t, current)
				} else {
					assert.Equal(t, row.old, string(current))
				}
				return json.RawMessage(row.edited), nil
			}))
			assert.Equal(t, before+row.want+behind, content(t, path))
		})
	}
	t.Run("removed", func(t *testing.T) {
		path := fileWith(t, before+`{"a":1}`+behind)
		require.NoError(t, plexauth.NewFileStore(path).Update(t.Context(), "plex", becomes("")))
		assert.Equal(t, strings.TrimSuffix(before, ",\r\n  \"plex\": ")+behind, content(t, path))
	})
	t.Run("of duplicates the last", func(t *testing.T) {
		path := fileWith(t, `{"plex":{"first":1},"plex":{"last":1}}`)
		store := plexauth.NewFileStore(path)
		raw, err := store.Load(t.Context(), "plex")
		require.NoError(t, err)
		assert.Equal(t, `{"last":1}`, string(raw))
		require.NoError(t, store.Update(t.Context(), "plex", becomes(`{}`)))
		assert.Equal(t, `{"plex":{"first":1},"plex":{}}`, content(t, path))
	})
	t.Run("a name is a plain key", func(t *testing.T) {
		path := fileWith(t, `{"a":{"b":1},"#":{},"0":{}}`)
		store := plexauth.NewFileStore(path)
		for _, name := range []string{"a.b", "#", "0", "*", "@this", "", `q"\`, "naïve ✓", "a|b"} {
			require.NoError(t, store.Update(t.Context(), name, becomes(`{"n":`+strconv.Quote(name)+`}`)), name)
			raw, err := store.Load(t.Context(), name)
			require.NoError(t, err, name)
			assert.Contains(t, string(raw), strconv.Quote(name))
		}
		assert.True(t, strings.HasPrefix(content(t, path), `{"a":{"b":1},"#":{`))
	})
}

// G16: what cannot be a key is refused, not saved under another one.
func TestFileStoreNamespaceNotUTF8(t *testing.T) {
	path := fileWith(t, "{}")
	store := plexauth.NewFileStore(path)
	require.ErrorIs(t, store.Update(t.Context(), "a\xff", becomes(`{"n":1}`)), plexauth.ErrStore)
	_, err := store.Load(t.Context(), "a\xff")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.Equal(t, "{}", content(t, path))
}

// G18: what cannot be read is an error, never a first run, and stays.
func TestFileStoreCorrupt(t *testing.T) {
	const secret = "TEST_SECRET_corrupt"
	for name, row := range map[string]struct{ doc, place string }{
		"empty":           {"", "line 1, column 1"},
		"blank":           {"\n\n", "line 2, column 1"},
		"truncated":       {"{\n  \"plex\": {\"account_token\": \"" + secret, "line 2, column"},
		"array":           {"\n [{\"plex\": {\"account_token\": \"" + secret + "\"}}]", "line 2, column 2"},
		"null":            {"null", "line 1, column 1"},
		"NULs":            {strings.Repeat("\x00", 64), "line 1, column 1"},
		"NULs behind":     {"{\"plex\":{}}\n\x00\x00", "line 2, column 1"},
		"BOM":             {"\xef\xbb\xbf{\"plex\":{\"account_token\":\"" + secret + "\"}}", "byte order mark"},
		"two documents":   {"{\"plex\":{}}\n{\"" + secret + "\":1}", "line 2, column 1"},
		"comment":         {"{\n// " + secret + "\n}", "line 2, column 1"},
		"plex is a list":  {"{\n  \"plex\": [\"" + secret + "\"]\n}", "line 2, column 11"},
		"plex is text":    {`{"plex": "` + secret + `"}`, "line 1, column 10"},
		"plex is a truth": {`{"plex":true}`, "line 1, column 9"},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileWith(t, row.doc)
			store := plexauth.NewFileStore(path)
			raw, err := store.Load(t.Context(), "plex")
			assert.Nil(t, raw)
			updated := store.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				t.Error("there is nothing to edit")
				return nil, nil
			})
			errs := []error{err, updated}
			if !strings.HasPrefix(name, "plex ") { // Check knows no namespace
				errs = append(errs, store.Check(t.Context()))
			}
			for _, err := range errs {
				require.ErrorIs(t, err, plexauth.ErrCorruptConfig)
				require.ErrorIs(t, err, plexauth.ErrStore)
				assert.Contains(t, err.Error(), path)
				assert.Contains(t, err.Error(), row.place)
				assert.NotContains(t, fmt.Sprintf("%+v %#v", err, err), secret) // G13
			}
			assert.Equal(t, row.doc, content(t, path))
			checkNoLitter(t, path, "config.json", "config.json.lock")
		})
	}
}

// A change that changes nothing does not touch the file.
func TestFileStoreNoWriteWithoutChange(t *testing.T) {
	doc := "{\n  \"plex\": {\n    \"a\": 1.0\n  }\n}\n"
	path := fileWith(t, doc)
	before, err := os.Stat(path)
	require.NoError(t, err)
	store := plexauth.NewFileStore(path)
	for name, edit := range map[string]func(json.RawMessage) (json.RawMessage, error){
		"the same bytes":    func(current json.RawMessage) (json.RawMessage, error) { return current, nil },
		"other white space": becomes(`{"a":1.0}`),
	} {
		require.NoError(t, store.Update(t.Context(), "plex", edit), name)
		after, err := os.Stat(path)
		require.NoError(t, err)
		assert.True(t, os.SameFile(before, after), name)
	}
	require.NoError(t, store.Update(t.Context(), "absent", becomes("")))
	require.NoError(t, store.Check(t.Context()))
	compact := fileWith(t, `{"plex":{"a":1.0}}`)
	require.NoError(t, plexauth.NewFileStore(compact).Update(t.Context(), "plex", becomes(`{"a":1.0}`)))
	assert.Equal(t, `{"plex":{"a":1.0}}`, content(t, compact), "nothing is formatted anew for its own sake")
	after, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))
	assert.Equal(t, doc, content(t, path))
}

// G15: the mode of a file that exists is kept.
func TestFileStoreKeepsMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes on Windows")
	}
	for _, mode := range []os.FileMode{0o600, 0o640, 0o664, 0o400} {
		path := fileWith(t, "{}")
		require.NoError(t, os.Chmod(path, mode))
		require.NoError(t, plexauth.NewFileStore(path).Update(t.Context(), "plex", becomes(`{"a":1}`)))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm())
	}
}

func TestFileStoreSymlink(t *testing.T) {
	t.Run("what it leads to is replaced", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
		target, link := filepath.Join(dir, "data", "real.json"), filepath.Join(dir, "config.json")
		require.NoError(t, os.WriteFile(target, []byte(`{"a":1}`), 0o600))
		require.NoError(t, os.Symlink(filepath.Join("data", "real.json"), link))
		store := plexauth.NewFileStore(link)
		require.NoError(t, store.Check(t.Context()))
		require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"b":2}`)))
		info, err := os.Lstat(link)
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&os.ModeSymlink, "the link stays")
		assert.Contains(t, content(t, target), `"b": 2`)
		checkNoLitter(t, link, "config.json", "data")
		checkNoLitter(t, target, "real.json", "real.json.lock")
	})
	t.Run("a directory may be one", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
		require.NoError(t, os.Symlink("data", filepath.Join(dir, "link")))
		require.NoError(t, plexauth.NewFileStore(filepath.Join(dir, "link", "config.json")).Update(t.Context(), "plex", becomes(`{}`)))
		checkNoLitter(t, filepath.Join(dir, "data", "config.json"), "config.json", "config.json.lock")
	})
	for name, row := range map[string]struct{ link, to, path string }{
		"dangling":           {"config.json", "not/there.json", "config.json"},
		"loop":               {"config.json", "config.json", "config.json"},
		"dangling directory": {"data", "not/there", "data/sub/config.json"},
	} {
		t.Run(name, func(t *testing.T) { // G18: not a first run
			dir := t.TempDir()
			require.NoError(t, os.Symlink(row.to, filepath.Join(dir, row.link)))
			store := plexauth.NewFileStore(filepath.Join(dir, row.path))
			_, loaded := store.Load(t.Context(), "plex")
			for _, err := range []error{loaded, store.Update(t.Context(), "plex", becomes(`{}`)), store.Check(t.Context())} {
				require.ErrorIs(t, err, plexauth.ErrStore)
				assert.Contains(t, err.Error(), "symbolic link to "+row.to)
			}
			checkNoLitter(t, filepath.Join(dir, row.link), row.link)
		})
	}
}

func TestFileStoreNotAFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "locked.json.lock"), 0o700))
	for path, want := range map[string]string{
		"":                                     "no path",
		dir:                                    "not a regular file",
		filepath.Join(dir, "file", "x.json"):   "not a directory",
		filepath.Join(dir, "locked.json"):      "locked.json.lock: not a regular file, remove it",
		filepath.Join(dir, "a\x00b", "x.json"): "invalid argument",
	} {
		if runtime.GOOS == "windows" && strings.Contains(path, "file") {
			continue
		}
		store := plexauth.NewFileStore(path)
		for _, err := range []error{store.Update(t.Context(), "plex", becomes(`{}`)), store.Check(t.Context())} {
			require.ErrorIs(t, err, plexauth.ErrStore, path)
			assert.Contains(t, err.Error(), want)
		}
	}
	_, err := plexauth.NewFileStore("").Load(t.Context(), "plex")
	assert.ErrorIs(t, err, plexauth.ErrStore)
	_, err = plexauth.NewFileStore(dir).Load(t.Context(), "plex")
	assert.ErrorIs(t, err, plexauth.ErrStore)
}

// A file that somebody moves away and back at every moment is there or not,
// and never a panic.
func TestFileStoreComesAndGoes(t *testing.T) {
	path := fileWith(t, `{"plex":{"a":1}}`)
	stop := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Rename(path, path+".away")
				_ = os.Rename(path+".away", path)
			}
		}
	})
	defer mover.Wait()
	defer close(stop)
	store := plexauth.NewFileStore(path)
	for range 5000 {
		raw, err := store.Load(t.Context(), "plex")
		if runtime.GOOS != "windows" { // where it may be in use for too long
			require.NoError(t, err)
			require.Contains(t, []string{"", `{"a":1}`}, string(raw))
		}
	}
}

// A path counts from where the program was when the store was made.
func TestFileStoreRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	store := plexauth.NewFileStore("config.json")
	t.Chdir(t.TempDir())
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{}`)))
	assert.FileExists(t, filepath.Join(dir, "config.json"))
}

// G15: what a killed process leaves behind is removed, nothing else is.
func TestFileStoreRemovesLitter(t *testing.T) {
	path := fileWith(t, "{}")
	dir := filepath.Dir(path)
	others := []string{
		"config.1700000000.12.34.0123abcd.tmp",            // CrossWatch's
		".config.json.plexauth-0123456789abcdef.tmp.bak",  // somebody's copy
		".config.json.plexauth-0123456789abcde.tmp",       // too short
		".config.json.plexauth-0123456789abcdeg.tmp",      // no hex
		".other.json.plexauth-0123456789abcdef.tmp",       // another store's
		"config.json.backup_20260101_000000_000000",       // CrossWatch's
		".config.json.plexauth-fedcba9876543210-mine.tmp", // somebody's
	}
	for _, name := range others {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	litter := filepath.Join(dir, ".config.json.plexauth-0123456789abcdef.tmp")
	for _, call := range []func(*plexauth.FileStore) error{
		func(s *plexauth.FileStore) error { return s.Update(t.Context(), "plex", becomes(`{"a":1}`)) },
		func(s *plexauth.FileStore) error { return s.Update(t.Context(), "plex", becomes(`{"a":1}`)) }, // changes nothing
		func(s *plexauth.FileStore) error { return s.Check(t.Context()) },
	} {
		require.NoError(t, os.WriteFile(litter, []byte("{"), 0o600))
		require.NoError(t, call(plexauth.NewFileStore(path)))
		checkNoLitter(t, path, append(others, "config.json", "config.json.lock")...)
	}
}

// A panic and an error of edit change nothing, and leave nothing locked.
func TestFileStoreFailingEdit(t *testing.T) {
	path := fileWith(t, `{"plex":{"a":1}}`)
	store := plexauth.NewFileStore(path)
	assert.PanicsWithValue(t, "TEST_PANIC", func() {
		_ = store.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { panic("TEST_PANIC") })
	})
	mine := errors.New("no")
	err := store.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), mine })
	require.ErrorIs(t, err, mine)
	for _, bad := range []string{"[]", "null", "{", "7", `{"a":1}{}`, " "} {
		err = store.Update(t.Context(), "plex", becomes(bad))
		require.ErrorIs(t, err, plexauth.ErrStore, bad)
	}
	err = store.Update(t.Context(), "new", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage{}, nil })
	require.ErrorIs(t, err, plexauth.ErrStore, "empty but not nil")
	assert.Equal(t, `{"plex":{"a":1}}`, content(t, path))
	checkNoLitter(t, path, "config.json", "config.json.lock")

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, store.Update(ctx, "plex", becomes(`{}`)))
}

// G9: the end of ctx ends everything, until the commit.
func TestFileStoreContext(t *testing.T) {
	path := fileWith(t, `{"plex":{"a":1}}`)
	store := plexauth.NewFileStore(path)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Load(ended, "plex")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, plexauth.ErrStore)
	require.ErrorIs(t, store.Check(ended), context.Canceled)
	require.ErrorIs(t, store.Update(ended, "plex", func(json.RawMessage) (json.RawMessage, error) {
		t.Error("edit called")
		return nil, nil
	}), context.Canceled)
	checkNoLitter(t, path, "config.json")

	during, stop := context.WithCancelCause(t.Context())
	err = store.Update(during, "plex", func(json.RawMessage) (json.RawMessage, error) {
		stop(errors.New("a cause of one's own"))
		return json.RawMessage(`{"a":2}`), nil
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, `{"plex":{"a":1}}`, content(t, path))
	checkNoLitter(t, path, "config.json", "config.json.lock")
}

// G9, G16: a busy lock is waited for until ctx ends, and the error says who
// has it.
func TestFileStoreBusy(t *testing.T) {
	path := fileWith(t, "{}")
	store := plexauth.NewFileStore(path)
	release := holdLock(t, path)

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	for _, err := range []error{store.Update(ctx, "plex", becomes(`{}`)), store.Check(ctx)} {
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, plexauth.ErrStore)
	}
	_, err := store.Load(t.Context(), "plex")
	require.NoError(t, err, "reading needs no lock")
	ended, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(30*time.Millisecond, func() { stop(errors.New("a cause of one's own")) })
	require.ErrorIs(t, store.Update(ended, "plex", becomes(`{}`)), context.Canceled)

	done := make(chan error, 1)
	go func() { done <- store.Update(t.Context(), "plex", becomes(`{"a":1}`)) }()
	select {
	case err := <-done:
		t.Fatal("did not wait", err)
	case <-time.After(60 * time.Millisecond):
	}
	release()
	require.NoError(t, <-done)
}

// A lock that nobody gives back is given up after half a minute.
func TestFileStoreGivesUp(t *testing.T) {
	path := fileWith(t, "{}")
	release := holdLock(t, path)
	store := plexauth.NewFileStore(path)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := store.Update(context.Background(), "plex", becomes(`{}`))
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.NotErrorIs(t, err, context.DeadlineExceeded, "no deadline of the caller's")
		assert.Contains(t, err.Error(), "locked by")
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
	release()
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, store.Update(context.Background(), "plex", becomes(`{}`)))
	})
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{}`)), "no channel of the bubble is left")
}

// G16: stores that share a path exclude each other, and nobody waits in vain.
func TestFileStoreConcurrent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "real", "config.json")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	var wg sync.WaitGroup
	const writers, updates = 8, 12
	for i := range writers {
		store := plexauth.NewFileStore(path)
		if i%2 == 1 { // by another name
			store = plexauth.NewFileStore(filepath.Join(dir, "link", "config.json"))
		}
		wg.Go(func() {
			for j := range updates {
				name := fmt.Sprintf("w%d-%d", i, j)
				assert.NoError(t, store.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
					return withMember(current, name)
				}))
			}
		})
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := plexauth.NewFileStore(path).Load(t.Context(), "plex")
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	raw, err := plexauth.NewFileStore(path).Load(t.Context(), "plex")
	require.NoError(t, err)
	var all map[string]bool
	require.NoError(t, json.Unmarshal(raw, &all))
	assert.Len(t, all, writers*updates)
	checkNoLitter(t, path, "config.json", "config.json.lock")
}

func withMember(current json.RawMessage, name string) (json.RawMessage, error) {
	all := map[string]bool{}
	if current != nil {
		if err := json.Unmarshal(current, &all); err != nil {
			return nil, err
		}
	}
	all[name] = true
	return json.Marshal(all)
}

func TestFileStoreLargeDocument(t *testing.T) {
	big := `{"a":[` + strings.Repeat(`{"k":"value","n":10.0},`, 450_000) + `0],"plex":{"x":1},"z":0}`
	path := fileWith(t, big)
	require.Greater(t, len(big), 10_000_000)
	require.NoError(t, plexauth.NewFileStore(path).Update(t.Context(), "plex", becomes(`{"x":2}`)))
	assert.True(t, content(t, path) == strings.Replace(big, `{"x":1}`, "{\n    \"x\": 2\n  }", 1))
}

// The second is the same read, edit and rename as anyone would write it, without
// lock and sync, in the same run.
func BenchmarkFileStoreUpdate(b *testing.B) {
	doc, err := os.ReadFile("internal/ordered/testdata/crosswatch.json")
	require.NoError(b, err)
	b.Run("FileStore", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "config.json")
		require.NoError(b, os.WriteFile(path, doc, 0o600))
		store := plexauth.NewFileStore(path)
		n := 0
		for b.Loop() {
			n++
			if err := store.Update(b.Context(), "plex", becomes(fmt.Sprintf(`{"n":%d}`, n))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("without lock and sync", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "config.json")
		require.NoError(b, os.WriteFile(path, doc, 0o600))
		n := 0
		for b.Loop() {
			n++
			data, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			var all map[string]json.RawMessage
			if err := json.Unmarshal(data, &all); err != nil {
				b.Fatal(err)
			}
			all["plex"] = json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
			if data, err = json.MarshalIndent(all, "", "  "); err != nil {
				b.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(path+".tmp", data, 0o600), os.Rename(path+".tmp", path)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
