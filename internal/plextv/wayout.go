package plextv

import (
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// silence is how long an attempt without an answer has lasted when the connection
// that it went over may be dead.
const silence = 2 * time.Second

// wayOut is what requests to plex.tv are sent with. net/http keeps an HTTP/2
// connection on which a request has timed out, and puts the next one on it, until
// the kernel gives it up after a quarter of an hour. The caller's connections are
// not ours to close, so the next attempt goes by a clone of the caller's transport.
//
// Another RoundTripper cannot be cloned. Until one answers, each attempt then asks
// for a connection of its own, which keeps the ones after it off the dead one.
type wayOut struct {
	mu    sync.Mutex
	base  *http.Transport // the caller's
	clone *http.Transport // takes its place; nil: base itself is good

	alone atomic.Bool // attempts ask for a connection of their own
}

// instead returns what to send with in the place of base.
func (w *wayOut) instead(base http.RoundTripper) http.RoundTripper {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.clone == nil:
		return base
	case base == http.RoundTripper(w.base):
		return w.clone
	}
	w.clone.CloseIdleConnections() // the caller has another transport now
	w.base, w.clone = nil, nil
	return base
}

// avoid sees to it that the next attempt uses no connection of used, which
// instead has returned.
func (w *wayOut) avoid(used http.RoundTripper) {
	t, ok := used.(*http.Transport)
	if !ok {
		w.alone.Store(used != nil)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	base := t
	switch {
	case w.clone == nil && t.TLSNextProto["h2"] == nil: // HTTP/1.1 ends the connection itself
		return
	case t == w.clone:
		base = w.base
		w.clone.CloseIdleConnections()
	case w.clone != nil: // another attempt has seen to it
		return
	}
	w.base, w.clone = base, base.Clone()
	if w.clone.TLSNextProto != nil { // of golang.org/x/net/http2, and bound to the connections of base
		w.clone.TLSNextProto, w.clone.ForceAttemptHTTP2 = nil, true
	}
	if w.clone.IdleConnTimeout == 0 {
		w.clone.IdleConnTimeout = 90 * time.Second
	}
}

// toPlexTV sends the attempts of a call, each by the way that is good then.
type toPlexTV struct{ q *Call }

func (t toPlexTV) RoundTrip(r *http.Request) (*http.Response, error) {
	way := &t.q.client.way
	t.q.via = way.instead(t.q.client.Transport())
	if way.alone.Load() {
		own := *r
		own.Close = true
		r = &own
	}
	resp, err := roundTripper{t.q.via}.RoundTrip(r)
	if err != nil && proxied(t.q.via, r) {
		t.q.dialled.at.Store(nil) // it is the proxy's
	}
	return resp, err
}

// roundTripper hides everything of a transport but RoundTrip, because
// retryablehttp closes idle connections, and these are the caller's. It recognizes
// the refusals of a proxy.
type roundTripper struct{ http.RoundTripper }

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		err = proxyRefusal(t.RoundTripper, r, err)
	}
	return resp, err
}

// proxyRefusal gives the error of a proxy that refuses a connection the form that all
// other errors of a proxy have. net/http makes an error of the reason phrase alone
// ("Forbidden"), and one of its own for SOCKS.
func proxyRefusal(rt http.RoundTripper, r *http.Request, err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && strings.HasPrefix(op.Op, "socks ") && !op.Timeout():
		err = op.Err
	case r.URL.Scheme != "https" || !isPhrase(err) || !proxied(rt, r):
		return err
	}
	return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: refusedConnect{err}}
}

// proxied reports whether rt is known to send r through a proxy.
func proxied(rt http.RoundTripper, r *http.Request) bool {
	t, ok := rt.(*http.Transport)
	if route, isRoute := rt.(interface{ Underlying() *http.Transport }); isRoute {
		t, ok = route.Underlying(), true
	}
	if !ok || t.Proxy == nil {
		return false
	}
	proxy, err := t.Proxy(r)
	return err == nil && proxy != nil
}

// refusedConnect is a proxy's refusal of a connection.
type refusedConnect struct{ error }

func (e refusedConnect) Error() string {
	if e.error.Error() == "" {
		return "the proxy refuses the connection"
	}
	return "the proxy refuses the connection: " + strings.TrimPrefix(e.error.Error(), "unknown error ") // as net/http says for SOCKS
}

func (e refusedConnect) Unwrap() error { return e.error }

// packagePrefix begins the errors of net/http, crypto/tls and the like.
var packagePrefix = regexp.MustCompile(`^[a-z0-9/]+: `)

// isPhrase reports whether err is a bare text that no package has signed.
func isPhrase(err error) bool {
	return reflect.TypeOf(err) == reflect.TypeOf(errors.New("")) &&
		err != io.EOF && err != io.ErrUnexpectedEOF && !packagePrefix.MatchString(err.Error())
}

// isReason reports whether text is the reason phrase of a status that is no
// success, which a transport beneath another one may make an error of.
func isReason(text string) bool {
	for status := 300; status < 600; status++ {
		if text != "" && text == http.StatusText(status) {
			return true
		}
	}
	return false
}
