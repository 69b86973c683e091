package plexauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// redial returns the fake's transport with another dial function.
func (w *world) redial(t *testing.T, change func(dialFunc) dialFunc) *http.Transport {
	rt := w.plex.Transport()
	rt.DialContext = change(rt.DialContext)
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

// fetch sends a program's request to the saved server.
func fetch(t *testing.T, p *plexauth.PlexAuth, rt http.RoundTripper) (int, error) {
	t.Helper()
	c := &http.Client{Transport: p.Transport(rt)}
	defer c.CloseIdleConnections()
	resp, err := c.Get(mustSettings(t, p).ServerURL + "/library/sections")
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// G25: a plex.direct name that resolves to nothing or to another machine is dialled at
// the address in it. TLS is verified against the name.
func TestDirectNamesByTheirAddress(t *testing.T) {
	resolvers := map[string]func(dialFunc) dialFunc{
		"no such name": func(next dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
			}
		},
		"no resolver": func(next dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				<-ctx.Done()
				return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "timeout", IsTimeout: true}}
			}
		},
		"refused elsewhere": func(next dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: network, Addr: &net.TCPAddr{IP: net.IPv4zero, Port: 32400}, Err: errors.New("refused")}
			}
		},
		"another machine": func(next dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				return next(ctx, network, "192.168.1.77:32400")
			}
		},
		"a reserved address": func(next dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				return next(ctx, network, "169.254.1.1:32400")
			}
		},
	}
	for name, resolver := range resolvers {
		for _, at := range []string{"192.168.1.5", "100.101.102.103", "203.0.113.9", "fd00::5", "2001:db8::5", "127.0.0.2"} {
			t.Run(name+" "+at, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := linked(t, false)
					box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: at}}})
					w.plex.AddMediaServer(w.bob, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.77"}, {Address: "169.254.1.1"}}})
					rt := w.redial(t, func(next dialFunc) dialFunc {
						lie := resolver(next)
						return func(ctx context.Context, network, addr string) (net.Conn, error) {
							if strings.Contains(addr, ".plex.direct") {
								return lie(ctx, network, addr)
							}
							return next(ctx, network, addr)
						}
					})
					p := w.open(t, withTransport(rt))
					s, err := p.Inspect(t.Context())
					require.NoError(t, err)
					assert.Equal(t, box.Connections[0].URI, s.ServerURL)
					status, err := fetch(t, p, rt)
					require.NoError(t, err)
					assert.Equal(t, http.StatusOK, status)
					r, err := p.Probe(t.Context(), "")
					require.NoError(t, err)
					assert.Equal(t, name != "no resolver", strings.Contains(r.Addresses[0].Finding, "DNS rebinding protection"), r.Addresses[0].Finding)

					// The machine at that address must still be the right one.
					w.plex.MoveServer(box, plextest.Connection{Address: at, BadCert: true})
					_, err = p.Probe(t.Context(), "")
					require.ErrorIs(t, err, plexauth.ErrUnavailable)
					_, err = fetch(t, p, rt)
					require.Error(t, err)
				})
			})
		}
	}
}

// A plex.direct name that resolves to its address is dialled once. A dialer that hides
// the remote address is not overruled.
func TestDirectNamesAsTheyResolve(t *testing.T) {
	for name, hide := range map[string]bool{"seen": false, "behind a tunnel of the caller's": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "203.0.113.9"}}})
				var byName, byIP atomic.Int32
				rt := w.redial(t, func(next dialFunc) dialFunc {
					return func(ctx context.Context, network, addr string) (net.Conn, error) {
						switch {
						case strings.Contains(addr, ".plex.direct"):
							byName.Add(1)
						case strings.HasPrefix(addr, "203.0.113.9"):
							byIP.Add(1)
						}
						conn, err := next(ctx, network, addr)
						if err == nil && hide {
							conn = tunnelled{conn}
						}
						return conn, err
					}
				})
				r, err := w.open(t, withTransport(rt)).Inspect(t.Context())
				require.NoError(t, err)
				assert.NotEmpty(t, r.ServerURL)
				found, err := w.open(t, withTransport(rt)).Probe(t.Context(), "")
				require.NoError(t, err)
				assert.Equal(t, "answers", found.Addresses[0].Finding)
				assert.Positive(t, byName.Load())
				assert.Equal(t, hide, byIP.Load() > 0)
			})
		})
	}
}

