package plextest_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

// sample returns a recorded answer of the real plex.tv.
func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	require.NoError(t, err)
	return string(b)
}

// sameShape checks that got has every member of want, with a value of the same
// kind. A null matches every kind.
func sameShape(t *testing.T, at string, want, got any) {
	t.Helper()
	if want == nil || got == nil {
		return
	}
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !assert.True(t, ok, "%s is not an object", at) {
			return
		}
		for name, w := range want {
			g, ok := got[name]
			if assert.True(t, ok, "%s.%s is missing", at, name) {
				sameShape(t, at+"."+name, w, g)
			}
		}
	case []any:
		got, ok := got.([]any)
		if assert.True(t, ok, "%s is not an array", at) && len(want) > 0 && len(got) > 0 {
			sameShape(t, at+"[0]", want[0], got[0])
		}
	default:
		assert.IsType(t, want, got, at)
	}
}

// attributes returns the names of the attributes of each element in an XML text.
func attributes(t *testing.T, text string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err, text)
		if e, ok := token.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if !slices.Contains(all[e.Name.Local], a.Name.Local) {
					all[e.Name.Local] = append(all[e.Name.Local], a.Name.Local)
				}
			}
		}
	}
}

func TestShapesAreThoseOfTheField(t *testing.T) {
	h := newHousehold(t)
	box := h.srv.AddMediaServer(h.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	uri := box.Connections[0].URI
	p := h.a.as("").createPin(t)
	asXML := h.a.as("")
	asXML.accept = "-"
	get := func(path string) string { _, body := h.a.do(t, "GET", path, ""); return body }
	_, created := h.a.as("").do(t, "POST", "/api/v2/pins", "")
	pending := get(fmt.Sprintf("/api/v2/pins/%d", p.ID))
	expired := get("/api/v2/pins/1")
	require.NoError(t, h.srv.Approve(p.Code, h.bob))
	approved := get(fmt.Sprintf("/api/v2/pins/%d", p.ID))
	kid := h.a.as(h.srv.IssueToken(h.kid, h.a.clientID))
	_, managed := kid.do(t, "GET", "/api/v2/user", "")
	_, homePIN := h.a.do(t, "POST", "/api/v2/home/users/"+h.carol.UUID+"/switch", "")
	_, unauthenticated := h.a.as("nonsense").do(t, "GET", "/api/v2/user", "")
	for name, got := range map[string]string{
		"pin-created.json":                created,
		"pin-pending.json":                pending,
		"pin-approved.json":               approved,
		"user.json":                       get("/api/v2/user"),
		"user-managed.json":               managed,
		"home-users.json":                 get("/api/v2/home/users"),
		"resources.json":                  get(allKinds),
		"jwt-keys.json":                   get("/api/v2/auth/keys"),
		"jwt-nonce.json":                  get("/api/v2/auth/nonce"),
		"pms-identity.json":               get(uri + "/identity"),
		"error-1020-expired.json":         expired,
		"error-1041-home-pin.json":        homePIN,
		"error-1001-unauthenticated.json": unauthenticated,
	} {
		var w, g any
		require.NoError(t, json.Unmarshal([]byte(sample(t, name)), &w))
		require.NoError(t, json.Unmarshal([]byte(got), &g), "%s: %s", name, got)
		if strings.HasPrefix(name, "error") {
			assert.Equal(t, w, g, name)
		}
		sameShape(t, name, w, g)
	}

	own := h.a.as(h.srv.ServerToken(h.alice, box))
	own.accept = "-"
	_, pinXML := asXML.do(t, "POST", "/api/v2/pins", "")
	_, identity := asXML.do(t, "GET", uri+"/identity", "")
	_, accounts := own.do(t, "GET", uri+"/accounts", "")
	for name, got := range map[string]string{"pin-created.xml": pinXML, "pms-identity.xml": identity, "pms-accounts.xml": accounts} {
		assert.Equal(t, attributes(t, sample(t, name)), attributes(t, got), name)
	}
}
