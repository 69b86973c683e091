// Package mount knows under which path a handler is seen, whatever a router or
// StripPrefix has left of it.
package mount

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Path returns the path that was asked for, escaped.
func Path(r *http.Request) string {
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil && u.Path != "" {
		return u.EscapedPath()
	}
	if r.URL.Path == "" {
		return "/"
	}
	return r.URL.EscapedPath()
}

// Name returns the last element of the path: the one by which a handler knows
// what is asked for, whatever comes before it. It is empty for the page.
func Name(r *http.Request) string {
	return r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
}

// LacksSlash reports whether r asks for the handler's page by its mount point,
// without the slash that the page's relative links need. known says whether
// the handler serves something by [Name].
//
// A router that strips the prefix leaves an empty path. One that does not
// leaves a name that is either the mount point's or unknown: the pattern tells
// which. Routers that set no pattern are helped where a person opens the page,
// since a program is better served by an error than by a page.
func LacksSlash(r *http.Request, known bool) bool {
	switch {
	case strings.HasSuffix(Path(r), "/"):
		return false
	case r.URL.Path == "":
		return true
	case known || r.Method != http.MethodGet && r.Method != http.MethodHead:
		return false
	}
	return path.Base(strings.TrimRight(r.Pattern, "*")) == Name(r) || strings.Contains(r.Header.Get("Accept"), "text/html")
}

// AddSlash sends the browser to the same place with a slash. http.Redirect would
// make the address absolute, by a path of which StripPrefix has left nothing.
func AddSlash(w http.ResponseWriter, r *http.Request) {
	to := "./" + path.Base(Path(r)) + "/" // without the dot "a:b/" would have a scheme
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusPermanentRedirect)
}