// tunnelled hides the remote address of a connection.
type tunnelled struct{ net.Conn }

func (tunnelled) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1080} }

// G14: nothing is asked of a name that resolves to a reserved address. A proxy may
// have one.
func TestReservedAsDialled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{
			{Address: "meta.example", IP: "169.254.169.254", Port: 80, URI: "http://meta.example:80"},
			{Address: "meta.example", IP: "169.254.169.254", Port: 443},
			{Address: "alibaba.example", IP: "100.100.100.200", Port: 443},
		}})
		for _, typed := range []string{"meta.example", "http://meta.example", "https://meta.example", "https://alibaba.example", box.MachineID} {
			_, err := w.UseServer(t.Context(), typed)
			require.Error(t, err, typed)
			if typed != box.MachineID {
				_, err := w.Probe(t.Context(), typed)
				require.ErrorIs(t, err, plexauth.ErrUnavailable, typed)
				assert.ErrorContains(t, err, "leads to an address that is reserved")
			}
		}
		token := w.plex.ServerToken(w.alice, box)
		rt := w.plex.Transport()
		defer rt.CloseIdleConnections()
		for _, at := range []string{"http://meta.example", "https://meta.example", "http://169.254.169.254", "https://0xA9FEA9FE"} {
			w.edit(t, map[string]any{"server_url": at, "pms_token": token, "pms_token_server": at, "machine_id": box.MachineID})
			_, err := fetch(t, w.open(t), rt)
			require.ErrorIs(t, err, plexauth.ErrServerToken, at)
		}
		_, err := fetch(t, w.open(t), w.plex.Client().Transport)
		require.ErrorIs(t, err, plexauth.ErrServerToken, "over another RoundTripper")
		assert.Empty(t, w.mediaRequests())
	})
}

// G25: addresses in NO_PROXY count for plex.direct names, whose address is known.
func TestNoProxyByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}, {Address: "fd00::5", Local: true}, {Address: "203.0.113.9"}}})
		var asked atomic.Int32
		rt := w.redial(t, func(next dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr == "169.254.9.9:3128" {
					asked.Add(1)
					return nil, errors.New("no proxy there")
				}
				return next(ctx, network, addr)
			}
		})
		rt.Proxy = func(r *http.Request) (*url.URL, error) {
			host := r.URL.Hostname()
			if strings.HasSuffix(host, "plex.tv") || host == "192.168.1.5" || host == "fd00::5" {
				return nil, nil
			}
			return url.Parse("http://169.254.9.9:3128")
		}
		p := w.open(t, withTransport(rt))
		s, err := p.Inspect(t.Context())
		require.NoError(t, err)
		assert.Contains(t, []string{box.Connections[0].URI, box.Connections[1].URI}, s.ServerURL)
		status, err := fetch(t, p, rt)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		r, err := p.Probe(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, r.Addresses, 3)
		for _, a := range r.Addresses {
			assert.Equal(t, !strings.Contains(a.URL, "203-0-113-9"), a.OK, "the proxy is for all others")
		}
		assert.Positive(t, asked.Load(), "a proxy may have any address")
	})
}

