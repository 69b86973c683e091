package mount_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/mount"
)

// LacksSlash finds the requests that need a redirect. In each case, path is what the router
// has left of the requested address. The handler serves its page and "panel.js".
func TestLacksSlash(t *testing.T) {
	for _, c := range []struct {
		name, asked, path, pattern string
		accept, method             string
		want                       bool
	}{
		{name: "stripped", asked: "/plex", path: "", pattern: "/plex", want: true},
		{name: "stripped, no pattern", asked: "/plex", path: "", want: true},
		{name: "stripped, with the slash", asked: "/plex/", path: "", pattern: "/plex/"},
		{name: "stripped, a name", asked: "/plex/panel.js", path: "/panel.js", pattern: "/plex/"},
		{name: "stripped, an unknown name", asked: "/plex/nothing", path: "/nothing", pattern: "/plex/"},
		{name: "whole", asked: "/plex", path: "/plex", pattern: "/plex", want: true},
		{name: "whole, in a group", asked: "/admin/plex", path: "/admin/plex", pattern: "/admin/plex", want: true},
		{name: "whole, with a method and a host", asked: "/plex", path: "/plex", pattern: "GET app.example/plex", want: true},
		{name: "whole, by a wildcard", asked: "/plex", path: "/plex", pattern: "/plex/*", want: true},
		{name: "whole, by a prefix", asked: "/plex", path: "/plex", pattern: "/plex*", want: true},
		{name: "whole, by HEAD", asked: "/plex", path: "/plex", pattern: "/plex", method: http.MethodHead, want: true},
		{name: "whole, below a stripped prefix", asked: "/base/plex", path: "/plex", pattern: "/plex", want: true},
		{name: "whole, a person, no pattern", asked: "/plex", path: "/plex", accept: "text/html,*/*;q=0.8", want: true},
		{name: "whole, a person, another pattern", asked: "/plex", path: "/plex", pattern: "/", accept: "text/html,*/*;q=0.8", want: true},
		{name: "whole, a program, no pattern", asked: "/plex", path: "/plex", accept: "*/*"},
		{name: "whole, with the slash", asked: "/plex/", path: "/plex/", pattern: "/plex", accept: "text/html"},
		{name: "whole, a name", asked: "/plex/panel.js", path: "/plex/panel.js", pattern: "/plex/*", accept: "text/html"},
		{name: "whole, an unknown name", asked: "/plex/nothing", path: "/plex/nothing", pattern: "/plex/*"},
		{name: "whole, a POST", asked: "/plex", path: "/plex", pattern: "/plex", method: http.MethodPost},
		{name: "the root", asked: "/", path: "/", pattern: "/", accept: "text/html"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = http.MethodGet
			}
			r := httptest.NewRequest(c.method, c.asked, nil)
			r.URL.Path, r.Pattern = c.path, c.pattern
			r.Header.Set("Accept", c.accept)
			assert.Equal(t, c.want, mount.LacksSlash(r, mount.Name(r) == "" || mount.Name(r) == "panel.js"))
		})
	}
}

// A mount point is the whole path at which the router says that it is.
func TestIsMountPoint(t *testing.T) {
	for _, c := range []struct {
		asked, path, pattern string
		want                 bool
	}{
		{"/profiles", "/profiles", "/profiles", true},
		{"/profiles", "/profiles", "GET app.example/profiles", true},
		{"/profiles", "/profiles", "/profiles/*", true},
		{"/a/profiles", "/a/profiles", "/a/profiles", true},
		{"/profiles/profiles", "/profiles/profiles", "/profiles/", false},
		{"/profiles/", "/profiles/", "/profiles/", false},
		{"/profiles", "/profiles", "/", false},
		{"/profiles", "/profiles", "", false},
		{"/", "/", "/", false},
		{"/", "", "/", false},
		{"/a/profiles", "/profiles", "/profiles", true},
		{"/profiles/profiles", "/profiles", "/profiles/", false},
		{"/a/profiles/profiles", "/profiles", "/profiles/*", false},
	} {
		r := httptest.NewRequest(http.MethodGet, c.asked, nil)
		r.URL.Path, r.Pattern = c.path, c.pattern
		assert.Equal(t, c.want, mount.IsMountPoint(r), "%+v", c)
	}
}

// The path is the one that the client asked for, if the request still tells.
func TestPath(t *testing.T) {
	for _, c := range []struct{ uri, path, want string }{
		{"/plex/?x", "/", "/plex/"},
		{"/a%2Fb", "/", "/a%2Fb"},
		{"http://app.example/plex", "", "/plex"},
		{"http://app.example", "", "/"},
		{"http://app.example", "/left", "/left"},
		{"", "", "/"},
		{"", "/a b", "/a%20b"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RequestURI, r.URL.Path = c.uri, c.path
		assert.Equal(t, c.want, mount.Path(r), "%q %q", c.uri, c.path)
	}
}

// The redirect leads to the address with the slash, whatever was stripped.
func TestAddSlash(t *testing.T) {
	for asked, want := range map[string]string{"/base/plex": "./plex/", "/plex?a=b&c": "./plex/?a=b&c", "/a:b": "./a:b/"} {
		w := httptest.NewRecorder()
		mount.AddSlash(w, httptest.NewRequest(http.MethodGet, asked, nil))
		assert.Equal(t, http.StatusPermanentRedirect, w.Code)
		assert.Equal(t, want, w.Header().Get("Location"))
	}
}
