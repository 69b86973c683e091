package plextv

import (
	"net/http"
	"os"
	"runtime"
	"slices"

	"github.com/plexauth/plexauth/internal/plain"
)

// Identity is the headers by which plex.tv knows and lists a device (X-Plex-Product and
// the like). Many requests share their values, which must not be changed.
type Identity []identityHeader

type identityHeader struct {
	name  string
	value [1]string
}

// PutOn sets the headers in h.
func (id Identity) PutOn(h http.Header) {
	for i := range id {
		h[id[i].name] = id[i].value[:]
	}
}

// Under returns id with the client identifier under which a token was made.
func (id Identity) Under(clientID string) Identity {
	return append(slices.Clip(id), identityHeader{"X-Plex-Client-Identifier", [1]string{clientID}})
}

// DeviceInfo is what the program says of itself and its device. All may be empty.
type DeviceInfo struct{ Product, Version, Platform, PlatformVersion, Device, Name, Model string }

// newIdentity returns the headers for d. All values can be sent, whatever a product or
// a host is called.
func newIdentity(d DeviceInfo) Identity {
	host, _ := os.Hostname()
	id := make(Identity, 0, 7)
	for _, f := range []struct {
		name   string
		values []string // the first that is not empty counts
	}{
		{"X-Plex-Product", []string{d.Product}},
		{"X-Plex-Version", []string{d.Version, "0"}},
		{"X-Plex-Platform", []string{d.Platform, runtime.GOOS}},
		{"X-Plex-Platform-Version", []string{d.PlatformVersion}},
		{"X-Plex-Device", []string{d.Device, runtime.GOOS}},
		{"X-Plex-Device-Name", []string{d.Name, host, d.Product}},
		{"X-Plex-Model", []string{d.Model}},
	} {
		for _, v := range f.values {
			if v = plain.HeaderValue(v); v != "" {
				id = append(id, identityHeader{f.name, [1]string{v}})
				break
			}
		}
	}
	return id
}

// JSONType is the value of an Accept header that asks for JSON. It is shared between
// requests and must not be changed. plex.tv answers XML if "*/*" follows.
var JSONType = []string{"application/json"}[:1:1]

var userAgent = []string{"plexauth"}[:1:1]

// ownHeaders returns how many headers a call has besides the identity. A map for eight or fewer
// takes a fraction of the memory of a larger one.
func (q *Call) ownHeaders() int {
	n := 2
	for _, isThere := range [...]bool{q.ClientID != "", !q.Token.IsZero(), q.body != nil} {
		if isThere {
			n++
		}
	}
	return n
}

// header returns the headers of one attempt. Requests share the values, but not the map.
func (c *Client) header(q *Call) http.Header {
	h := make(http.Header, len(c.Identity)+q.ownHeaders())
	// A media server would register a device for an identity that comes without a token.
	if q.Route == nil || !q.Token.IsZero() {
		c.Identity.PutOn(h)
	}
	h["Accept"] = JSONType
	h["User-Agent"] = userAgent
	if q.ClientID != "" {
		h["X-Plex-Client-Identifier"] = []string{q.ClientID}
	}
	if !q.Token.IsZero() {
		h["X-Plex-Token"] = []string{q.Token.Secret()}
	}
	if q.body != nil {
		h["Content-Type"] = JSONType
	}
	return h
}
