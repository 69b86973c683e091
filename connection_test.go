package plexauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G5: no failure of the network or a proxy ends a login before its deadline.
func TestOutagesEndNoLogin(t *testing.T) {
	faults := map[string]plextest.Fault{
		"reset":               {Reset: true},
		"reset after":         {ResetAfter: true},
		"hang":                {Hang: true},
		"truncated":           {Truncate: true},
		"drip":                {Drip: time.Second},
		"endless":             {Endless: true},
		"DNS":                 {Err: &net.DNSError{Err: "no such host", Name: "plex.tv", IsNotFound: true}},
		"TLS":                 {Err: x509.UnknownAuthorityError{}},
		"408":                 {Status: 408},
		"425":                 {Status: 425},
		"429":                 {Code: 1003},
		"500":                 {Code: 1007},
		"502 HTML":            {Status: 502, Body: "<html>bad gateway</html>", ContentType: "text/html"},
		"503":                 {Status: 503},
		"200 HTML":            {Status: 200, Body: "<!doctype html><title>Log in to the Wi-Fi</title>", ContentType: "text/html"},
		"200 XML":             {Status: 200, Body: `<pin id="1"/>`, ContentType: "application/xml"},
		"200 empty":           {Status: 200},
		"200 error":           {Status: 200, Body: `{"errors":[{"code":1007}]}`, ContentType: "application/json"},
		"403 HTML":            {Status: 403, Body: "<html>blocked</html>", ContentType: "text/html"},
		"404 HTML":            {Status: 404, Body: "<html>not here</html>", ContentType: "text/html"},
		"401 plain":           {Status: 401, Body: "who are you?", ContentType: "text/plain"},
		"redirect to foreign": {Redirect: "https://elsewhere.example/api/v2/pins/1"},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				fault.Method, fault.Path, fault.Times = "GET", "/api/v2/pins/*", 3
				w.plex.Inject(fault)
				time.AfterFunc(2*time.Minute, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				s, err := w.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.LessOrEqual(t, strings.Count(w.log.String(), "cannot ask plex.tv about the PIN"), 1, "logged once per change")
			})
		})
	}
}

// http2Network is a listener for the fake, and dials it by HTTP/2. Its connections can
// fall silent.
type http2Network struct {
	accept chan net.Conn
	over   chan struct{}

	mu    sync.Mutex
	conns []*silentConn
}

// silentConn is a connection that drops everything that is written to it once it is
// dead.
type silentConn struct {
	net.Conn
	mu           sync.Mutex
	dead, closed bool
}

func (c *silentConn) state() (dead, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead, c.closed
}

func (c *silentConn) Write(b []byte) (int, error) {
	if dead, _ := c.state(); dead {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *silentConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}

func (n *http2Network) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.over:
		return nil, net.ErrClosed
	}
}

func (n *http2Network) Close() error { return nil }

func (n *http2Network) Addr() net.Addr { return &net.TCPAddr{} }

func (n *http2Network) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	c := &silentConn{Conn: near}
	n.mu.Lock()
	n.conns = append(n.conns, c)
	n.mu.Unlock()
	n.accept <- far
	return c, nil
}

// die makes all connections fall silent.
func (n *http2Network) die() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.mu.Lock()
		c.dead = true
		c.mu.Unlock()
	}
}

func (n *http2Network) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// overHTTP2 runs f in a bubble, with a transport that speaks HTTP/2 to the fake.
func overHTTP2(t *testing.T, f func(t *testing.T, w *world, way *http2Network, rt *http.Transport)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		way := &http2Network{accept: make(chan net.Conn), over: make(chan struct{})}
		conf := w.plex.TLSConfig()
		conf.NextProtos = []string{"h2"}
		server := &http.Server{Handler: w.plex.Handler(), ErrorLog: log.New(io.Discard, "", 0)}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(tls.NewListener(way, conf)) })
		rt := w.plex.Transport()
		rt.DialContext, rt.ForceAttemptHTTP2 = way.dial, true
		defer func() {
			close(way.over)
			server.Close()
			rt.CloseIdleConnections()
			time.Sleep(2 * time.Minute) // idle connections are closed within this time
			for _, c := range way.conns {
				c.Close()
			}
			serving.Wait()
		}()
		f(t, w, way, rt)
	})
}

// A request that gets no answer over an HTTP/2 connection makes the next one use a new
// connection, whatever ended the attempt. The caller's connection is left alone.
func TestConnectionThatDied(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, p *plexauth.PlexAuth) error{
		"Verify": func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.Verify(ctx)) },
		"Verify in five seconds": func(ctx context.Context, p *plexauth.PlexAuth) error {
			short, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if _, err := p.Verify(short); err == nil {
				return nil
			}
			return errOf(p.Verify(ctx))
		},
		"HomeUsers": func(ctx context.Context, p *plexauth.PlexAuth) error { return errOf(p.HomeUsers(ctx)) },
		"Start, and again": func(ctx context.Context, p *plexauth.PlexAuth) error {
			if _, err := p.Start(ctx, plexauth.PinOptions{}); err == nil {
				return nil
			}
			return errOf(p.Start(ctx, plexauth.PinOptions{}))
		},
		"SignOut": func(ctx context.Context, p *plexauth.PlexAuth) error {
			_, _ = p.SignOut(ctx)
			return errOf(p.Start(ctx, plexauth.PinOptions{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			overHTTP2(t, func(t *testing.T, w *world, way *http2Network, rt *http.Transport) {
				w.signInNow(t)
				p := w.open(t, withTransport(rt))
				require.NoError(t, errOf(p.Verify(t.Context())))
				require.Equal(t, 1, way.count())
				way.die()
				began := time.Now()
				require.NoError(t, ask(t.Context(), p))
				assert.Less(t, time.Since(began), 12*time.Second)
				kept := way.count()
				for range 5 { // over the new connection
					require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{Strong: true})))
					require.NoError(t, p.Cancel(t.Context()))
				}
				assert.Equal(t, kept, way.count(), "the new connection is kept")
				_, closed := way.conns[0].state()
				assert.False(t, closed, "the caller's connection is the caller's")

				way.die() // this one, too
				_, _ = p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
				assert.Greater(t, way.count(), kept)
			})
		})
	}
}

