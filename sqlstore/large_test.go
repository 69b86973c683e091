package sqlstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/sqlstore"
	"github.com/plexauth/plexauth/storetest"
)

// tables are the kinds of tables.
var tables = map[string]struct {
	dialect sqlstore.Dialect
	isOlder bool
}{
	"PostgreSQL":                       {sqlstore.PostgreSQL, false},
	"PostgreSQL, without column patch": {sqlstore.PostgreSQL, true},
	"SQLite":                           {sqlstore.SQLite, false},
}

// forEachTable runs a test with a new database, and a function that opens another replica's store.
func forEachTable(t *testing.T, run func(t *testing.T, f *fakeDB, open func() *sqlstore.Store)) {
	for name, table := range tables {
		t.Run(name, func(t *testing.T) {
			f := newFakeDB()
			f.isOlder = table.isOlder
			run(t, f, func() *sqlstore.Store {
				s, err := sqlstore.Open(t.Context(), f.open(t), table.dialect)
				require.NoError(t, err)
				return s
			})
		})
	}
}

// profiles returns the members of a document with n profiles, each signed in to an account of its
// own, as their logins leave them.
func profiles(n int) string {
	var all []string
	for i := range n {
		token := fmt.Sprintf("TEST_profile-%04d", i)
		all = append(all, fmt.Sprintf(`"PLEX-P%04d":{"server_url":"","account_token":%q,"pms_token":"","machine_id":"","username":"user %[1]d","account_id":"","home_pin":"","_cloud":{"account_id":%[3]d,"bound_to":%[4]q,"user":{"id":%[3]d,"name":"user %[1]d"}},"note":"é😀"}`,
			i, token, 1000+i, secret.Fingerprint(secret.New(token))))
	}
	return strings.Join(all, ",")
}

// stored returns what another replica reads.
func stored(t *testing.T, s *sqlstore.Store) string {
	t.Helper()
	v, err := s.Load(t.Context(), "plex")
	require.NoError(t, err)
	return strings.TrimRight(string(v), " ")
}

// G16: a store keeps the rules in a table of an older version.
func TestStoreInAnOlderTable(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
		f := newFakeDB()
		f.isOlder = true
		return open(t, f), open(t, f)
	})
}

// G16, G27: a login as one of many profiles of a document changes no other profile. The document
// is read once by each replica. On PostgreSQL it is not written as a whole.
func TestLoginAmongProfiles(t *testing.T) {
	forEachTable(t, func(t *testing.T, f *fakeDB, open func() *sqlstore.Store) {
		others := profiles(500)
		before := `{"client_id":"TEST-client","instances":{` + others + `}}`
		require.NoError(t, open().Update(t.Context(), "plex", becomes(before)))
		plex := plextest.NewServer()
		defer plex.Close()
		replica := func() *plexauth.PlexAuth {
			auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: open(), HTTPClient: plex.Client(), Instance: "PLEX-NEW"})
			require.NoError(t, err)
			return auth
		}
		here, there := replica(), replica()
		f.traffic = 0
		pin, err := here.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		status, err := here.Finish(t.Context())
		require.NoError(t, err)
		require.NotNil(t, status.Pending)
		require.NoError(t, plex.Approve(pin.Code, plex.AddUser(plextest.User{Username: "alice"})))
		status, err = there.Finish(t.Context())
		require.NoError(t, err)
		require.Equal(t, "alice", status.User)
		t.Logf("the document crossed %.2f times", float64(f.traffic)/float64(len(before)))
		switch {
		case f.isOlder:
		case strings.Contains(strings.Join(f.queries, "\n"), "xmin"):
			assert.Less(t, f.traffic, 3*len(before), "2 reads")
		default:
			assert.Less(t, f.traffic, 6*len(before), "2 reads and 3 writes")
		}

		after := stored(t, open())
		assert.True(t, strings.Contains(after, `"instances":{`+others+`,"PLEX-NEW":{`), "the other profiles are as they were")
		status, err = replica().Status(t.Context())
		require.NoError(t, err)
		assert.True(t, status.Connected)
		assert.Equal(t, after, stored(t, open()))
	})
}

