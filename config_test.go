package plexauth_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/plexauth/plexauth/plextest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

type ctx = context.Context

// stored decodes the namespace.
func (w *world) stored(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &m))
	return m
}

func keys(t *testing.T, doc string) []string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(doc))
	_, err := dec.Token()
	require.NoError(t, err)
	var names []string
	for dec.More() {
		k, err := dec.Token()
		require.NoError(t, err)
		names = append(names, k.(string))
		var v any
		require.NoError(t, dec.Decode(&v))
	}
	return names
}

// CrossWatch's field names, in its places.
func TestStoredFields(t *testing.T) {
	w := newWorld(t)
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	m := w.stored(t)
	pending := m["_pending_pin"].(map[string]any)
	assert.Equal(t, pin.Code, pending["code"])
	assert.EqualValues(t, pin.ID, pending["id"])
	assert.EqualValues(t, pin.CreatedAt.Unix(), pending["created"])
	raw, err := json.Marshal(pending)
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "account_token")
	assert.True(t, strings.HasPrefix(w.doc(t)[strings.Index(w.doc(t), `"_pending_pin":`):], `"_pending_pin":{"id":`), "CrossWatch's fields come first")

	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	_, err = w.Finish(t.Context())
	require.NoError(t, err)
	m = w.stored(t)
	assert.Equal(t, w.plex.Token(w.alice, m["client_id"].(string)), m["account_token"])
	assert.Equal(t, "alice", m["username"])
	assert.EqualValues(t, w.alice.ID, m["_cloud"].(map[string]any)["account_id"])
	assert.NotContains(t, m, "_pending_pin")
}

// A new profile has every credential field, empty: CrossWatch would let an
// absent one inherit the default profile's value.
func TestNewProfile(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	p := w.Instance("PLEX-P01")
	for _, read := range []func() error{
		func() error { return second(p.Status(t.Context())) }, func() error { return second(p.Settings(t.Context())) },
		func() error { return second(p.Finish(t.Context())) }, func() error { return second(p.Disconnect(t.Context())) },
		func() error { return second(p.SignOut(t.Context())) }, func() error { return p.Cancel(t.Context()) },
	} {
		require.NoError(t, read())
	}
	assert.NotContains(t, w.doc(t), "instances", "reading never creates a profile")
	s, err := p.Status(t.Context())
	require.NoError(t, err)
	assert.False(t, s.Connected, "nor does it show the default's login")
	assert.Equal(t, "Plex (PLEX-P01)", s.Label)

	_, err = p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	var m struct {
		Instances map[string]json.RawMessage `json:"instances"`
	}
	require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &m))
	assert.Equal(t, []string{"server_url", "account_token", "pms_token", "machine_id", "username", "account_id", "home_pin", "_pending_pin"}, keys(t, string(m.Instances["PLEX-P01"])))
	s, err = p.Status(t.Context())
	require.NoError(t, err)
	assert.False(t, s.Connected)
	assert.NotNil(t, s.Pending)
}

// A CrossWatch config keeps what is not ours: order, numbers, unknown fields.
func TestCrossWatchConfigStays(t *testing.T) {
	b, err := os.ReadFile("testdata/crosswatch-config.json")
	require.NoError(t, err)
	var file map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b, &file))
	w := newWorld(t)
	put(t, w.store, string(file["plex"]))
	before := keys(t, w.doc(t))
	w.signInNow(t)
	after := keys(t, w.doc(t))
	assert.Equal(t, before, after[:len(before)], "their order")
	assert.Equal(t, []string{"_cloud"}, after[len(before):])
	assert.Contains(t, w.doc(t), `"timeout":10.0`, "a number's spelling")
	assert.False(t, mustSettings(t, w.PlexAuth).VerifySSL, "what is stored is honoured")

	_, err = w.Disconnect(t.Context())
	require.NoError(t, err)
	m := w.stored(t)
	for _, key := range []string{"account_token", "pms_token", "username", "account_id", "home_pin"} {
		assert.Equal(t, "", m[key], key)
	}
	assert.NotContains(t, m, "_cloud")
	assert.NotEmpty(t, m["client_id"], "the device stays the same")
	assert.Equal(t, before, keys(t, w.doc(t)))
}

// G22: unlinking asks nobody, keeps the server choice and what is not ours.
func TestDisconnectOffline(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	put(t, w.store, strings.Replace(w.doc(t), "{", `{"server_url":"http://10.0.0.2:32400","machine_id":"m1","pms_token":"TEST_pms","pms_token_server":"http://10.0.0.2:32400","home_pin":"QXYZ","label":"mine","scrobble":{"libraries":["1"]},"_theirs":1,`, 1))
	n := len(w.plex.Requests())
	s, err := w.Disconnect(t.Context())
	require.NoError(t, err)
	assert.False(t, s.Connected)
	assert.Len(t, w.plex.Requests(), n)
	m := w.stored(t)
	assert.Equal(t, "http://10.0.0.2:32400", m["server_url"])
	assert.Equal(t, "m1", m["machine_id"])
	assert.Equal(t, "mine", m["label"])
	assert.NotContains(t, m, "pms_token_server")
	assert.NotContains(t, w.doc(t), "TEST_")
	assert.NotContains(t, w.doc(t), "QXYZ")
	assert.Contains(t, w.doc(t), `"_theirs":1`)
}

