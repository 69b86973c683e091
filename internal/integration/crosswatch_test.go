//go:build unix

package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
	"github.com/plexauth/plexauth/plextest"
)

func init() {
	// Counts in a secret of a CrossWatch directory, by one in each Update.
	children["crosswatch add"] = func(args []string) error {
		times, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		store, err := crosswatch.Open(args[0])
		if err != nil {
			return err
		}
		for range times {
			if err := store.Update(context.Background(), "plex", counts(args[1])); err != nil {
				return err
			}
		}
		return store.Close()
	}
}

// counts returns an edit that adds one to the number in a secret. It begins with "TEST_1".
func counts(key string) func(json.RawMessage) (json.RawMessage, error) {
	return func(current json.RawMessage) (json.RawMessage, error) {
		all := map[string]string{}
		if current != nil {
			if err := json.Unmarshal(current, &all); err != nil {
				return nil, err
			}
		}
		n, _ := strconv.Atoi(strings.TrimPrefix(all[key], "TEST_"))
		all[key] = fmt.Sprint("TEST_", n+1)
		return json.Marshal(all)
	}
}

// plexSecrets returns the texts of the namespace "plex", decrypted.
func plexSecrets(t *testing.T, dir string) map[string]string {
	t.Helper()
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	raw, err := store.Load(t.Context(), "plex")
	require.NoError(t, err)
	all := map[string]string{}
	if raw != nil {
		require.NoError(t, json.Unmarshal(raw, &all))
	}
	return all
}

// noKeyVariables removes CrossWatch's keys from the environment.
func noKeyVariables(t *testing.T) {
	t.Helper()
	t.Setenv("CW_CONFIG_KEY", "")
	t.Setenv("CROSSWATCH_CONFIG_KEY", "")
}

// G16: eight processes start in an empty directory and update a secret 100 times each. They
// make one key, and no update is lost or in clear.
func TestCrossWatchProcesses(t *testing.T) {
	noKeyVariables(t)
	const processes, updates = 8, 100
	dir := t.TempDir()
	want := map[string]string{}
	var wg sync.WaitGroup
	for p := range processes {
		key := fmt.Sprintf("p%d_token", p)
		want[key] = fmt.Sprint("TEST_", updates)
		c := child(t, "crosswatch add", dir, key, strconv.Itoa(updates))
		wg.Go(func() { assert.NoError(t, c.Run()) })
	}
	wg.Wait()
	assert.Equal(t, want, plexSecrets(t, dir))
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	assert.NotContains(t, string(data), "TEST_")
	assert.Equal(t, processes, strings.Count(string(data), "enc:v1:"))
	checkNames(t, dir, "config.json", "config.json.lock", ".cw_master_key")
}

// G15: a process is killed while it makes the key and the first secrets. Each time the key
// is missing or complete, the next program goes on, and no temporary file is left.
func TestCrossWatchKilled(t *testing.T) {
	noKeyVariables(t)
	times := 100
	if testing.Short() {
		times = 20
	}
	for range times {
		dir := t.TempDir()
		c := child(t, "crosswatch add", dir, "a_token", "1000")
		require.NoError(t, c.Start())
		// Most are killed about the time that the key is made.
		for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(50 * time.Microsecond) {
			if _, err := os.Stat(filepath.Join(dir, "config.json.lock")); err == nil {
				break
			}
		}
		time.Sleep(rand.N(3 * time.Millisecond))
		require.NoError(t, c.Process.Signal(syscall.SIGKILL))
		_ = c.Wait()

		if key, err := os.ReadFile(filepath.Join(dir, ".cw_master_key")); err == nil {
			require.Len(t, key, 44)
		}
		store, err := crosswatch.Open(dir)
		require.NoError(t, err)
		require.NoError(t, store.Update(t.Context(), "plex", counts("b_token")))
		require.NoError(t, store.Close())
		require.Equal(t, "TEST_1", plexSecrets(t, dir)["b_token"])
		checkNames(t, dir, "config.json", "config.json.lock", ".cw_master_key")
	}
}