// G25: at a typed name a media server's own certificate is accepted, if plex.tv lists
// it for a server of the account and that server answers.
func TestDirectCertificateBehindAName(t *testing.T) {
	const tunnel = "https://tunnel.example:7070"
	conns := func(address string) []plextest.Connection {
		return []plextest.Connection{
			{Address: "192.168.1.5", Local: true, Refused: true},
			{Address: address, IP: "198.51.100.20", Port: 7070, URI: "https://10-0-0-9.other.plex.direct:7070", Unlisted: true},
		}
	}
	setUp := func(t *testing.T) (*world, *plextest.MediaServer, *http.Transport) {
		w := linked(t, true)
		rt := w.plex.Transport()
		t.Cleanup(rt.CloseIdleConnections)
		return w, w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: conns("tunnel.example")}), rt
	}
	for how, choose := range map[string]func(*testing.T, *world) error{
		"UseServer": func(t *testing.T, w *world) error { return errOf(w.UseServer(t.Context(), tunnel)) },
		"no scheme": func(t *testing.T, w *world) error { return errOf(w.UseServer(t.Context(), "tunnel.example:7070")) },
		"by address": func(t *testing.T, w *world) error {
			return errOf(w.UseServer(t.Context(), "https://198.51.100.20:7070"))
		},
		"Inspect": func(t *testing.T, w *world) error {
			w.edit(t, map[string]any{"server_url": tunnel})
			return errOf(w.Inspect(t.Context()))
		},
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, box, rt := setUp(t)
				require.NoError(t, choose(t, w))
				assert.Equal(t, box.MachineID, mustSettings(t, w.PlexAuth).MachineID)
				status, err := fetch(t, w.open(t), rt) // after a restart
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
				require.NoError(t, errOf(w.Inspect(t.Context())))
				r, err := w.Probe(t.Context(), "")
				require.NoError(t, err)
				assert.True(t, r.TokenAccepted)
				w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Times: -1, Status: 502})
				r, err = w.Probe(t.Context(), "")
				require.NoError(t, err, "plex.tv is not needed")
				assert.True(t, r.TokenAccepted)

				// It counts for that server at that address alone.
				token := w.plex.ServerToken(w.alice, box)
				w.edit(t, map[string]any{"machine_id": "another", "pms_token": token})
				require.Error(t, errOf(fetch(t, w.open(t), rt)))
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w, box, _ := setUp(t)
		r, err := w.Probe(t.Context(), tunnel)
		require.NoError(t, err)
		assert.Equal(t, box.MachineID, r.MachineID)

		// Another account's list does not name it.
		w.relink(t, w.bob)
		_, err = w.UseServer(t.Context(), tunnel)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "plex.tv does not list")
		assert.NotContains(t, err.Error(), ".plex.direct")
	})
	for _, at := range []string{tunnel, "https://198.51.100.20:7070"} { // a certificate of no known authority, for that very name
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, true)
			bad := conns("tunnel.example")
			bad[1].BadCert = true
			w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: bad})
			for _, err := range []error{errOf(w.UseServer(t.Context(), at)), errOf(w.Probe(t.Context(), at))} {
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.ErrorContains(t, err, "the certificate cannot be verified")
				assert.NotContains(t, err.Error(), ".plex.direct", "no authority vouches for its name")
			}
			assert.Empty(t, w.mediaRequests())
		})
	}
	synctest.Test(t, func(t *testing.T) { // the owner of a shared server intercepts, with that server's certificate
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: conns("tunnel.example")})
		require.NoError(t, errOf(w.UseServer(t.Context(), box.MachineID)))
		w.plex.Inject(plextest.Fault{Host: "tunnel.example", Path: "/identity", Times: -1, ContentType: "application/json", Body: `{"MediaContainer":{"machineIdentifier":"` + box.MachineID + `"}}`, Status: 200})
		asked := w.fromNow()
		_, err := w.UseServer(t.Context(), tunnel)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		for _, r := range media(asked()) {
			assert.Empty(t, r.Credential)
		}
		assert.Equal(t, box.Connections[0].URI, mustSettings(t, w.PlexAuth).ServerURL)
		_, err = w.Probe(t.Context(), tunnel)
		require.Error(t, err)
	})
}

