package plexauth

import (
	"net/http"
	"os"
	"runtime"
	"strings"
	"unicode/utf8"
)

// identity is the headers by which plex.tv knows and lists a device. They are
// on many requests, so their values are shared and must not be changed.
type identity []identityHeader

type identityHeader struct {
	name  string
	value [1]string
}

func (id identity) putOn(h http.Header) {
	for i := range id {
		h[id[i].name] = id[i].value[:]
	}
}

// identity builds the headers. All their values are fit for the wire, whatever
// a product or a host is called.
func (o Options) identity() identity {
	host, _ := os.Hostname()
	id := make(identity, 0, 7)
	for _, f := range []struct{ name, value, otherwise string }{
		{"X-Plex-Product", o.Product, ""},
		{"X-Plex-Version", o.Version, "0"},
		{"X-Plex-Platform", o.Platform, runtime.GOOS},
		{"X-Plex-Platform-Version", o.PlatformVersion, ""},
		{"X-Plex-Device", o.Device, runtime.GOOS},
		{"X-Plex-Device-Name", o.DeviceName, host},
		{"X-Plex-Model", o.Model, ""},
	} {
		v := headerSafe(f.value)
		if v == "" {
			v = headerSafe(f.otherwise)
		}
		if v == "" && f.name == "X-Plex-Device-Name" {
			v = headerSafe(o.Product)
		}
		if v != "" {
			id = append(id, identityHeader{f.name, [1]string{v}})
		}
	}
	return id
}

// headerSafe makes a name fit for a header: one line of valid UTF-8 (which
// Plex documents for these headers) that is not too long.
func headerSafe(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError {
			return -1
		}
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxHeaderBytes {
		s = strings.ToValidUTF8(s[:maxHeaderBytes], "")
	}
	return strings.TrimSpace(s)
}
