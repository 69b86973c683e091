package integration_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// testProxy is between the browser and the panel. It passes on what it does not answer
// itself.
type testProxy struct {
	panel    http.Handler
	answers  atomic.Pointer[answerFunc]
	polls    atomic.Int32 // status requests so far
	underWay atomic.Int32 // status requests that wait for their answer
}

// answerFunc answers a request, or returns false.
type answerFunc func(http.ResponseWriter, *http.Request) bool

// answer lets f answer requests from now on.
func (p *testProxy) answer(f answerFunc) { p.answers.Store(&f) }

// passOn passes on every request from now on.
func (p *testProxy) passOn() { p.answers.Store(nil) }

func (p *testProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/status") {
		p.polls.Add(1)
		p.underWay.Add(1)
		defer p.underWay.Add(-1)
	}
	if f := p.answers.Load(); f != nil && (*f)(w, r) {
		return
	}
	p.panel.ServeHTTP(w, r)
}

// behindProxy serves the site's panel behind a proxy, and returns the page's URL.
func (s *site) behindProxy() (*testProxy, string) {
	p := &testProxy{panel: http.StripPrefix("/plex", s.panel)}
	return p, s.serve(p) + "/plex/"
}

// lose never answers the requests of that name.
func lose(name string) answerFunc {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/"+name) {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice the end of the connection
		<-r.Context().Done()
		return true
	}
}