// SignOut forgets here first, and says where plex.tv could not be told.
func TestSignOut(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	id := mustSettings(t, w.PlexAuth).ClientID
	w.plex.Inject(pathFault("/api/v2/users/signout", 502))
	s, err := w.SignOut(t.Context())
	require.ErrorIs(t, err, plexauth.ErrUnavailable)
	assert.ErrorContains(t, err, "signed out here")
	assert.False(t, s.Connected)
	assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
	assert.NotEmpty(t, w.plex.Token(w.alice, id))

	w.signInNow(t)
	_, err = w.SignOut(t.Context())
	require.NoError(t, err)
	assert.Empty(t, w.plex.Token(w.alice, id), "revoked")

	w.signInNow(t)
	w.plex.Revoke(w.alice)
	_, err = w.SignOut(t.Context())
	require.NoError(t, err, "a token that is dead already is no error")
	_, err = w.SignOut(t.Context())
	require.NoError(t, err)
}

// Whatever lies in the namespace: no panic, nothing lost, or a clear error.
func TestOddDocuments(t *testing.T) {
	for name, doc := range map[string]string{
		"instances null":     `{"instances":null,"x":1.0}`,
		"instances list":     `{"instances":[1],"x":1.0}`,
		"profile null":       `{"instances":{"P":null},"x":1.0}`,
		"profile a number":   `{"instances":{"P":7,"Q":{"a":1}},"x":1.0}`,
		"pending null":       `{"_pending_pin":null,"x":1.0}`,
		"pending a list":     `{"_pending_pin":[],"x":1.0}`,
		"pending half":       `{"_pending_pin":{"id":"x"},"x":1.0}`,
		"cloud a word":       `{"_cloud":"x","x":1.0}`,
		"fields of any type": `{"account_token":["a"],"client_id":{"b":1},"username":7,"verify_ssl":"no","account_id":null,"_rejected":1,"x":1.0}`,
		"duplicate keys":     `{"account_token":"","x":1.0,"account_token":""}`,
		"empty":              `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, instance := range []string{"default", "P"} {
				w := newWorld(t, func(o *plexauth.Options) { o.Instance = instance })
				put(t, w.store, doc)
				_, err := w.Status(t.Context())
				require.NoError(t, err)
				_, err = w.Instances(t.Context())
				require.NoError(t, err)
				w.signInNow(t)
				_, err = w.Verify(t.Context())
				require.NoError(t, err)
				if strings.Contains(doc, `"x"`) {
					assert.Contains(t, w.doc(t), `"x":1.0`)
				}
				if strings.Contains(doc, `"Q"`) {
					assert.Contains(t, w.doc(t), `"Q":{"a":1}`)
				}
				_, err = w.SignOut(t.Context())
				require.NoError(t, err)
			}
		})
	}
}

// A PIN that a CrossWatch made, with or without its date, is finished.
func TestCrossWatchPending(t *testing.T) {
	for _, pending := range []string{`{"id":ID,"code":"CODE","created":NOW}`, `{"id":ID,"code":"CODE"}`, `{"id":ID}`} {
		w := newWorld(t)
		other := newWorld(t)
		other.plex.Close()
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		id := mustSettings(t, w.PlexAuth).ClientID
		r := strings.NewReplacer("ID", jsonText(pin.ID), "CODE", pin.Code, "NOW", jsonText(pin.CreatedAt.Unix()))
		put(t, w.store, `{"client_id":"`+id+`","_pending_pin":`+r.Replace(pending)+`}`)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err := w.open(t).Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	}
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestInstanceIDs(t *testing.T) {
	w := newWorld(t)
	for id, want := range map[string]string{
		"": "default", " ": "default", "DEFAULT": "default", " Default ": "default", "Default:03": "default", "PLEX-P01": "PLEX-P01", " plex-p01 ": "plex-p01",
		"plex:0": "plex", "a:1:2": "a:1", ":5": ":5", "x :1": "x", "a:b": "a:b", "a:": "a:", "1": "1", "x:٣": "x",
	} {
		s, err := w.Instance(id).Status(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, s.Instance, "%q", id)
	}
}

func TestStatusJSON(t *testing.T) {
	w := newWorld(t)
	s, err := w.Status(t.Context())
	require.NoError(t, err)
	assert.JSONEq(t, `{"connected":false,"label":"Plex","user":null,"expires_at":null,"scopes":null,"extra":{"needs_login":false},"instance":"default"}`, jsonText(s))
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	s, err = w.Status(t.Context())
	require.NoError(t, err)
	var m struct {
		Extra struct {
			Pending struct {
				Code, URL string
				ExpiresIn int `json:"expires_in"`
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(jsonText(s)), &m))
	assert.Equal(t, pin.Code, m.Extra.Pending.Code)
	assert.Equal(t, pin.URL(), m.Extra.Pending.URL)
	assert.InDelta(t, 900, m.Extra.Pending.ExpiresIn, 2, "G7")
}

func TestMemoryStoreZeroContext(t *testing.T) {
	s := plexauth.NewMemoryStore()
	c, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Load(c, "plex")
	require.ErrorIs(t, err, context.Canceled)
}

// pathFault answers the next request of a path with a bare status.
func pathFault(path string, status int) plextest.Fault {
	return plextest.Fault{Path: path, Status: status}
}