// G16: whatever changes in a large document, each replica reads what was written last.
func TestEditsOfALargeDocument(t *testing.T) {
	forEachTable(t, func(t *testing.T, f *fakeDB, open func() *sqlstore.Store) {
		random := rand.New(rand.NewPCG(1, 2))
		replicas := []*sqlstore.Store{open(), open(), open()}
		want := `{"` + strings.Repeat("aéĩ😀ß", 4000) + `":1}`
		for i := range 200 {
			s := replicas[random.IntN(len(replicas))]
			require.NoError(t, s.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
				if i > 0 {
					require.Equal(t, want, strings.TrimRight(string(current), " "))
				}
				want = edited(random, want)
				clear(current) // as it may
				return json.RawMessage(want), nil
			}))
			require.Equal(t, want, stored(t, replicas[random.IntN(len(replicas))]), "edit %d", i)
		}
		assert.Equal(t, want, stored(t, open()))
	})
}

// edited returns a document with another text somewhere in its only key.
func edited(random *rand.Rand, document string) string {
	runes := []rune(document[2 : len(document)-4])
	from := random.IntN(len(runes))
	to := min(from+random.IntN(5), len(runes))
	if random.IntN(20) == 0 { // a large one
		from, to = random.IntN(10), len(runes)-random.IntN(10)
	}
	text := strings.Repeat(string([]rune("aéĩ😀ßß")[random.IntN(6)]), random.IntN(4))
	if len(runes) < 8000 {
		text = strings.Repeat(text+"ü", 4000)
	}
	return `{"` + string(slices.Concat(runes[:from], []rune(text), runes[to:])) + `":1}`
}

// G16, G18: an edit by hand of a large document, which leaves the version as it was, is neither
// missed nor overwritten.
func TestLargeDocumentEditedByHand(t *testing.T) {
	forEachTable(t, func(t *testing.T, f *fakeDB, open func() *sqlstore.Store) {
		s := open()
		before := `{"n":1,"instances":{` + profiles(200) + `}}`
		require.NoError(t, s.Update(t.Context(), "plex", becomes(before)))
		edit := func() {
			r := f.rows["plex"]
			r.document = strings.Replace(r.document.(string), `"n":1`, `"n":5`, 1)
			f.rows["plex"] = r
		}
		edit()
		assert.Contains(t, stored(t, s), `{"n":5,`)
		require.NoError(t, s.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(strings.Replace(string(current), `"username":"user 7"`, `"username":"user seven"`, 1)), nil
		}))
		want := strings.Replace(strings.Replace(before, `"n":1`, `"n":5`, 1), `"username":"user 7"`, `"username":"user seven"`, 1)
		assert.Equal(t, want, stored(t, s))
		assert.Equal(t, want, stored(t, open()))
	})
}

