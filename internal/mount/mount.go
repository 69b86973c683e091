// Package mount finds the path at which a browser sees a handler, even if a
// router or StripPrefix has removed a part of it.
package mount

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Path returns the escaped path that the client requested.
func Path(r *http.Request) string {
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil && u.Path != "" {
		return u.EscapedPath()
	}
	if r.URL.Path == "" {
		return "/"
	}
	return r.URL.EscapedPath()
}

// Name returns the last element of r's path, by which a handler chooses what to
// serve. It is empty for the handler's page.
func Name(r *http.Request) string {
	return r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
}

// LacksSlash reports whether r requests the handler's page without the final
// slash, which the page's relative links need. The parameter known says whether
// the handler serves something under [Name].
//
// A router that strips the prefix leaves an empty path. Without stripping, the
// last element is the mount point or an unknown name; r.Pattern tells which. If
// the router sets no pattern, LacksSlash returns true only for browsers: a
// program is better served by an error than by a page.
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

// IsMountPoint reports whether r requests exactly the path at which the router says that
// the handler is mounted, without the final slash. Below a stripped /status, /status is not
// that path: the client has asked for /status/status.
func IsMountPoint(r *http.Request) bool {
	at := "/" + strings.TrimRight(r.Pattern[strings.Index(r.Pattern, "/")+1:], "*/") // without method and host
	return at != "/" && at == r.URL.Path && !strings.HasSuffix(Path(r), at+at)
}

// AddSlash redirects to the same address with a slash at its end. It does not
// use http.Redirect, which would make the address absolute by a path that
// StripPrefix has emptied.
func AddSlash(w http.ResponseWriter, r *http.Request) {
	to := "./" + path.Base(Path(r)) + "/" // without the dot, "a:b/" would parse as a URL with a scheme
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusPermanentRedirect)
}