// The caller's own TLS checks apply to such a certificate, too.
func TestDirectCertificateAndTheCallersChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{
			{Address: "192.168.1.5", Local: true, Refused: true}, {Address: "tunnel.example", Port: 7070, URI: "https://10-0-0-9.other.plex.direct:7070", Unlisted: true},
		}})
		for _, refuse := range []bool{false, true} {
			var chains, states atomic.Int32
			rt := w.plex.Transport()
			rt.TLSClientConfig.VerifyPeerCertificate = func(_ [][]byte, verified [][]*x509.Certificate) error {
				chains.Add(int32(len(verified)))
				return nil
			}
			rt.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
				if states.Add(1); refuse && s.ServerName == "tunnel.example" {
					return errors.New("pinned otherwise")
				}
				return nil
			}
			_, err := w.open(t, withTransport(rt)).UseServer(t.Context(), "https://tunnel.example:7070")
			assert.Equal(t, refuse, err != nil, err)
			assert.Positive(t, chains.Load())
			assert.Positive(t, states.Load())
			rt.CloseIdleConnections()
		}
	})
}

// G9: dialling by name and by address leaves no connection behind, whichever is first.
func TestDirectNamesLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "203.0.113.9"}}})
		var open atomic.Int32
		rt := w.redial(t, func(next dialFunc) dialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				if strings.HasSuffix(addr, "plex.tv:443") {
					return next(ctx, network, addr)
				}
				if strings.Contains(addr, ".plex.direct") { // comes in a little after the other one
					time.Sleep(700 * time.Millisecond)
				} else {
					time.Sleep(100 * time.Millisecond)
				}
				conn, err := next(context.WithoutCancel(ctx), network, addr)
				if err == nil {
					open.Add(1)
					conn = &countedConn{Conn: conn, open: &open}
				}
				return conn, err
			}
		})
		_, err := w.open(t, withTransport(rt)).Inspect(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Zero(t, open.Load())
	})
}

// If a person types no scheme, an address that other programs can use is preferred to
// one whose certificate only this library accepts.
func TestDirectCertificateComesSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		s, err := w.UseServer(t.Context(), "192.168.1.5")
		require.NoError(t, err)
		assert.Equal(t, "http://192.168.1.5:32400", s.ServerURL)
		w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.HTTPSRequired = true })
		s, err = w.UseServer(t.Context(), "192.168.1.5")
		require.NoError(t, err)
		assert.Equal(t, "https://192.168.1.5:32400", s.ServerURL)
	})
}

// G25: if the resolver hides the private name, its address is dialled, TLS is verified
// against the name, and the finding says so. A Transport does the same.
func TestRebindingProtection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{lan, {Address: "203.0.113.7"}, {Address: "fd00::5", Local: true, BadCert: true}}})
		w.plex.SetRebindProtection(true)
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, box.Connections[0].URI, s.ServerURL)
		r, err := w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.True(t, r.TokenAccepted)
		assert.Contains(t, r.Addresses[0].Finding, "DNS rebinding protection")

		base := w.plex.Transport()
		_, err = (&http.Client{Transport: base}).Get(s.ServerURL + "/identity")
		require.ErrorAs(t, err, new(*net.DNSError), "without help")
		c := &http.Client{Transport: w.Transport(base)}
		defer c.CloseIdleConnections()
		resp, err := c.Get(s.ServerURL + "/library/sections")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)

		// The certificate of another name is still refused.
		r, err = w.Probe(t.Context(), box.Connections[2].URI)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Contains(t, r.Addresses[0].Finding, "certificate")

		// Over a RoundTripper that cannot be changed, the finding names the cause.
		p := w.open(t)
		r, err = p.Probe(t.Context(), s.ServerURL)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Contains(t, r.Addresses[0].Finding, "DNS rebinding protection")
		assert.Contains(t, r.Addresses[0].Finding, "allow plex.direct")
	})
}

// A resolver that answers with another address, such as 0.0.0.0, hides the name as
// well.
func TestRebindingProtectionByLying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{lan}})
		base := w.plex.Transport()
		dial := base.DialContext
		var refusals atomic.Int32
		base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.Contains(addr, ".plex.direct") {
				refusals.Add(1)
				return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4zero, Port: 32400}, Err: fmt.Errorf("refused")}
			}
			return dial(ctx, network, addr)
		}
		p := w.open(t, withTransport(base))
		defer base.CloseIdleConnections()
		s, err := p.Inspect(t.Context())
		require.NoError(t, err)
		assert.Equal(t, box.Connections[0].URI, s.ServerURL)
		assert.Positive(t, refusals.Load())
	})
}
