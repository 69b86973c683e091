package jsonfile_test

import (
	"context"
	"encoding/binary"
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
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
)

// G15: a new file is private, and so are the directories that are made for it.
func TestFileStoreFirstRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deeper", "config.json")
	store := open(path)

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

// G16: other keys stay the same byte for byte.
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
			store := open(path)
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
		require.NoError(t, open(path).Update(t.Context(), "plex", becomes("")))
		assert.Equal(t, strings.TrimSuffix(before, ",\r\n  \"plex\": ")+behind, content(t, path))
	})
	t.Run("of duplicates the last", func(t *testing.T) {
		path := fileWith(t, `{"plex":{"first":1},"plex":{"last":1}}`)
		store := open(path)
		raw, err := store.Load(t.Context(), "plex")
		require.NoError(t, err)
		assert.Equal(t, `{"last":1}`, string(raw))
		require.NoError(t, store.Update(t.Context(), "plex", becomes(`{}`)))
		assert.Equal(t, `{"plex":{"first":1},"plex":{}}`, content(t, path))
	})
	t.Run("a name is a plain key", func(t *testing.T) {
		path := fileWith(t, `{"a":{"b":1},"#":{},"0":{}}`)
		store := open(path)
		for _, name := range []string{"a.b", "#", "0", "*", "@this", "", `q"\`, "naïve ✓", "a|b"} {
			require.NoError(t, store.Update(t.Context(), name, becomes(`{"n":`+strconv.Quote(name)+`}`)), name)
			raw, err := store.Load(t.Context(), name)
			require.NoError(t, err, name)
			assert.Contains(t, string(raw), strconv.Quote(name))
		}
		assert.True(t, strings.HasPrefix(content(t, path), `{"a":{"b":1},"#":{`))
	})
}

// G16: a namespace that cannot be a key is refused. It is not saved under another key.
func TestFileStoreNamespaceNotUTF8(t *testing.T) {
	path := fileWith(t, "{}")
	store := open(path)
	require.ErrorIs(t, store.Update(t.Context(), "a\xff", becomes(`{"n":1}`)), fault.ErrStore)
	_, err := store.Load(t.Context(), "a\xff")
	require.ErrorIs(t, err, fault.ErrStore)
	assert.Equal(t, "{}", content(t, path))
}

// G18: a file that cannot be read is an error and not a first run. It is left as it
// is.
func TestFileStoreCorrupt(t *testing.T) {
	const secret = "TEST_SECRET_corrupt"
	for name, row := range map[string]struct{ doc, place string }{
		"empty":             {"", "line 1, column 1"},
		"blank":             {"\n\n", "line 2, column 1"},
		"truncated":         {"{\n  \"plex\": {\"account_token\": \"" + secret, "line 2, column"},
		"array":             {"\n [{\"plex\": {\"account_token\": \"" + secret + "\"}}]", "line 2, column 2"},
		"null":              {"null", "line 1, column 1"},
		"three bytes":       {"\x00{\x00", "line 1, column 1"},
		"NULs":              {strings.Repeat("\x00", 64), "line 1, column 1"},
		"NULs at the end":   {"{\"plex\":{}}\n\x00\x00", "line 2, column 1"},
		"BOM":               {"\xef\xbb\xbf{\"plex\":{\"account_token\":\"" + secret + "\"}}", "byte order mark"},
		"Latin-1":           {"{\"plex\":{},\n\"label\":\"" + secret + " caf\xe9\"}", "line 2, column 33: not UTF-8"},
		"two documents":     {"{\"plex\":{}}\n{\"" + secret + "\":1}", "line 2, column 1"},
		"comment":           {"{\n// " + secret + "\n}", "line 2, column 1"},
		"NaN, of Python's":  {"{\"ratio\": NaN, \"plex\": {}}", "line 1, column 11"},
		"plex is a list":    {"{\n  \"plex\": [\"" + secret + "\"]\n}", "line 2, column 11"},
		"plex is text":      {`{"plex": "` + secret + `"}`, "line 1, column 10"},
		"plex is a boolean": {`{"plex":true}`, "line 1, column 9"},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileWith(t, row.doc)
			store := open(path)
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
				require.ErrorIs(t, err, fault.ErrCorruptConfig)
				require.ErrorIs(t, err, fault.ErrStore)
				assert.Contains(t, err.Error(), path)
				assert.Contains(t, err.Error(), row.place)
				what := path
				if strings.HasPrefix(name, "plex ") {
					what = `"plex" in ` + path
				}
				assert.ErrorContains(t, err, fault.ErrCorruptConfig.Error()+": "+what)
				assert.NotContains(t, fmt.Sprintf("%+v %#v", err, err), secret) // G13
			}
			assert.Equal(t, row.doc, content(t, path))
			checkNoLitter(t, path, "config.json", "config.json.lock")
		})
	}
}

// A symbolic link to the file or its directory is followed, and stays. A dangling one
// is an error.
func TestFileStoreSymlink(t *testing.T) {
	t.Run("what it leads to is replaced", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
		target, link := filepath.Join(dir, "data", "real.json"), filepath.Join(dir, "config.json")
		require.NoError(t, os.WriteFile(target, []byte(`{"a":1}`), 0o600))
		require.NoError(t, os.Symlink(filepath.Join("data", "real.json"), link))
		store := open(link)
		require.NoError(t, store.Check(t.Context()))
		require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"b":2}`)))
		info, err := os.Lstat(link)
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&os.ModeSymlink, "the link stays")
		assert.Contains(t, content(t, target), `"b": 2`)
		checkNoLitter(t, link, "config.json", "config.json.lock", "data") // others may know it by the link
		checkNoLitter(t, target, "real.json", "real.json.lock")
	})
	t.Run("a directory may be one", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
		require.NoError(t, os.Symlink("data", filepath.Join(dir, "link")))
		require.NoError(t, open(filepath.Join(dir, "link", "config.json")).Update(t.Context(), "plex", becomes(`{}`)))
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
			store := open(filepath.Join(dir, row.path))
			_, loaded := store.Load(t.Context(), "plex")
			for _, err := range []error{loaded, store.Update(t.Context(), "plex", becomes(`{}`)), store.Check(t.Context())} {
				require.ErrorIs(t, err, fault.ErrStore)
				assert.Contains(t, err.Error(), "symbolic link to "+row.to)
			}
			checkNoLitter(t, filepath.Join(dir, row.link), row.link)
		})
	}
}