// G15: what root makes in another user's directory belongs to that user. Otherwise
// CrossWatch could not read it.
func TestCrossWatchOwner(t *testing.T) {
	requireRoot(t)
	noKeyVariables(t)
	const user = 1000
	for name, config := range map[string]string{"no config yet": "", "a config of root's": "{}\n"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Chown(dir, user, user))
			if config != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
			}
			store, err := crosswatch.Open(dir)
			require.NoError(t, err)
			require.NoError(t, store.Update(t.Context(), "plex", counts("a_token")))
			require.NoError(t, store.Close())
			for file, mode := range map[string]os.FileMode{"config.json": 0o600, ".cw_master_key": 0o600, "config.json.lock": 0o660} {
				info, err := os.Stat(filepath.Join(dir, file))
				require.NoError(t, err)
				assert.Equal(t, mode, info.Mode(), file)
				assert.EqualValues(t, user, info.Sys().(*syscall.Stat_t).Uid, file)
			}
		})
	}
}

// rounds returns how often the Python program has saved the config.
func rounds(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	var config struct{ Rounds int }
	require.NoError(t, json.Unmarshal(data, &config))
	return config.Rounds
}

// pythonWithCryptography returns the name of a Python with the module cryptography.
func pythonWithCryptography(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} { // Debian's, where another comes first
		if exec.Command(name, "-c", "import cryptography, fcntl").Run() == nil {
			return name
		}
	}
	missing(t, "python3 with the module cryptography (Debian: python3-cryptography)")
	return ""
}

// pythonCrossWatch starts a program that does what CrossWatch does, and waits until it has
// saved once. stop ends it and returns the namespace "plex" as it reads it, decrypted.
func pythonCrossWatch(t *testing.T, dir string) (stop func() map[string]any) {
	t.Helper()
	c := exec.CommandContext(t.Context(), pythonWithCryptography(t), "testdata/crosswatch.py", dir)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "running\n", line)
	return func() map[string]any {
		require.NoError(t, in.Close())
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.NoError(t, c.Wait())
		var plex map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &plex))
		return plex
	}
}

// G8, G16: a Go program signs in while CrossWatch rewrites the whole file from old copies.
// Here CrossWatch is a Python program with the real cryptography module. Both go on, each
// reads what the other one saved, and the login stays.
func TestCrossWatchRunning(t *testing.T) {
	noKeyVariables(t)
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join("testdata", "crosswatch-config.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o640))
	stop := pythonCrossWatch(t, dir)

	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	store, err := crosswatch.Open(dir)
	require.NoError(t, err)
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: plex.Client(), Instance: "PLEX-P01"})
	require.NoError(t, err)
	status, err := auth.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
		time.AfterFunc(2*time.Second, func() { assert.NoError(t, plex.Approve(pin.Code, alice)) })
		return nil
	})
	require.NoError(t, err)
	require.True(t, status.Connected)
	saved := rounds(t, dir)
	eventually(t, "CrossWatch saves three more old copies", func() bool { return rounds(t, dir) >= saved+3 })
	require.NoError(t, store.Close())

	theirs := stop()
	settings, err := auth.Settings(t.Context())
	require.NoError(t, err)
	profile := theirs["instances"].(map[string]any)["PLEX-P01"].(map[string]any)
	assert.Equal(t, settings.AccountToken.Secret(), profile["account_token"], "the token that Go saved, decrypted by Python")
	assert.Equal(t, "alice", profile["username"])
	assert.NotContains(t, profile, "_pending_pin")
	assert.Equal(t, "TEST_pin_1234", theirs["home_pin"], "the PIN that Python has encrypted")

	after, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	assert.NotContains(t, string(after), settings.AccountToken.Secret())
	assert.Contains(t, string(after), `"note": "<&>é"`)
	assert.Contains(t, string(after), `"timeout": 10.0`)
	info, err := os.Stat(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode())
	checkNames(t, dir, "config.json", "config.json.lock", ".cw_master_key")
}
