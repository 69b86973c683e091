package plextv_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/plextv"
)

// pipes leads all dials to one server in memory. It numbers the connections from 1.
type pipes struct {
	accept chan net.Conn
	over   chan struct{}

	mu     sync.Mutex
	count  int
	silent map[int]bool // connections on which no request is answered
	closed map[int]bool // by the client
}

// pipe is one end of a connection.
type pipe struct {
	net.Conn
	n       int
	onClose func()
}

func (p pipe) Close() error {
	p.onClose()
	return p.Conn.Close()
}

// pipeKey is the key of a connection's number in the contexts of its requests.
type pipeKey struct{}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return address("pipes") }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	p.count++
	n := p.count
	p.mu.Unlock()
	near, far := net.Pipe()
	select {
	case p.accept <- pipe{far, n, func() {}}:
		return pipe{near, n, func() { p.set(p.closed, n, true) }}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ServeHTTP answers with an account, or without servers.
func (p *pipes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.is(p.silent, r.Context().Value(pipeKey{}).(int)) {
		<-r.Context().Done()
		return
	}
	answer := `{"id":7}`
	if r.URL.Path == "/api/v2/resources" {
		answer = `[]`
	}
	_, _ = io.WriteString(w, answer)
}

func (p *pipes) set(state map[int]bool, n int, to bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state[n] = to
}

func (p *pipes) is(state map[int]bool, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return state[n]
}

// connections returns how many connections there were.
func (p *pipes) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// overPipes runs f in a bubble. Its transports lead to a server that speaks protocol.
func overPipes(t *testing.T, protocol string, f func(t *testing.T, p *pipes, newTransport func() *http.Transport)) {
	t.Helper()
	certificate, roots := selfSigned(t, "plex.tv", "clients.plex.tv")
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{accept: make(chan net.Conn), over: make(chan struct{}), silent: map[int]bool{}, closed: map[int]bool{}}
		server := &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, pipeKey{}, c.(*tls.Conn).NetConn().(pipe).n)
		}}
		var serving sync.WaitGroup
		serving.Go(func() {
			_ = server.Serve(tls.NewListener(p, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{protocol}}))
		})
		var all []*http.Transport
		f(t, p, func() *http.Transport {
			rt := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: p.dial}
			all = append(all, rt)
			return rt
		})
		close(p.over)
		server.Close()
		for _, rt := range all {
			rt.CloseIdleConnections()
		}
		time.Sleep(5 * time.Minute) // within this time the connections of clones are closed
		serving.Wait()
	})
}

// ask makes one call of c, and reports whether it gets an answer.
func ask(t *testing.T, c *plextv.Client) bool {
	t.Helper()
	return calls["account"](t.Context(), c, t) == nil
}

// G5: after a request over an HTTP/2 connection got no answer, the next one is sent over
// another connection. The program's own connection stays open, and ours are closed once they
// are not needed.
func TestSilentHTTP2Connection(t *testing.T) {
	overPipes(t, "h2", func(t *testing.T, p *pipes, newTransport func() *http.Transport) {
		hc := &http.Client{Transport: newTransport()}
		c := plextv.New(plextv.Config{HTTPClient: hc})
		require.True(t, ask(t, c))
		p.set(p.silent, 1, true)
		assert.False(t, ask(t, c))
		assert.True(t, ask(t, c))
		assert.True(t, ask(t, c))
		assert.Equal(t, 2, p.connections())

		p.set(p.silent, 2, true) // this one, too
		assert.False(t, ask(t, c))
		assert.True(t, ask(t, c))
		assert.True(t, ask(t, c))
		assert.Equal(t, 3, p.connections())

		first := hc.Transport // the program takes another transport
		hc.Transport = newTransport()
		assert.True(t, ask(t, c))
		synctest.Wait()
		assert.True(t, p.is(p.closed, 3))
		assert.False(t, p.is(p.closed, 1))
		assert.Equal(t, 4, p.connections())

		p.set(p.silent, 1, false) // and the first one again
		hc.Transport = first
		assert.True(t, ask(t, c))
		assert.Equal(t, 4, p.connections())
		time.Sleep(2 * time.Minute)
		assert.True(t, p.is(p.closed, 2))
	})
}

// When one of our connections falls silent, those to the other host of the API are replaced
// and closed as well.
func TestSilentConnectionBesideAnIdleOne(t *testing.T) {
	overPipes(t, "h2", func(t *testing.T, p *pipes, newTransport func() *http.Transport) {
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: newTransport()}})
		require.True(t, ask(t, c))
		p.set(p.silent, 1, true)
		require.False(t, ask(t, c))
		require.True(t, ask(t, c)) // over 2
		_, err := c.ReadServers(t.Context(), token, clientID)
		require.NoError(t, err) // over 3
		p.set(p.silent, 2, true)
		require.False(t, ask(t, c))
		synctest.Wait()
		assert.True(t, p.is(p.closed, 3))
		assert.Equal(t, 3, p.connections())
	})
}

