package crosswatch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
	"github.com/plexauth/plexauth/plextest"
)

// running is a CrossWatch that is running: it reads the whole file, waits, and writes the
// whole file.
type running struct {
	dir string
	mu  sync.Mutex
}

func (c *running) read(t *testing.T) map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := os.ReadFile(filepath.Join(c.dir, "config.json"))
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	m := map[string]any{}
	require.NoError(t, dec.Decode(&m))
	return m
}

func (c *running) write(t *testing.T, m map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.MarshalIndent(m, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "config.tmp"), b, 0o600))
	require.NoError(t, os.Rename(filepath.Join(c.dir, "config.tmp"), filepath.Join(c.dir, "config.json")))
}

// G16: CrossWatch overwrites a login with old copies again and again. The login stays, and
// so do CrossWatch's own changes.
func TestRunningCrossWatch(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":"","client_id":"","instances":{}},"scheduling":{"n":0}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		plex := plextest.NewServer()
		defer plex.Close()
		alice := plex.AddUser(plextest.User{Username: "alice"})
		auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: plex.Client(), Instance: "PLEX-P01"})
		require.NoError(t, err)

		theirs := &running{dir: dir}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { // like its PIN waiter: every second a copy that is 400 ms old
			for i := range 30 {
				old := theirs.read(t)
				time.Sleep(400 * time.Millisecond)
				old["scheduling"] = map[string]any{"n": i + 1}
				theirs.write(t, old)
				select {
				case <-time.After(time.Second):
				case <-stop:
					return
				}
			}
		})
		slow := theirs.read(t) // and a much older copy, as after an inspection
		wg.Go(func() {
			time.Sleep(20 * time.Second)
			theirs.write(t, slow)
		})

		_, err = auth.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			time.AfterFunc(3500*time.Millisecond, func() {
				assert.NoError(t, plex.Approve(pin.Code, alice))
			})
			return nil
		})
		if errors.Is(err, plexauth.ErrNoPendingPin) || errors.Is(err, plexauth.ErrPinSuperseded) {
			t.Fatal("the pending login was lost: ", err)
		}
		require.NoError(t, err)
		time.Sleep(70 * time.Second)
		close(stop)
		wg.Wait()
		st, err := auth.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, st.Connected)
		v, err := auth.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, plex.Token(alice, v.ClientID), v.AccountToken.Secret())
		assert.Nil(t, st.Pending, "the pending login is still removed")
		assert.NotContains(t, file(t, dir), "FAKE_")
	})
}

// G16: a person saves the settings in a browser that loaded them before a login. The fields
// of the login are repaired, and the field that the person changed stays.
func TestSettingsSavedInBrowser(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":"","username":"","label":"old","_plexauth_revision":"386d0000-a1b2"}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		theirs := &running{dir: dir}
		form := theirs.read(t)["plex"].(map[string]any)
		require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`{"account_token":"TEST_a","username":"alice","label":"old","_cloud":{"account_id":7}}`), nil
		}))
		time.Sleep(1500 * time.Millisecond) // until after the first check
		form["label"] = "new"
		delete(form, "account_token") // CrossWatch keeps a secret that the form shows masked
		present := theirs.read(t)
		for key, value := range form {
			present["plex"].(map[string]any)[key] = value
		}
		theirs.write(t, present)
		want := `{"account_token":"TEST_a","username":"alice","label":"new","_cloud":{"account_id":7}}`
		assert.JSONEq(t, want, load(t, s), "at once")
		time.Sleep(2 * time.Minute)
		assert.JSONEq(t, want, load(t, s))
		plain, err := crosswatch.Open(dir)
		require.NoError(t, err)
		assert.JSONEq(t, want, load(t, plain), "in the file")
	})
}