// G5, G8: a dead connection under a transport that cannot be cloned is abandoned as
// well, one attempt later.
func TestWrappedConnectionThatDied(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, p *plexauth.PlexAuth) error{
		"Wait": func(ctx context.Context, p *plexauth.PlexAuth) error {
			return errOf(p.Wait(ctx))
		},
		"Start": func(ctx context.Context, p *plexauth.PlexAuth) error {
			for range 2 {
				_, err := p.Start(ctx, plexauth.PinOptions{Strong: true})
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
			}
			return errOf(p.Start(ctx, plexauth.PinOptions{Strong: true}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			overHTTP2(t, func(t *testing.T, w *world, way *http2Network, rt *http.Transport) {
				p := w.open(t, withTransport(roundTripFunc(rt.RoundTrip)))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				way.die()
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				began := time.Now()
				require.NoError(t, ask(t.Context(), p))
				assert.Less(t, time.Since(began), 40*time.Second)
				startAndCancel := func() {
					require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})))
					require.NoError(t, p.Cancel(t.Context()))
				}
				startAndCancel() // over as many new connections as it has requests at once
				synctest.Wait()
				kept := way.count()
				for range 5 {
					startAndCancel()
				}
				assert.Equal(t, kept, way.count(), "connections are kept once one has answered")
			})
		})
	}
}

// G5, G8: a login whose connection dies while it waits is finished over a new one.
func TestWaitOverAConnectionThatDied(t *testing.T) {
	overHTTP2(t, func(t *testing.T, w *world, way *http2Network, rt *http.Transport) {
		w.replicas = true // the look that was lost may arrive
		hc := &http.Client{Transport: rt}
		p := w.open(t, func(o *plexauth.Options) { o.HTTPClient = hc })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		began := time.Now()
		for i := range 2 {
			time.AfterFunc(time.Duration(i)*time.Minute+2500*time.Millisecond, way.die)
		}
		time.AfterFunc(61*time.Second+500*time.Millisecond, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
		require.NoError(t, errOf(p.Wait(t.Context())))
		assert.Less(t, time.Since(began), 2*time.Minute, "the kernel would take a quarter of an hour")
		assert.LessOrEqual(t, way.count(), 3)

		// Another transport of the caller's is used as soon as it is there.
		var by int
		hc.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			by++
			return w.plex.Client().Transport.RoundTrip(r)
		})
		require.NoError(t, errOf(p.Verify(t.Context())))
		assert.Positive(t, by)
	})
}

// G8: plex.tv answers every look late. After a look that timed out, the next one waits
// longer, up to half a minute.
func TestLateAnswersToLooks(t *testing.T) {
	for delay, want := range map[time.Duration]time.Duration{
		9 * time.Second:  15 * time.Second,
		12 * time.Second: 30 * time.Second,
		25 * time.Second: 70 * time.Second,
	} {
		for name, options := range map[string]func(*plexauth.Options){"long-lived": func(*plexauth.Options) {}, "device key": deviceKey} {
			t.Run(name+" "+delay.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, options)
					w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Times: -1, Delay: delay})
					began := time.Now()
					s, err := w.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, w.alice) })
					require.NoError(t, err)
					assert.True(t, s.Connected)
					assert.LessOrEqual(t, time.Since(began), want)
				})
			})
		}
	}
}

// G8: plex.tv is slow to say whose an approved token is, or to give its keys. A first
// login, a relink and a login with a device key succeed all the same.
func TestLateAnswersAfterTheApproval(t *testing.T) {
	for name, faults := range map[string][]plextest.Fault{
		"to everything":           {{}},
		"about the account alone": {{Path: "/api/v2/user"}, {Path: "/api/v2/auth/keys"}},
	} {
		for kind, options := range map[string]func(*plexauth.Options){"long-lived": func(*plexauth.Options) {}, "device key": deviceKey} {
			for _, relink := range []bool{false, true} {
				t.Run(fmt.Sprint(name, ", ", kind, ", relink ", relink), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, options)
						if relink {
							w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
						}
						pin, err := w.Start(t.Context(), plexauth.PinOptions{})
						require.NoError(t, err)
						require.NoError(t, w.plex.Approve(pin.Code, w.alice))
						for _, f := range faults {
							f.Times, f.Delay = -1, 12*time.Second
							w.plex.Inject(f)
						}
						began := time.Now()
						s, err := w.Wait(t.Context())
						require.NoError(t, err)
						assert.True(t, s.Connected)
						assert.Less(t, time.Since(began), 2*time.Minute)
					})
				})
			}
		}
	}
}

// The caller's own timeout applies even if looks are slow.
func TestLateAnswersAndTheCallersLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.plex.Client()
		client.Timeout = 4 * time.Second
		p := w.open(t, func(o *plexauth.Options) { o.HTTPClient = client })
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "GET", Hang: true, Times: -1})
		for range 4 {
			time.Sleep(time.Minute)
			began := time.Now()
			_, err = p.Finish(t.Context())
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.Equal(t, 4*time.Second, time.Since(began))
		}
	})
}