// Of two requests that get no answer over one connection, the later one does not replace the
// connection that has taken its place.
func TestTwoRequestsOnASilentConnection(t *testing.T) {
	overPipes(t, "h2", func(t *testing.T, p *pipes, newTransport func() *http.Transport) {
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: newTransport()}})
		require.True(t, ask(t, c))
		p.set(p.silent, 1, true)
		var both sync.WaitGroup
		both.Go(func() { assert.False(t, ask(t, c)) })
		both.Go(func() {
			time.Sleep(5 * time.Second)
			assert.False(t, ask(t, c))
		})
		time.Sleep(plextv.AttemptLimit + time.Second)
		assert.True(t, ask(t, c))
		both.Wait()
		assert.True(t, ask(t, c))
		assert.Equal(t, 2, p.connections())
	})
}

// Connections in the place of the program's are closed when they have been idle for as long
// as the program says, or for a minute and a half.
func TestIdleConnectionsInThePlaceOfSilentOnes(t *testing.T) {
	for name, c := range map[string]struct{ limit, kept, closed time.Duration }{
		"no limit": {0, time.Minute, 2 * time.Minute},
		"a limit":  {10 * time.Second, 5 * time.Second, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			overPipes(t, "h2", func(t *testing.T, p *pipes, newTransport func() *http.Transport) {
				rt := newTransport()
				rt.IdleConnTimeout = c.limit
				client := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}})
				require.True(t, ask(t, client))
				p.set(p.silent, 1, true)
				assert.False(t, ask(t, client))
				assert.True(t, ask(t, client))
				time.Sleep(c.kept)
				assert.False(t, p.is(p.closed, 2))
				time.Sleep(c.closed - c.kept)
				assert.True(t, p.is(p.closed, 2))
			})
		})
	}
}

// A program may have an HTTP/2 of its own in its transport, which is bound to the connections
// of that. Another connection is not given to it.
func TestSilentConnectionOfAnotherHTTP2(t *testing.T) {
	overPipes(t, "h2", func(t *testing.T, p *pipes, newTransport func() *http.Transport) {
		rt := newTransport()
		rt.TLSClientConfig.NextProtos = []string{"h2"}
		rt.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{"h2": func(_ string, conn *tls.Conn) http.RoundTripper {
			return transport(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				conn.Close()
				return nil, r.Context().Err()
			})
		}}
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}})
		require.False(t, ask(t, c))
		assert.True(t, ask(t, c))
	})
}

// net/http itself closes a connection of HTTP/1.1 on which a request got no answer, so the
// next one is the program's own as well.
func TestSilentHTTP1Connection(t *testing.T) {
	overPipes(t, "http/1.1", func(t *testing.T, p *pipes, newTransport func() *http.Transport) {
		rt := newTransport()
		rt.ForceAttemptHTTP2 = false
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}})
		require.True(t, ask(t, c))
		p.set(p.silent, 1, true)
		assert.False(t, ask(t, c))
		assert.True(t, ask(t, c))
		assert.Equal(t, 2, p.connections())
		rt.CloseIdleConnections()
		synctest.Wait()
		assert.True(t, p.is(p.closed, 2))
	})
}

// G5: over a transport that cannot be cloned, an attempt that has waited for two seconds in
// vain is followed by ones with connections of their own, until one is answered.
func TestSilenceOverAnotherTransport(t *testing.T) {
	type step struct {
		took   time.Duration
		status int // 0: an error
	}
	const long, short = 2 * time.Second, 2*time.Second - 1
	for name, c := range map[string]struct {
		retries int
		steps   []step
		own     []bool // whether each attempt asks for a connection of its own
	}{
		"after two seconds":            {0, []step{{long, 0}, {long, 0}, {0, 200}, {0, 200}}, []bool{false, true, true, false}},
		"earlier":                      {0, []step{{short, 0}, {0, 200}}, []bool{false, false}},
		"an answer, however late":      {0, []step{{long, 502}, {0, 200}}, []bool{false, false}},
		"earlier, at a second attempt": {1, []step{{short, 502}, {short, 0}, {0, 200}}, []bool{false, false, false}},
		"earlier, at a third one":      {2, []step{{0, 502}, {short, 502}, {short, 0}, {0, 200}}, []bool{false, false, false, false}},
		"after two, at a second one":   {1, []step{{0, 502}, {long, 0}, {0, 200}}, []bool{false, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var own []bool
				rt := transport(func(r *http.Request) (*http.Response, error) {
					s := c.steps[len(own)]
					own = append(own, r.Close)
					time.Sleep(s.took)
					if s.status == 0 {
						return nil, errors.New("silence")
					}
					return reply{status: s.status, body: `{"id":7}`}.response(r)
				})
				client := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}, Retries: c.retries})
				for len(own) < len(c.steps) {
					_ = readAccount(t.Context(), client)
				}
				assert.Equal(t, c.own, own)
			})
		})
	}
}

// The silence of a media server says nothing about the connections to plex.tv.
func TestSilentMediaServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closes := false
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			closes = closes || r.Close
			if r.URL.Host != "plex.tv" {
				time.Sleep(3 * time.Second)
				return nil, errors.New("silence")
			}
			return reply{status: 200, body: `{"id":7}`}.response(r)
		})}})
		require.Error(t, calls["server"](t.Context(), c, t))
		require.NoError(t, calls["account"](t.Context(), c, t))
		assert.False(t, closes)
	})
}
