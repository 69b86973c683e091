package measure

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/plexauth/plexauth/plextest"
)

// Answer is one recorded answer. As an [http.RoundTripper] it gives that answer
// to every request, in process, so that a benchmark measures the client alone.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON is the header of a JSON answer of plex.tv.
var JSON = http.Header{"Content-Type": {"application/json; charset=utf-8"}}

// RoundTrip returns the answer.
func (a Answer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	return &http.Response{
		StatusCode: a.Status, ProtoMajor: 1, ProtoMinor: 1, Header: a.Header, Request: r,
		ContentLength: int64(len(a.Body)), Body: io.NopCloser(bytes.NewReader(a.Body)),
	}, nil
}

// ServeHTTP writes the answer.
func (a Answer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for k, v := range a.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client may have disconnected
}

// ServeHTTP2 serves h on a loopback port over HTTP/2 only, with a certificate
// signed by fake's authority. It returns the base URL, a counter of accepted
// connections, and a function that stops the server.
func ServeHTTP2(h http.Handler, fake *plextest.Server) (url string, connections *atomic.Int64, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	connections = &atomic.Int64{}
	config := fake.TLSConfig()
	config.NextProtos = []string{"h2"}
	s := &http.Server{
		Handler: h, TLSConfig: config, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100_000},
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ServeTLS(l, "", "")
	}()
	return "https://" + l.Addr().String(), connections, func() { _ = s.Close(); <-done }, nil
}
