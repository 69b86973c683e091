package crosswatch_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
)

// inMemory returns a CrossWatch directory like that of directory, in memory if possible, so
// that writes are fast.
func inMemory(t *testing.T, config string) string {
	t.Helper()
	noKeys(t)
	memory := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		memory = "/dev/shm"
	}
	dir, err := os.MkdirTemp(memory, "plexauth")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".cw_master_key"), []byte(k1), 0o600))
	return dir
}

// edits sets one member of the namespace.
func edits(t *testing.T, s plexauth.ConfigStore, key, value string) {
	require.NoError(t, s.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
		m := map[string]any{}
		if err := json.Unmarshal(current, &m); err != nil {
			return nil, err
		}
		m[key] = value
		return json.Marshal(m)
	}))
}

// G16, G22: two Stores and one or two loops of CrossWatch write in a random order. In the
// end, the latest login is stored. Each seed is another order.
func TestLatestLoginStays(t *testing.T) {
	configs := []string{
		`{"plex":{"account_token":"","client_id":"c","username":""}}`,
		`{"plex":{"account_token":"","client_id":"c","username":"","_plexauth_revision":"386d0000-a1b2"}}`,
		`{"plex":{"account_token":"TEST_before","client_id":"c","username":"","_plexauth_revision":"386d0000-a1b2"}}`,
		`{"plex":{"account_token":"","client_id":"c"}}`,
	}
	seeds := []uint64{61, 181, 317, 326, 346, 373, 424, 551} // with each of them, a login was lost during development
	for seed := range uint64(24) {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		dir := inMemory(t, configs[seed%4])
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			below := func(n int64) int64 {
				mu.Lock()
				defer mu.Unlock()
				return random.Int64N(n)
			}
			pause := func(most time.Duration) time.Duration { return time.Duration(below(int64(most))) }
			var stores [2]*crosswatch.Store
			for i := range stores {
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				stores[i] = s
			}
			theirs := &running{dir: dir}
			var wg sync.WaitGroup
			for range 1 + seed%2 {
				slow, rounds := 200*time.Millisecond+pause(3*time.Second), 5+below(40)
				wg.Go(func() {
					time.Sleep(pause(5 * time.Second))
					for range rounds {
						old := theirs.read(t)
						time.Sleep(slow + pause(time.Second))
						theirs.write(t, old)
						time.Sleep(time.Second)
					}
				})
			}
			latest := ""
			for i := range 3 {
				time.Sleep(pause(8 * time.Second))
				latest = fmt.Sprintf("TEST_%d", i)
				edits(t, stores[below(2)], "account_token", latest)
				if below(2) == 0 {
					time.Sleep(pause(3 * time.Second))
					edits(t, stores[below(2)], "username", fmt.Sprint("user", i))
				}
			}
			wg.Wait()
			time.Sleep(2 * time.Minute)
			plain, err := crosswatch.Open(dir)
			require.NoError(t, err)
			assert.Contains(t, load(t, plain), `"`+latest+`"`, "seed %d", seed)
		})
	}
}

// G16: two loops of CrossWatch pass an old copy on to each other for minutes. Soon after they
// end, the login is repaired.
func TestLoopsHandOnAnOldCopy(t *testing.T) {
	for name, before := range map[string]string{"with a client identifier": "c", "without one": ""} {
		t.Run(name, func(t *testing.T) {
			dir := inMemory(t, `{"plex":{"client_id":"`+before+`","account_token":"","username":""}}`)
			synctest.Test(t, func(t *testing.T) {
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				theirs := &running{dir: dir}
				old := theirs.read(t)
				set(t, s, `{"client_id":"c","account_token":"TEST_a","username":"alice"}`)
				repairs, ends := 0, time.Now().Add(2*time.Minute)
				if before != "" {
					ends = ends.Add(8 * time.Minute)
				}
				for time.Now().Before(ends) {
					theirs.write(t, old)
					time.Sleep(1200 * time.Millisecond)
					if theirs.read(t)["plex"].(map[string]any)["account_token"] != "" {
						repairs++
					}
				}
				assert.Greater(t, repairs, 50)
				theirs.write(t, old)
				time.Sleep(2100 * time.Millisecond)
				assert.Contains(t, file(t, dir), "enc:v1:", "after the next check")
			})
		})
	}
}

// G22: a change that another program has replaced is no longer repaired, even if an old copy
// is written afterwards.
func TestReplacedChangeIsGivenUp(t *testing.T) {
	for name, replaced := range map[string]string{"disconnected": "", "another login": "TEST_theirs"} {
		t.Run(name, func(t *testing.T) {
			dir := inMemory(t, `{"plex":{"client_id":"c","account_token":"","_plexauth_revision":"386d0000-a1b2"}}`)
			synctest.Test(t, func(t *testing.T) {
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				theirs := &running{dir: dir}
				old := theirs.read(t)
				set(t, s, `{"client_id":"c","account_token":"TEST_ours"}`)
				time.Sleep(1500 * time.Millisecond)
				present := theirs.read(t)
				present["plex"].(map[string]any)["account_token"] = replaced
				theirs.write(t, present)
				time.Sleep(2 * time.Second)
				theirs.write(t, old)
				time.Sleep(2 * time.Minute)
				assert.NotContains(t, load(t, s), "TEST_ours")
			})
		})
	}
}