// A path that is not a regular file is an error that says what is there.
func TestFileStoreNotAFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "locked.json.lock"), 0o700))
	require.NoError(t, os.Symlink("free.json", filepath.Join(dir, "link.json")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "free.json"), []byte("{}"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "link.json.lock"), 0o700))
	for path, want := range map[string]string{
		"":                                     "no path",
		dir:                                    "not a regular file",
		filepath.Join(dir, "file", "x.json"):   "not a directory",
		filepath.Join(dir, "locked.json"):      "locked.json.lock: not a regular file, remove it",
		filepath.Join(dir, "link.json"):        "link.json.lock: not a regular file, remove it",
		filepath.Join(dir, "a\x00b", "x.json"): "invalid argument",
	} {
		if runtime.GOOS == "windows" && strings.Contains(path, "file") {
			continue
		}
		store := open(path)
		for _, err := range []error{store.Update(t.Context(), "plex", becomes(`{}`)), store.Check(t.Context())} {
			require.ErrorIs(t, err, fault.ErrStore, path)
			assert.Contains(t, err.Error(), want)
		}
	}
	_, err := open("").Load(t.Context(), "plex")
	assert.ErrorIs(t, err, fault.ErrStore)
	_, err = open(dir).Load(t.Context(), "plex")
	assert.ErrorIs(t, err, fault.ErrStore)
}

// Load finds a file that another program keeps moving away and back, or finds none. It
// does not panic.
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
	store := open(path)
	for range 5000 {
		raw, err := store.Load(t.Context(), "plex")
		if runtime.GOOS != "windows" { // where the file may be in use for too long
			require.NoError(t, err)
			require.Contains(t, []string{"", `{"a":1}`}, string(raw))
		}
	}
}