// G18: where a change waits in the column patch, an edit by hand of the column document is an
// error that says what to do, and nothing is written.
func TestPatchedDocumentEditedByHand(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	before := `{"n":1,"instances":{` + profiles(200) + `}}`
	require.NoError(t, s.Update(t.Context(), "plex", becomes(before)))
	require.NoError(t, s.Update(t.Context(), "plex", becomes(strings.Replace(before, `"n":1`, `"n":2`, 1))))
	r := f.row("plex")
	require.NotNil(t, r.patch)
	for name, damaged := range map[string]fakeRow{
		"document": {strings.Replace(before, "user 9", "user nine", 1), r.version, r.writes, r.patch},
		"shorter":  {`{"n":1}`, r.version, r.writes, r.patch},
		"patch":    {r.document, r.version, r.writes, "2"},
		"number":   {r.document, r.version, r.writes, "2 x 1 1 1"},
		"far":      {r.document, r.version, r.writes, strings.Replace(r.patch.(string), " 5 1 ", " 99999999 1 ", 1)},
	} {
		require.NotEqual(t, r, damaged, name)
		f.rows["plex"] = damaged
		for what, err := range map[string]error{
			"Load":   func() error { _, err := s.Load(t.Context(), "plex"); return err }(),
			"Update": s.Update(t.Context(), "plex", becomes(`{}`)),
		} {
			require.ErrorIs(t, err, plexauth.ErrCorruptConfig, "%s: %s", name, what)
			assert.ErrorContains(t, err, "set patch to NULL")
			assert.NotContains(t, err.Error(), "TEST_")
		}
		assert.Equal(t, damaged, f.row("plex"), name)
	}
	damaged := fakeRow{strings.Replace(before, "user 9", "user nine", 1), r.version, r.writes, nil} // as the error says
	f.rows["plex"] = damaged
	assert.Equal(t, damaged.document, stored(t, s))
}

// G16: an edit that changes nothing writes nothing, also where spaces would be added.
func TestLargeDocumentUnchanged(t *testing.T) {
	forEachTable(t, func(t *testing.T, f *fakeDB, open func() *sqlstore.Store) {
		r := fakeRow{document: `{"instances":{` + profiles(200) + `}}`, version: 3}
		f.rows["plex"] = r
		for _, s := range []*sqlstore.Store{open(), open()} {
			for range 2 {
				require.NoError(t, s.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) { return current, nil }))
				require.Equal(t, r, f.row("plex"))
			}
		}
	})
}

// G26: ten seconds after its last use a store has forgotten a large document, and keeps few of
// them.
func TestLargeDocumentsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeDB()
		s := open(t, f)
		large := `{"instances":{` + profiles(200) + `}}`
		read := func(namespace string) (full bool) {
			before := f.traffic
			v, err := s.Load(t.Context(), namespace)
			require.NoError(t, err)
			require.Equal(t, large, string(v))
			return f.traffic-before >= len(large)
		}
		for i := range 6 {
			require.NoError(t, s.Update(t.Context(), fmt.Sprint("plex/", i), becomes(large)))
		}
		assert.True(t, read("plex/0"), "one of six")
		for range 5 {
			time.Sleep(9 * time.Second)
			assert.False(t, read("plex/0"))
		}
		assert.True(t, read("plex/5"), "not used for long")
		time.Sleep(11 * time.Second)
		assert.True(t, read("plex/0"))

		require.NoError(t, s.Update(t.Context(), "plex/0", becomes("")))
		v, err := s.Load(t.Context(), "plex/0")
		require.NoError(t, err)
		assert.Nil(t, v)
	})
}

// G13: printing a Store shows nothing of a document that it keeps.
func TestLargeDocumentDoesNotLeak(t *testing.T) {
	c := canary.New()
	c.Add("account token", "TEST_profile-0007")
	s := open(t, newFakeDB())
	require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"instances":{`+profiles(200)+`}}`)))
	assert.Empty(t, c.Search().In(canary.Forms(s), false))
}

// G16: a store that embeds this one, and changes what it reads and writes, is not passed by.
func TestEmbeddedStore(t *testing.T) {
	f := newFakeDB()
	s := &shouting{open(t, f)}
	plex := plextest.NewServer()
	defer plex.Close()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: plex.Client()})
	require.NoError(t, err)
	_, err = auth.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	assert.Contains(t, f.row("plex").document, `"shouted":true`)
}

// shouting adds a member to what it writes.
type shouting struct{ *sqlstore.Store }

func (s *shouting) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	return s.Store.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		next, err := edit(current)
		if err == nil && next != nil && string(next) != string(current) {
			next = json.RawMessage(`{"shouted":true,` + string(next[1:]))
		}
		return next, err
	})
}
