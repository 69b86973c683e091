package plexauth_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// The stored fields have CrossWatch's names and places.
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

// A new profile has every credential field, all empty. CrossWatch would fill in an
// absent field from the default profile.
func TestNewProfile(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	p := w.Instance("PLEX-P01")
	for _, read := range []func() error{
		func() error { return errOf(p.Status(t.Context())) }, func() error { return errOf(p.Settings(t.Context())) },
		func() error { return errOf(p.Finish(t.Context())) }, func() error { return errOf(p.Disconnect(t.Context())) },
		func() error { return errOf(p.SignOut(t.Context())) }, func() error { return p.Cancel(t.Context()) },
	} {
		require.NoError(t, read())
	}
	assert.NotContains(t, w.doc(t), "instances", "reading never creates a profile")
	s, err := p.Status(t.Context())
	require.NoError(t, err)
	assert.False(t, s.Connected, "the default profile's login is not shown")
	assert.Equal(t, "Plex (PLEX-P01)", s.Label)

	_, err = p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	var m struct {
		Instances map[string]json.RawMessage `json:"instances"`
	}
	require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &m))
	assert.Equal(t, []string{"server_url", "account_token", "pms_token", "machine_id", "username", "account_id", "home_pin", "_pending_pin"}, memberNames(t, string(m.Instances["PLEX-P01"])))
	s, err = p.Status(t.Context())
	require.NoError(t, err)
	assert.False(t, s.Connected)
	assert.NotNil(t, s.Pending)
}

// A CrossWatch config keeps its order, its numbers' spelling and its other fields.
func TestCrossWatchConfigStays(t *testing.T) {
	b, err := os.ReadFile("testdata/crosswatch-config.json")
	require.NoError(t, err)
	var file map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b, &file))
	w := newWorld(t)
	put(t, w.store, string(file["plex"]))
	before := memberNames(t, w.doc(t))
	w.signInNow(t)
	after := memberNames(t, w.doc(t))
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
	assert.Equal(t, before, memberNames(t, w.doc(t)))
}

// Odd documents cause no panic and lose nothing.
func TestOddDocuments(t *testing.T) {
	for name, doc := range map[string]string{
		"instances null":     `{"instances":null,"x":1.0}`,
		"instances list":     `{"instances":[1],"x":1.0}`,
		"profile null":       `{"instances":{"P":null},"x":1.0}`,
		"profile a number":   `{"instances":{"P":7,"Q":{"a":1}},"x":1.0}`,
		"pending null":       `{"_pending_pin":null,"x":1.0}`,
		"pending a list":     `{"_pending_pin":[],"x":1.0}`,
		"pending incomplete": `{"_pending_pin":{"id":"x"},"x":1.0}`,
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

// A PIN that CrossWatch made, with or without its date, is finished.
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
