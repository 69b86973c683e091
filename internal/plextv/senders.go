package plextv

import (
	"net/http"
	"sync"
	"sync/atomic"
)

// senders choose what requests to plex.tv are sent with. net/http keeps an HTTP/2
// connection on which a request has timed out, and puts the next one on it, until the
// kernel gives it up after a quarter of an hour. The caller's connections are not ours
// to close, so the next attempt goes through a clone of the caller's transport.
//
// Another RoundTripper cannot be cloned. Until one answers, each attempt then asks for
// a connection of its own, which keeps later ones off the dead one.
type senders struct {
	mu    sync.Mutex
	base  *http.Transport // the caller's
	clone *http.Transport // takes its place; nil: base itself is good

	ownConnections atomic.Bool // each attempt asks for a connection of its own
}

// senderFor returns what to send with in the place of base.
func (s *senders) senderFor(base http.RoundTripper) http.RoundTripper {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.clone == nil:
		return base
	case base == http.RoundTripper(s.base):
		return s.clone
	}
	s.clone.CloseIdleConnections() // the caller has another transport now
	s.base, s.clone = nil, nil
	return base
}

// avoid keeps the next attempt off the connections of used, which senderFor has
// returned.
func (s *senders) avoid(used http.RoundTripper) {
	t, ok := used.(*http.Transport)
	if !ok {
		s.ownConnections.Store(used != nil)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	base := t
	switch {
	case s.clone == nil && t.TLSNextProto["h2"] == nil: // HTTP/1.1 ends the connection itself
		return
	case t == s.clone:
		base = s.base
		s.clone.CloseIdleConnections()
	case s.clone != nil: // another attempt has replaced it already
		return
	}
	s.base, s.clone = base, base.Clone()
	if s.clone.TLSNextProto != nil { // of golang.org/x/net/http2, and bound to the connections of base
		s.clone.TLSNextProto, s.clone.ForceAttemptHTTP2 = nil, true
	}
	if s.clone.IdleConnTimeout == 0 {
		s.clone.IdleConnTimeout = idleLimit
	}
}

// plexTVSender sends the attempts of a call to plex.tv.
type plexTVSender struct{ q *Call }

// RoundTrip implements [http.RoundTripper].
func (s plexTVSender) RoundTrip(r *http.Request) (*http.Response, error) {
	all := &s.q.client.senders
	s.q.via = all.senderFor(s.q.client.Transport())
	if all.ownConnections.Load() {
		own := *r
		own.Close = true
		r = &own
	}
	resp, err := sender{s.q.via}.RoundTrip(r)
	if err != nil && isProxied(s.q.via, r) {
		s.q.dialled.at.Store(nil) // it is the proxy's
	}
	return resp, err
}

// sender hides everything of a transport but RoundTrip, because retryablehttp closes
// idle connections, and these are the caller's. It recognizes the refusals of a proxy.
type sender struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (s sender) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		err = proxyRefusal(s.RoundTripper, r, err)
	}
	return resp, err
}

// redirected sends the requests that follow a redirect. It gives that redirect as the answer to
// the first request, which has been sent already.
type redirected struct {
	by   *http.Response // nil once it was given
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (r *redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp := r.by; resp != nil {
		r.by = nil
		return resp, nil
	}
	return r.next.RoundTrip(req)
}
