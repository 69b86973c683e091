package signin

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/mount"
)

// callbackURL is where Plex is to send the browser.
func (h *Handler) callbackURL(r *http.Request) string {
	if h.external != nil {
		return h.external.JoinPath("callback").String()
	}
	at := mount.Path(r)
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
