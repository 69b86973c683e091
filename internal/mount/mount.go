// Package mount knows under which path a handler is seen, whatever a StripPrefix
// has left of it.
package mount

import (
	"net/http"
	"net/url"
	"path"
)

// Path is the path that was asked for, escaped.
func Path(r *http.Request) string {
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil && u.Path != "" {
		return u.EscapedPath()
	}
	if r.URL.Path == "" {
		return "/"
	}
	return r.URL.EscapedPath()
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
