package integration_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth"
)

func init() {
	children["filestore add"] = adder(func(args []string) (plexauth.ConfigStore, error) {
		return plexauth.NewFileStore(args[0]), nil
	})
}

// adder returns a child that adds keys to a store. Its last two arguments are the prefix of
// the keys and their number. The others go to open.
func adder(open func(args []string) (plexauth.ConfigStore, error)) func(args []string) error {
	return func(args []string) error {
		n := len(args) - 2
		times, err := strconv.Atoi(args[n+1])
		if err != nil {
			return err
		}
		store, err := open(args[:n])
		if err != nil {
			return err
		}
		return addKeys(os.Stdout, store, args[n], times)
	}
}

// addKeys adds the keys <prefix>-0, <prefix>-1, … to the namespace "plex", each with an
// Update of its own, and prints a key when its Update has succeeded. With 0 times it goes on
// until the process is killed.
func addKeys(w io.Writer, store plexauth.ConfigStore, prefix string, times int) error {
	for n := 0; times == 0 || n < times; n++ {
		key := fmt.Sprintf("%s-%d", prefix, n)
		if err := store.Update(context.Background(), plexauth.Namespace, adds(key)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, key); err != nil {
			return err
		}
	}
	return nil
}

// works requires that Check and an Update succeed.
func works(t assert.TestingT, path string) {
	store := plexauth.NewFileStore(path)
	assert.NoError(t, store.Check(context.Background()))
	assert.NoError(t, store.Update(context.Background(), "plex", becomes(`{"n":1}`)))
	data, err := os.ReadFile(path)
	assert.NoError(t, err)
	assert.Contains(t, string(data), `"n": 1`)
}

// before is the content of a config before a test changes it.
const before = "{\n  \"plex\": {\n    \"account_token\": \"TEST_TOKEN_on_disk\"\n  }\n}\n"

// refuses requires that Check and Update fail, with an error that names path, the user and
// all of words, and that they change nothing in the directory.
func refuses(t assert.TestingT, path string, words ...string) {
	list := func() (all []string) {
		entries, _ := os.ReadDir(filepath.Dir(path))
		for _, e := range entries {
			if e.Name() != filepath.Base(path)+".lock" {
				all = append(all, e.Name())
			}
		}
		return all
	}
	names := list()
	data, _ := os.ReadFile(path)
	store := plexauth.NewFileStore(path)
	words = append(words, path, fmt.Sprintf("uid %d", os.Geteuid()))
	for what, err := range map[string]error{
		"Check":  store.Check(context.Background()),
		"Update": store.Update(context.Background(), "plex", becomes(`{"account_token":"TEST_TOKEN_new","filler":"`+strings.Repeat("x", 3000)+`"}`)),
	} {
		if !assert.ErrorIs(t, err, plexauth.ErrStore, what) {
			continue
		}
		for _, word := range words {
			assert.Contains(t, err.Error(), word, what)
		}
		assert.NotContains(t, fmt.Sprintf("%+v", err), "TEST_TOKEN", what) // G13
	}
	assert.Equal(t, names, list(), "files in the directory")
	after, _ := os.ReadFile(path)
	assert.Equal(t, string(data), string(after), "content of the file")
}