// G16: a Store also repairs the later change of another Store, even if that one is closed.
func TestOtherStoresChangeIsKept(t *testing.T) {
	dir := inMemory(t, `{"plex":{"client_id":"c","account_token":"","username":"","_plexauth_revision":"386d0000-a1b2"}}`)
	synctest.Test(t, func(t *testing.T) {
		one, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer one.Close()
		two, err := crosswatch.Open(dir)
		require.NoError(t, err)
		theirs := &running{dir: dir}
		old := theirs.read(t)
		edits(t, one, "account_token", "TEST_first")
		time.Sleep(500 * time.Millisecond)
		edits(t, two, "account_token", "TEST_second")
		require.NoError(t, two.Close())
		time.Sleep(10 * time.Second)
		theirs.write(t, old)
		assert.Contains(t, load(t, one), "TEST_second")
		time.Sleep(2 * time.Minute)
		plain, err := crosswatch.Open(dir)
		require.NoError(t, err)
		assert.Contains(t, load(t, plain), "TEST_second")
	})
}

// G8, G16: on its first run CrossWatch overwrites a login with its defaults, in which absent
// members are empty. The login is repaired.
func TestDefaultsOverAFirstLogin(t *testing.T) {
	dir := inMemory(t, "{}")
	require.NoError(t, os.Remove(filepath.Join(dir, "config.json")))
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		const login = `{"client_id":"c","account_token":"TEST_a","username":"alice","verify_ssl":true,"_cloud":{"account_id":7}}`
		set(t, s, login)
		time.Sleep(3 * time.Second)
		defaults := map[string]any{"verify_ssl": false, "history": map[string]any{"libraries": []any{}}}
		resetDefault(defaults)
		defaults["verify_ssl"], defaults["_cloud"] = false, map[string]any{}
		(&running{dir: dir}).write(t, map[string]any{"version": "0.11.3", "plex": defaults, "trakt": map[string]any{"client_id": ""}})
		time.Sleep(2 * time.Minute)
		var now map[string]any
		require.NoError(t, json.Unmarshal([]byte(load(t, s)), &now))
		assert.Equal(t, []any{"c", "TEST_a", "alice", true, map[string]any{"account_id": 7.0}},
			[]any{now["client_id"], now["account_token"], now["username"], now["verify_ssl"], now["_cloud"]})
		assert.Contains(t, file(t, dir), `"trakt"`)
	})
}

// G16: a new change is checked soon, even if the next check of an older change is far away.
func TestNewChangeBesideAnOldOne(t *testing.T) {
	dir := inMemory(t, `{"plex":{"client_id":"c","account_token":"","username":"","_plexauth_revision":"386d0000-a1b2"}}`)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		edits(t, s, "username", "alice")
		time.Sleep(40 * time.Second)
		theirs := &running{dir: dir}
		old := theirs.read(t)
		edits(t, s, "account_token", "TEST_a")
		time.Sleep(500 * time.Millisecond)
		theirs.write(t, old)
		time.Sleep(2 * time.Second)
		assert.Contains(t, file(t, dir), "enc:v1:")
	})
}

// G22: a login that CrossWatch or a person has put into an old copy stays.
func TestLoginInAnOldCopy(t *testing.T) {
	dir := inMemory(t, `{"plex":{"client_id":"c","account_token":"","_plexauth_revision":"386d0000-a1b2"}}`)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		theirs := &running{dir: dir}
		old := theirs.read(t)
		edits(t, s, "username", "alice")
		edits(t, s, "account_token", "TEST_ours")
		old["plex"].(map[string]any)["account_token"] = "TEST_theirs"
		theirs.write(t, old)
		time.Sleep(2 * time.Minute)
		assert.Contains(t, load(t, s), "TEST_theirs")
	})
}

// G22: if there was no client identifier before, a reset is mistaken for an old copy, but
// only for three minutes.
func TestResetThatLooksLikeAnOldCopy(t *testing.T) {
	dir := inMemory(t, `{"plex":{"account_token":"","client_id":""}}`)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		set(t, s, `{"account_token":"TEST_a","client_id":"c"}`)
		theirs := &running{dir: dir}
		for began := time.Now(); time.Since(began) < 5*time.Minute; {
			written := time.Since(began)
			config := map[string]any{}
			resetDefault(config)
			theirs.write(t, map[string]any{"plex": config})
			time.Sleep(10 * time.Second)
			assert.Equal(t, written < 3*time.Minute, strings.Contains(file(t, dir), "enc:v1:"), "%v", written)
		}
	})
}