// A change that a person makes to the current file is never undone.
func TestDeliberateChange(t *testing.T) {
	for name, take := range map[string]func(plex map[string]any){
		"a disconnected profile": func(plex map[string]any) {
			plex["instances"].(map[string]any)["P"] = map[string]any{"account_token": ""}
		},
		"a reset": func(plex map[string]any) {
			clear(plex)
			plex["account_token"] = ""
			plex["instances"] = map[string]any{"P": map[string]any{"account_token": ""}}
		},
		"a third value": func(plex map[string]any) {
			plex["instances"].(map[string]any)["P"] = map[string]any{"account_token": "TEST_third"}
		},
	} {
		for _, repeated := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, repeated %v", name, repeated), func(t *testing.T) {
				dir := directory(t, `{"plex":{"account_token":"","client_id":"c","instances":{"P":{"account_token":""}},"_plexauth_revision":"386d0000-a1b2"}}`, k1)
				synctest.Test(t, func(t *testing.T) {
					s, err := crosswatch.Open(dir)
					require.NoError(t, err)
					defer s.Close()
					assert.NotContains(t, load(t, s), "revision", "callers do not see the revision")
					theirs := &running{dir: dir}
					old := theirs.read(t)
					require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
						return json.RawMessage(`{"account_token":"","client_id":"c","instances":{"P":{"account_token":"TEST_a"}}}`), nil
					}))
					if repeated {
						theirs.write(t, old)
						time.Sleep(2 * time.Second)
						require.Contains(t, file(t, dir), "enc:v1:")
					}
					present := theirs.read(t)
					take(present["plex"].(map[string]any))
					theirs.write(t, present)
					assert.NotContains(t, load(t, s), "TEST_a")
					time.Sleep(2 * time.Minute)
					assert.NotContains(t, load(t, s), "TEST_a")
				})
			})
		}
	}
}

// resetDefault resets the default profile as CrossWatch does when it disconnects.
func resetDefault(plex map[string]any) {
	instances := plex["instances"]
	clear(plex)
	for _, key := range []string{"server_url", "account_token", "pms_token", "client_id", "machine_id", "username", "account_id", "home_pin"} {
		plex[key] = ""
	}
	plex["timeout"] = json.Number("10.0")
	if instances != nil {
		plex["instances"] = instances
	}
}

