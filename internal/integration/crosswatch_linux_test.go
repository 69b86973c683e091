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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
)

// If root has left the key in another user's directory, reading it gives it to that user, as
// CrossWatch does. A user who may not do that reads the key as it is.
func TestCrossWatchKeyOwner(t *testing.T) {
	requireRoot(t)
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

	// A link to a file of root does not give that file away.
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

// closedKey runs as a user who may not read the key.
var closedKey = scenario("crosswatch with a key that is closed", func(t *childT, dir string) {
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	_, err = store.Load(context.Background(), "plex")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.NotErrorIs(t, err, plexauth.ErrCorruptConfig)
	assert.ErrorContains(t, err, filepath.Join(dir, ".cw_master_key")+": permission denied")
	assert.ErrorContains(t, err, "let the user that runs this program (uid 1000) read it")
})

// G9, G17: a user who may not read the key gets advice. A key file that never ends, such as
// a pipe, is refused.
func TestCrossWatchClosedKey(t *testing.T) {
	requireRoot(t)
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
	assert.ErrorIs(t, receive(t, done, "Load refused to wait for a key from a pipe"), plexauth.ErrStore)
}

// guestsKey runs as root without the right to change owners, in another user's directory.
var guestsKey = scenario("crosswatch that cannot give the key away", func(t *childT, dir string) {
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	err = store.Update(context.Background(), "plex", becomes(`{"account_token":"TEST_TOKEN_new"}`))
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "cannot make the key")
	assert.ErrorContains(t, err, "uid 1000, who owns "+filepath.Join(dir, "config.json")+", could not read it")
	assert.NoError(t, store.Close())
})

// G15, G17: no key is made that the owner of the config cannot read.
func TestCrossWatchKeyOfAGuest(t *testing.T) {
	noKeyVariables(t)
	dir := t.TempDir()
	ofOwner(0o750, 0o640, 2000, before)(t, dir)
	has("config.json.lock", "", 0o660)(t, dir)
	withoutChown(t, guestsKey, dir)
	checkNames(t, dir, "config.json", "config.json.lock")
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

// G15: no power cut leaves a config without the key that it is encrypted with. The key and
// its name are on the disk before the config.
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

// G15: a key that CrossWatch has made is synced too, since CrossWatch does not do it.
func TestCrossWatchFoundKeyIsSynced(t *testing.T) {
	noKeyVariables(t)
	top := t.TempDir()
	key := filepath.Join(top, ".cw_master_key")
	require.NoError(t, os.WriteFile(key, []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="), 0o600))
	trace, stderr, ok := straced(t, "crosswatch update", top, "-e", "trace=fsync,rename,renameat,renameat2")
	require.True(t, ok, stderr)
	dir := regexp.QuoteMeta(top)
	inOrder(t, trace, top, []string{
		`fsync\(\d+<` + regexp.QuoteMeta(key) + `>\) += 0`,
		`fsync\(\d+<` + dir + `>\) += 0`,
		`rename\w*\(.*/config\.json".* = 0`,
	})
	_, stderr, ok = straced(t, "crosswatch update", top, "-P", key, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO")
	assert.True(t, ok, "a config that stays as it is needs no new key: %s", stderr)
	require.NoError(t, os.Remove(filepath.Join(top, "config.json")))
	_, stderr, ok = straced(t, "crosswatch update", top, "-P", key, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO")
	assert.False(t, ok)
	assert.Contains(t, stderr, "cannot sync "+key+" to the disk")
	assert.NoFileExists(t, filepath.Join(top, "config.json"))
}

// G15: on a file system without hard links the key is private and complete too, and never
// replaces another one. It is renamed, or else made under its name.
func TestCrossWatchKeyWithoutLinks(t *testing.T) {
	noKeyVariables(t)
	top := t.TempDir()
	noLinks := []string{"-e", "trace=openat,write,fsync,link,linkat,rename,renameat,renameat2", "-e", "inject=link,linkat:error=EPERM"}
	trace, stderr, ok := straced(t, "crosswatch update", top, noLinks...)
	require.True(t, ok, stderr)
	dir := regexp.QuoteMeta(top)
	inOrder(t, trace, top, []string{
		`fsync\(\d+<` + dir + `/\.config\.json\.plexauth-[0-9a-f]{16}\.tmp>\) += 0`,
		`renameat2\(.*/\.cw_master_key", RENAME_NOREPLACE\) += 0`,
		`fsync\(\d+<` + dir + `>\) += 0`,
		`rename\w*\(.*/config\.json".* = 0`,
	})
	checkNames(t, top, "config.json", "config.json.lock", ".cw_master_key")

	for _, errno := range []string{"EPERM", "EOPNOTSUPP", "ENOSYS", "EMLINK"} {
		top := t.TempDir()
		trace, stderr, ok := straced(t, "crosswatch update", top, "-e", "trace=openat,write,fsync,link,linkat,rename,renameat,renameat2", "-e", "inject=link,linkat:error="+errno, "-e", "inject=renameat2:error=EINVAL")
		require.True(t, ok, stderr)
		dir := regexp.QuoteMeta(top)
		inOrder(t, trace, top, []string{
			`link\w*\(.*/\.cw_master_key".* = -1 ` + errno,
			`openat\(.*/\.cw_master_key", O_WRONLY\|O_CREAT\|O_EXCL\|O_CLOEXEC, 0600\) += \d`,
			`write\(\d+<` + dir + `/\.cw_master_key>, `,
			`fsync\(\d+<` + dir + `/\.cw_master_key>\) += 0`,
			`fsync\(\d+<` + dir + `>\) += 0`,
			`rename\w*\(.*/config\.json".* = 0`,
		})
		assert.Equal(t, "TEST_TOKEN_new", plexSecrets(t, top)["account_token"])
		checkNames(t, top, "config.json", "config.json.lock", ".cw_master_key")
	}
}
