package signin

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// callbackURL is where Plex is to send the browser.
func (h *Handler) callbackURL(r *http.Request) string {
	if h.external != nil {
		return h.external.JoinPath("callback").String()
	}
	at := seenPath(r)
	return (&url.URL{Scheme: h.scheme(r), Host: r.Host, Path: "/"}).JoinPath(at[:strings.LastIndex(at, "/")+1], "callback").String()
}

// scheme is the one by which the browser came.
func (h *Handler) scheme(r *http.Request) string {
	forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	switch {
	case h.external != nil:
		return h.external.Scheme
	case r.TLS != nil, strings.EqualFold(strings.TrimSpace(forwarded), "https"), r.Header.Get("Origin") == "https://"+r.Host:
		return "https"
	}
	return "http"
}

// addSlash sends the browser to the same place with a slash. http.Redirect would
// make the address absolute, by a path of which StripPrefix has left nothing.
func addSlash(w http.ResponseWriter, r *http.Request) {
	to := "./" + path.Base(seenPath(r)) + "/" // without the dot "a:b/" would have a scheme
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusPermanentRedirect)
}

// seenPath is the path that was asked for, escaped, before any StripPrefix.
func seenPath(r *http.Request) string {
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil && u.Path != "" {
		return u.EscapedPath()
	}
	if r.URL.Path == "" {
		return "/"
	}
	return r.URL.EscapedPath()
}

// answer notes whether OnSignIn has written one.
type answer struct {
	http.ResponseWriter
	written bool
}

func (a *answer) WriteHeader(status int) {
	a.written = true
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.written = true
	return a.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