// G22: a disconnect in CrossWatch is not undone, even right after the first login. It removes
// the revision, so it looks like an old copy. But an old copy has the client identifier.
func TestDisconnectAfterFirstLogin(t *testing.T) {
	for name, config := range map[string]string{
		"an identifier": `{"plex":{"server_url":"","account_token":"","client_id":"0123456789abcdef01234567","timeout":25.0}}`,
		"a number":      `{"plex":{"account_token":"","client_id":1234567}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, config, k1)
			synctest.Test(t, func(t *testing.T) {
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				plex := plextest.NewServer()
				defer plex.Close()
				alice := plex.AddUser(plextest.User{Username: "alice"})
				auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: plex.Client()})
				require.NoError(t, err)
				theirs := &running{dir: dir}
				old := theirs.read(t)
				_, err = auth.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) })
				require.NoError(t, err)
				connected := func() bool {
					status, err := auth.Status(t.Context())
					require.NoError(t, err)
					return status.Connected
				}
				theirs.write(t, old)
				assert.True(t, connected(), "an old copy")

				time.Sleep(30 * time.Second)
				assert.True(t, connected(), "an old copy")
				present := theirs.read(t)
				require.Contains(t, present["plex"], "_plexauth_revision")
				resetDefault(present["plex"].(map[string]any))
				theirs.write(t, present)
				assert.False(t, connected(), "right after")
				other, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer other.Close()
				replace(t, other, `"username": ""`, `"username": "bob"`) // which writes a revision again
				time.Sleep(2 * time.Minute)
				assert.False(t, connected(), "two minutes later")
				assert.NotContains(t, file(t, dir), "enc:v1:")
			})
		})
	}
}

// set makes doc the document of the namespace.
func set(t *testing.T, s plexauth.ConfigStore, doc string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(doc), nil }))
}

// G22: a disconnect is not undone after an old copy has overwritten only a part of a login,
// which was repaired. Such a copy is an old form in a browser, which keeps secrets, or
// CrossWatch's own waiter for the same PIN, which saves the same token.
func TestDisconnectAfterARepeatedPart(t *testing.T) {
	const config = `{"plex":{"client_id":"c","instances":{"P":{"client_id":"c","account_token":"","username":""}},"_plexauth_revision":"386d0000-a1b2"}}`
	profile := func(config map[string]any) map[string]any {
		return config["plex"].(map[string]any)["instances"].(map[string]any)["P"].(map[string]any)
	}
	for name, overwrite := range map[string]func(old, present map[string]any) map[string]any{
		"form": func(old, present map[string]any) map[string]any {
			present["plex"].(map[string]any)["_plexauth_revision"] = old["plex"].(map[string]any)["_plexauth_revision"]
			profile(present)["username"] = ""
			return present
		},
		"waiter": func(old, present map[string]any) map[string]any {
			profile(old)["account_token"] = "TEST_a"
			return old
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, config, k1)
			synctest.Test(t, func(t *testing.T) {
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				theirs := &running{dir: dir}
				old := theirs.read(t)
				set(t, s, `{"client_id":"c","instances":{"P":{"client_id":"c","account_token":"TEST_a","username":""}}}`)
				set(t, s, `{"client_id":"c","instances":{"P":{"client_id":"c","account_token":"TEST_a","username":"alice"}}}`)
				theirs.write(t, overwrite(old, theirs.read(t)))
				time.Sleep(2 * time.Second)
				require.Contains(t, file(t, dir), "alice", "repaired")

				present := theirs.read(t)
				clear(profile(present))
				profile(present)["account_token"] = ""
				theirs.write(t, present)
				assert.NotContains(t, load(t, s), "TEST_a", "right after")
				time.Sleep(2 * time.Minute)
				assert.NotContains(t, load(t, s), "TEST_a", "two minutes later")
			})
		})
	}
}

// G16: a login is not lost if an older build writes to the same file. The names in its
// revisions have no origin.
func TestOlderBuild(t *testing.T) {
	for name, first := range map[string]bool{"it writes first": true, "it writes to an old copy": false} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, `{"plex":{"account_token":"","client_id":"0123456789abcdef01234567","username":""}}`, k1)
			synctest.Test(t, func(t *testing.T) {
				theirs := &running{dir: dir}
				old := theirs.read(t)
				older := func() {
					config := theirs.read(t)
					plex := config["plex"].(map[string]any)
					plex["server_url"] = "http://10.0.0.1:32400"
					plex["_plexauth_revision"] = fmt.Sprintf("%x-%04x", time.Now().Unix(), 7)
					theirs.write(t, config)
				}
				if first {
					older()
				}
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				set(t, s, `{"account_token":"TEST_a","client_id":"0123456789abcdef01234567","username":"alice"}`)
				time.Sleep(500 * time.Millisecond)
				theirs.write(t, old)
				if !first {
					older()
				}
				assert.Contains(t, load(t, s), "TEST_a")
				time.Sleep(2 * time.Minute)
				assert.Contains(t, load(t, s), "TEST_a")
			})
		})
	}
}

// G1: a token is repaired together with its client identifier, even if the identifier was
// written long before the token.
func TestTokenWithItsIdentifier(t *testing.T) {
	const profile = `{"account_token":"TEST_b","client_id":"b"}`
	for name, reset := range map[string]func(plex map[string]any){
		"both emptied":        resetDefault, // mistaken for an old copy, because there was no identifier before
		"an older identifier": func(plex map[string]any) {},
	} {
		t.Run(name, func(t *testing.T) {
			before := ""
			if name == "an older identifier" {
				before = "before"
			}
			dir := directory(t, `{"plex":{"account_token":"","client_id":"`+before+`","instances":{"P":`+profile+`}}}`, k1)
			synctest.Test(t, func(t *testing.T) {
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				theirs := &running{dir: dir}
				old := theirs.read(t)
				set := func(value string) {
					require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(value), nil }))
				}
				set(`{"account_token":"","client_id":"a","instances":{"P":` + profile + `}}`)
				time.Sleep(70 * time.Second) // until the identifier is no longer checked
				set(`{"account_token":"TEST_a","client_id":"a","instances":{"P":` + profile + `}}`)
				reset(old["plex"].(map[string]any))
				theirs.write(t, old)
				for range 2 {
					var now map[string]any
					require.NoError(t, json.Unmarshal([]byte(load(t, s)), &now))
					assert.Equal(t, "TEST_a", now["account_token"])
					assert.Equal(t, "a", now["client_id"])
					assert.Equal(t, map[string]any{"account_token": "TEST_b", "client_id": "b"}, now["instances"].(map[string]any)["P"])
					time.Sleep(2 * time.Minute)
				}
			})
		})
	}
}

// If another Store undoes a change, the first Store does not repair it.
func TestOtherStore(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":""}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		var stores [2]*crosswatch.Store
		for i := range stores {
			s, err := crosswatch.Open(dir)
			require.NoError(t, err)
			defer s.Close()
			stores[i] = s
		}
		for i, value := range []string{"TEST_a", ""} {
			require.NoError(t, stores[i].Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`{"account_token":"` + value + `"}`), nil
			}))
		}
		assert.Equal(t, `{"account_token":""}`, load(t, stores[0]))
		time.Sleep(2 * time.Minute)
		assert.Equal(t, `{"account_token":""}`, load(t, stores[0]))
		assert.Equal(t, `{"account_token":""}`, load(t, stores[1]))
	})
}

// G16: a change that CrossWatch has overwritten is repaired, even if another Store has
// written to the old copy since.
func TestOtherStoreOnOldCopy(t *testing.T) {
	for name, config := range map[string]string{
		"first":       `{"plex":{"account_token":"","username":""}}`,
		"not first":   `{"plex":{"account_token":"","username":"","_plexauth_revision":"386d0000-a1b2"}}`,
		"no revision": `{"plex":{"account_token":"","username":"","_plexauth_revision":7}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, config, k1)
			synctest.Test(t, func(t *testing.T) {
				theirs := &running{dir: dir}
				old := theirs.read(t)
				time.Sleep(time.Second)
				for i, edit := range [][2]string{{`"account_token":""`, `"account_token":"TEST_a"`}, {`"username":""`, `"username":"alice"`}} {
					s, err := crosswatch.Open(dir)
					require.NoError(t, err)
					defer s.Close()
					compact := func(cur json.RawMessage) (json.RawMessage, error) {
						var b bytes.Buffer
						err := json.Compact(&b, cur)
						return json.RawMessage(strings.Replace(b.String(), edit[0], edit[1], 1)), err
					}
					require.NoError(t, s.Update(t.Context(), "plex", compact))
					if i == 0 {
						theirs.write(t, old)
					}
				}
				time.Sleep(2 * time.Minute)
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				assert.JSONEq(t, `{"account_token":"TEST_a","username":"alice"}`, load(t, s))
			})
		})
	}
}