// A relative path counts from the directory in which the store was made.
func TestFileStoreRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	store := open("config.json")
	t.Chdir(t.TempDir())
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{}`)))
	assert.FileExists(t, filepath.Join(dir, "config.json"))
}

// An edit that panics or fails changes nothing and leaves nothing locked.
func TestFileStoreFailingEdit(t *testing.T) {
	path := fileWith(t, `{"plex":{"a":1}}`)
	store := open(path)
	assert.PanicsWithValue(t, "TEST_PANIC", func() {
		_ = store.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { panic("TEST_PANIC") })
	})
	mine := errors.New("no")
	err := store.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), mine })
	require.ErrorIs(t, err, mine)
	for _, bad := range []string{"[]", "null", "{", "7", `{"a":1}{}`, " ", "{\"a\":\"\xff\"}", "{\"\xff\":1}"} {
		err = store.Update(t.Context(), "plex", becomes(bad))
		require.ErrorIs(t, err, fault.ErrStore, bad)
	}
	const deepest = 10_000                         // that encoding/json reads, the file's own object included
	for _, name := range []string{"plex", "new"} { // G18: what is written can be read
		err = store.Update(t.Context(), name, becomes(strings.Repeat(`{"a":`, deepest-1)+"{}"+strings.Repeat("}", deepest-1)))
		require.ErrorIs(t, err, fault.ErrStore)
		require.ErrorContains(t, err, "nested too deep")
	}
	err = store.Update(t.Context(), "new", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage{}, nil })
	require.ErrorIs(t, err, fault.ErrStore, "empty but not nil")
	assert.Equal(t, `{"plex":{"a":1}}`, content(t, path))
	checkNoLitter(t, path, "config.json", "config.json.lock")

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, store.Update(ctx, "plex", becomes(`{}`)))
}

// G9: the end of ctx ends a call at any moment before the file is replaced.
func TestFileStoreContext(t *testing.T) {
	path := fileWith(t, `{"plex":{"a":1}}`)
	store := open(path)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Load(ended, "plex")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, fault.ErrStore)
	require.ErrorIs(t, store.Check(ended), context.Canceled)
	require.ErrorIs(t, store.Update(ended, "plex", func(json.RawMessage) (json.RawMessage, error) {
		t.Error("edit called")
		return nil, nil
	}), context.Canceled)
	checkNoLitter(t, path, "config.json")
	made := filepath.Join(t.TempDir(), "new")
	require.ErrorIs(t, open(filepath.Join(made, "config.json")).Check(ended), context.Canceled)
	assert.NoDirExists(t, made)

	during, stop := context.WithCancelCause(t.Context())
	err = store.Update(during, "plex", func(json.RawMessage) (json.RawMessage, error) {
		stop(errors.New("a cause of one's own"))
		return json.RawMessage(`{"a":2}`), nil
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, `{"plex":{"a":1}}`, content(t, path))
	checkNoLitter(t, path, "config.json", "config.json.lock")
}

// A config in another encoding is left alone. The error names the encoding and says
// what to do.
func TestFileStoreEncoding(t *testing.T) {
	little := func(text string) (b []byte) {
		for _, u := range utf16.Encode([]rune(text)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return b
	}
	big := func(text string) (b []byte) {
		for _, u := range utf16.Encode([]rune(text)) {
			b = binary.BigEndian.AppendUint16(b, u)
		}
		return b
	}
	wide := func(text string) (b []byte) {
		for _, r := range text {
			b = binary.LittleEndian.AppendUint32(b, uint32(r))
		}
		return b
	}
	const doc, mark = "{\r\n  \"plex\": {\"é\": 1}\r\n}", "\ufeff"
	for name, row := range map[string]struct {
		content []byte
		says    string
	}{
		"UTF-16 of PowerShell":     {little(mark + doc), "UTF-16"},
		"UTF-16, big-endian":       {big(mark + doc), "UTF-16"},
		"UTF-16 without a mark":    {little(doc), "UTF-16"},
		"UTF-16 BE without a mark": {big(doc), "UTF-16"},
		"UTF-32":                   {wide(mark + doc), "UTF-32"},
		"UTF-32 without a mark":    {wide(doc), "UTF-32"},
		"UTF-8 of Notepad":         {[]byte(mark + doc), "UTF-8 with a byte order mark"},
		"a mark alone":             {[]byte(mark), "UTF-8 with a byte order mark"},
		"UTF-32 BE":                {[]byte("\x00\x00\xfe\xff"), "UTF-32 with a byte order mark"},
		"one character in UTF-32":  {[]byte("{\x00\x00\x00"), "UTF-32"},
		"the same, big-endian":     {[]byte("\x00\x00\x00{"), "UTF-32"},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileWith(t, string(row.content))
			store := open(path)
			_, loaded := store.Load(t.Context(), "plex")
			for _, err := range []error{loaded, store.Check(t.Context()), store.Update(t.Context(), "plex", becomes(`{}`))} {
				require.ErrorIs(t, err, fault.ErrCorruptConfig)
				require.ErrorIs(t, err, fault.ErrStore)
				assert.Contains(t, err.Error(), path+" is "+row.says)
				assert.Contains(t, err.Error(), "save it as UTF-8 without a byte order mark")
			}
			assert.Equal(t, string(row.content), content(t, path))
		})
	}
}

// G17: a file that Kubernetes mounts from a Secret or a ConfigMap can be read. It is
// not written, as the next change of the Secret would undo that.
func TestFileStoreFromKubernetes(t *testing.T) {
	dir := t.TempDir()
	versioned := filepath.Join(dir, "..2026_11_29_10_00_00.123")
	require.NoError(t, os.Mkdir(versioned, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(versioned, "config.json"), []byte(`{"plex":{"a":1}}`), 0o644))
	require.NoError(t, os.Symlink(filepath.Base(versioned), filepath.Join(dir, "..data")))
	require.NoError(t, os.Symlink(filepath.Join("..data", "config.json"), filepath.Join(dir, "config.json")))
	moved := filepath.Join(t.TempDir(), "..data")
	require.NoError(t, os.Mkdir(moved, 0o755))
	for _, path := range []string{
		filepath.Join(moved, "config.json"),
		filepath.Join(dir, "config.json"),
		filepath.Join(dir, "..data", "config.json"),
		filepath.Join(dir, "not-yet.json"),
	} {
		store := open(path)
		_, err := store.Load(t.Context(), "plex")
		require.NoError(t, err)
		for _, err := range []error{store.Check(t.Context()), store.Update(t.Context(), "plex", becomes(`{}`))} {
			require.ErrorIs(t, err, fault.ErrStore, path)
			assert.Contains(t, err.Error(), "Kubernetes Secret or ConfigMap")
			assert.Contains(t, err.Error(), "copy it into a volume")
		}
	}
	checkNoLitter(t, filepath.Join(dir, "x"), "config.json", "..data", filepath.Base(versioned))
	checkNoLitter(t, filepath.Join(versioned, "x"), "config.json")
}
