package main

import (
	"io"
	"net/http"
	"net/http/httputil"

	"github.com/plexauth/plexauth/plextest"
)

// proxy serves the fake, and also acts as an HTTP proxy into the fake's network.
// A client that uses the proxy reaches the fake under https://plex.tv. No request
// leaves the machine.
type proxy struct {
	fake *plextest.Server
	base string
	next http.Handler
}

func (p proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	case r.URL.IsAbs() && r.URL.Scheme+"://"+r.URL.Host != p.base:
		forward := httputil.ReverseProxy{Transport: p.fake.Client().Transport, Rewrite: func(*httputil.ProxyRequest) {}}
		forward.ServeHTTP(w, r)
	default:
		p.next.ServeHTTP(w, r)
	}
}

// tunnel connects the client with a host of the fake's network.
func (p proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	// The tunnel carries the client's TLS connection, which the fake terminates.
	there, err := p.fake.Transport().DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer here.Close()
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(there, io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), here))
		_ = there.Close()
		close(done)
	}()
	_, _ = io.Copy(here, there)
	_ = here.Close()
	<-done
}