// G16: of concurrent Updates, the one that was written last is repaired, in whatever order
// they return.
func TestConcurrentUpdates(t *testing.T) {
	const old = `{"plex":{"n":"old","_plexauth_revision":"386d0000-a1b2"}}`
	for range 200 {
		dir := inMemory(t, old)
		s := open(t, dir)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				assert.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
					return fmt.Appendf(nil, `{"n":"%d"}`, i), nil
				}))
			})
		}
		wg.Wait()
		last := load(t, s)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(old), 0o600))
		require.JSONEq(t, last, load(t, s))
	}
}

// A revision stays short after many Updates, and a change whose name it no longer lists is
// not repaired.
func TestManyUpdates(t *testing.T) {
	dir := directory(t, `{"plex":{"n":"0"}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		mine, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer mine.Close()
		other, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer other.Close()
		set := func(s *crosswatch.Store, n string) {
			require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`{"n":"` + n + `"}`), nil
			}))
		}
		set(mine, "mine")
		for i := range 100 {
			set(other, fmt.Sprint(i))
		}
		set(other, "0")
		assert.Less(t, len(file(t, dir)), 350)
		time.Sleep(2 * time.Minute)
		assert.JSONEq(t, `{"n":"0"}`, load(t, mine))
	})
}

// G16: a change is repaired even if CrossWatch's copy is from before so many Updates that the
// revision in it has nothing in common with the present one.
func TestOldCopyFromBeforeManyUpdates(t *testing.T) {
	for name, before := range map[string]int{"after a few Updates": 3, "after many": 40} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, `{"plex":{"account_token":"","client_id":"c","username":"","n":"0"}}`, k1)
			synctest.Test(t, func(t *testing.T) {
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				other, err := crosswatch.Open(dir)
				require.NoError(t, err)
				count := func(times int) {
					for i := range times {
						edits(t, other, "n", fmt.Sprint(i))
						time.Sleep(250 * time.Millisecond)
					}
				}
				count(before)
				theirs := &running{dir: dir}
				old := theirs.read(t)
				count(40)
				edits(t, s, "account_token", "TEST_a")
				edits(t, s, "username", "alice")
				require.NoError(t, other.Close())
				theirs.write(t, old)
				assert.Contains(t, load(t, s), "TEST_a", "at once")
				time.Sleep(2 * time.Minute)
				plain, err := crosswatch.Open(dir)
				require.NoError(t, err)
				assert.Contains(t, load(t, plain), "TEST_a")
				assert.Contains(t, load(t, plain), "alice")
			})
		})
	}
}

// G16: an older login of a Store that is gone does not come back with an old copy, even if
// another profile was signed in later.
func TestOlderLoginBesideAnotherProfile(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":"","client_id":"c","n":"","instances":{"P":{"account_token":"","client_id":"c"}}}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		first, err := crosswatch.Open(dir)
		require.NoError(t, err)
		edits(t, first, "account_token", "TEST_older")
		theirs := &running{dir: dir}
		old := theirs.read(t)
		edits(t, first, "account_token", "")
		require.NoError(t, first.Close())
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		time.Sleep(time.Second)
		edits(t, s, "account_token", "TEST_newer")
		time.Sleep(time.Second)
		other, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer other.Close()
		replace(t, other, `"account_token": ""`, `"account_token": "TEST_other"`)
		theirs.write(t, old)
		edits(t, other, "n", "1") // which repairs the other profile
		for _, when := range []string{"at once", "later"} {
			assert.Contains(t, load(t, s), "TEST_newer", when)
			assert.Contains(t, load(t, s), "TEST_other", when)
			time.Sleep(2 * time.Minute)
		}
	})
}

// G8, G16: a PIN of a Store that is gone does not come back with an old copy. One that CrossWatch
// has put into the copy stays if it is the later one.
func TestPINsInAnOldCopy(t *testing.T) {
	document := func(code string) string {
		return fmt.Sprintf(`{"account_token":"","client_id":"c","_pending_pin":{"code":%q,"created":%d}}`, code, time.Now().Unix())
	}
	for name, later := range map[string]bool{"an earlier one": false, "a later one": true} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, `{"plex":{"account_token":"","client_id":"c"}}`, k1)
			synctest.Test(t, func(t *testing.T) {
				first, err := crosswatch.Open(dir)
				require.NoError(t, err)
				set(t, first, document("THEIRS"))
				theirs := &running{dir: dir}
				old := theirs.read(t)
				set(t, first, `{"account_token":"","client_id":"c"}`)
				require.NoError(t, first.Close())
				time.Sleep(5 * time.Second)
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				defer s.Close()
				set(t, s, document("OURS"))
				want := "OURS"
				if later {
					old["plex"].(map[string]any)["_pending_pin"].(map[string]any)["created"] = time.Now().Unix() + 1
					want = "THEIRS"
				}
				theirs.write(t, old)
				for range 2 {
					assert.Contains(t, load(t, s), want)
					time.Sleep(2 * time.Minute)
				}
			})
		})
	}
}

// A field that changes all the time does not use more and more memory.
func TestManyChanges(t *testing.T) {
	s := open(t, directory(t, "{}", ""))
	const updates, size = 200, 20_000
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	for i := range updates {
		require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
			return fmt.Appendf(nil, `{"n":"%0*d"}`, size, i), nil
		}))
	}
	assert.Less(t, inUse(), before+updates*size/2)
}

// A change is repaired once a second at most, and for a quarter of an hour at most. After
// Close, which checks a last time, nothing is repaired.
func TestBounded(t *testing.T) {
	dir := inMemory(t, `{"plex":{"account_token":"","client_id":"c"}}`)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		theirs := &running{dir: dir}
		old := theirs.read(t)
		repaired := func(during time.Duration) (times int) {
			for began := time.Now(); time.Since(began) < during; {
				theirs.write(t, old)
				time.Sleep(250 * time.Millisecond)
				if strings.Contains(file(t, dir), "enc:v1:") {
					times++
				}
			}
			return times
		}
		set(t, s, `{"account_token":"TEST_a","client_id":"c"}`)
		times := repaired(time.Minute)
		assert.LessOrEqual(t, times, 60)
		assert.Greater(t, times, 30)
		repaired(14 * time.Minute)
		time.Sleep(time.Minute)
		assert.Zero(t, repaired(time.Minute), "after a quarter of an hour")

		set(t, s, `{"account_token":"TEST_b","client_id":"c"}`)
		theirs.write(t, old)
		require.NoError(t, s.Close())
		assert.Contains(t, load(t, s), "TEST_b", "the last check")
		theirs.write(t, old)
		time.Sleep(5 * time.Minute)
		assert.NotContains(t, file(t, dir), "enc:v1:", "after Close")
	})
}
