package integration_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
)

// What root has left in the directory of another user is given back when the
// key is read, as CrossWatch does. Whoever may not do that reads it as it is.
func TestCrossWatchKeyOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "root")
	}
	noKeyVariables(t)
	const user = 1000
	dir := openDir(t)
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	require.NoError(t, store.Update(t.Context(), "plex", counts("a_token")))
	require.NoError(t, store.Close())
	key := filepath.Join(dir, ".cw_master_key")
	require.NoError(t, os.Chmod(key, 0o644))
	require.NoError(t, os.Chmod(filepath.Join(dir, "config.json"), 0o644))
	as(t, user, keyOfRoot, dir)
	keyIs := func(mode os.FileMode, uid int) {
		t.Helper()
		info, err := os.Stat(key)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode())
		assert.EqualValues(t, uid, info.Sys().(*syscall.Stat_t).Uid)
	}
	keyIs(0o644, 0)

	require.NoError(t, os.Chown(dir, user, user))
	assert.Equal(t, "TEST_1", plexSecrets(t, dir)["a_token"])
	keyIs(0o600, user)

	// A link to a file of root's gives nothing away.
	other := filepath.Join(openDir(t), "other")
	require.NoError(t, os.Rename(key, other))
	require.NoError(t, os.Chown(other, 0, 0))
	require.NoError(t, os.Symlink(other, key))
	assert.Equal(t, "TEST_1", plexSecrets(t, dir)["a_token"])
	keyIs(0o600, 0)
}

var keyOfRoot = scenario("crosswatch with a key of root's", func(t *childT, dir string) {
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	raw, err := store.Load(context.Background(), "plex")
	require.NoError(t, err)
	assert.Contains(t, string(raw), "TEST_1")
})

// G9, G17: who may not read the key is told so, before a PIN is made; and a key
// that would be waited for is not.
var closedKey = scenario("crosswatch with a key that is closed", func(t *childT, dir string) {
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	_, err = store.Load(context.Background(), "plex")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.NotErrorIs(t, err, plexauth.ErrCorruptConfig)
	assert.ErrorContains(t, err, filepath.Join(dir, ".cw_master_key")+": permission denied")
	assert.ErrorContains(t, err, "let the user that runs this program (uid 1000) read it")
})

func TestCrossWatchClosedKey(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "root")
	}
	noKeyVariables(t)
	dir := openDir(t)
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	require.NoError(t, store.Update(t.Context(), "plex", counts("a_token")))
	require.NoError(t, store.Close())
	require.NoError(t, os.Chmod(filepath.Join(dir, "config.json"), 0o644))
	as(t, 1000, closedKey, dir)

	key := filepath.Join(dir, ".cw_master_key")
	require.NoError(t, os.Remove(key))
	require.NoError(t, syscall.Mkfifo(key, 0o600))
	done := make(chan error, 1)
	go func() {
		_, err := store.Load(t.Context(), "plex")
		done <- err
	}()
	select {
	case err := <-done:
		assert.ErrorIs(t, err, plexauth.ErrStore)
	case <-time.After(5 * time.Second):
		t.Error("waits for a key to come through a pipe")
	}
}

func init() {
	children["crosswatch update"] = func(args []string) error {
		runtime.LockOSThread()
		store, err := crosswatch.Open(args[0])
		if err != nil {
			return err
		}
		return errors.Join(store.Update(context.Background(), "plex", becomes(`{"account_token":"TEST_TOKEN_new"}`)), store.Close())
	}
}

// G15: no power cut leaves a config that is encrypted with a key that is not on
// the disk: the key is, with its name, before the config is there.
func TestCrossWatchOrderOfWriting(t *testing.T) {
	noKeyVariables(t)
	top := t.TempDir()
	trace, stderr, ok := straced(t, "crosswatch update", top, "-e", "trace=write,fsync,link,linkat,rename,renameat,renameat2")
	require.True(t, ok, stderr)
	dir := regexp.QuoteMeta(top)
	temp := dir + `/\.config\.json\.plexauth-[0-9a-f]{16}\.tmp`
	inOrder(t, trace, top, []string{
		`write\(\d+<` + temp + `>, `,
		`fsync\(\d+<` + temp + `>\) += 0`,
		`link\w*\(.*"` + temp + `".*/\.cw_master_key".* = 0`,
		`fsync\(\d+<` + dir + `>\) += 0`,
		`rename\w*\(.*/config\.json".* = 0`,
		`fsync\(\d+<` + dir + `>\) += 0`,
	})
}
