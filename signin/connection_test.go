package signin_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/signin"
)

// silent is a connection to plex.tv that can die without an error: it then drops what is
// written to it.
type silent struct {
	net.Conn
	mu   sync.Mutex
	dead bool
}

func (c *silent) die() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

func (c *silent) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// G5: an HTTP/2 connection to plex.tv that died without an error fails one visitor's
// request, and does not delay the visitors after that.
func TestConnectionThatDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accept, over := make(chan net.Conn), make(chan struct{})
		var conns []*silent
		var serving sync.WaitGroup
		w := newWorld(t, func(w *world, o *signin.Options) {
			conf := w.plex.TLSConfig()
			conf.NextProtos = []string{"h2"}
			server := &http.Server{Handler: w.plex.Handler(), ErrorLog: log.New(io.Discard, "", 0)}
			serving.Go(func() { _ = server.Serve(tls.NewListener(pipes{accept, over}, conf)) })
			rt := w.plex.Transport()
			rt.ForceAttemptHTTP2 = true
			rt.DialContext = func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				conns = append(conns, &silent{Conn: near})
				accept <- far
				return conns[len(conns)-1], nil
			}
			o.HTTPClient = &http.Client{Transport: rt}
			t.Cleanup(func() {
				close(over)
				server.Close()
				rt.CloseIdleConnections()
				time.Sleep(2 * time.Minute) // until idle connections are closed
				for _, c := range conns {
					c.Close()
				}
				serving.Wait()
			})
		})
		start := func() int {
			r := httptest.NewRequest(http.MethodPost, "http://app.example/signin/start", nil)
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			return rec.Code
		}
		require.Equal(t, http.StatusSeeOther, start())
		conns[0].die()
		assert.NotEqual(t, http.StatusSeeOther, start())
		for range 3 {
			began := time.Now()
			assert.Equal(t, http.StatusSeeOther, start())
			assert.Less(t, time.Since(began), time.Second)
		}
		assert.Len(t, conns, 2)
	})
}

// pipes is a listener for connections in memory.
type pipes struct {
	accept chan net.Conn
	over   chan struct{}
}

func (l pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l pipes) Close() error   { return nil }
func (l pipes) Addr() net.Addr { return &net.TCPAddr{} }
