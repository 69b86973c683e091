package plextv

import (
	"net/http"
	"os"
	"runtime"
	"slices"

	"github.com/plexauth/plexauth/internal/plain"
)

// Identity is the headers by which plex.tv knows and lists a device. They are
// on many requests, so their values are shared and must not be changed.
type Identity []identityHeader

type identityHeader struct {
	name  string
	value [1]string
}

func (id Identity) PutOn(h http.Header) {
	for i := range id {
		h[id[i].name] = id[i].value[:]
	}
}

// DeviceInfo is what the program says of itself and its device.
type DeviceInfo struct{ Product, Version, Platform, PlatformVersion, Device, Name, Model string }

// newIdentity builds the headers. All their values are fit for the wire, whatever
// a product or a host is called.
func newIdentity(d DeviceInfo) Identity {
	host, _ := os.Hostname()
	id := make(Identity, 0, 7)
	for _, f := range []struct{ name, value, otherwise string }{
		{"X-Plex-Product", d.Product, ""},
		{"X-Plex-Version", d.Version, "0"},
		{"X-Plex-Platform", d.Platform, runtime.GOOS},
		{"X-Plex-Platform-Version", d.PlatformVersion, ""},
		{"X-Plex-Device", d.Device, runtime.GOOS},
		{"X-Plex-Device-Name", d.Name, host},
		{"X-Plex-Model", d.Model, ""},
	} {
		v := plain.Header(f.value)
		if v == "" {
			v = plain.Header(f.otherwise)
		}
		if v == "" && f.name == "X-Plex-Device-Name" {
			v = plain.Header(d.Product)
		}
		if v != "" {
			id = append(id, identityHeader{f.name, [1]string{v}})
		}
	}
	return id
}

// Under returns id with the client identifier that a token was made under.
func (id Identity) Under(clientID string) Identity {
	return append(slices.Clip(id), identityHeader{"X-Plex-Client-Identifier", [1]string{clientID}})
}
