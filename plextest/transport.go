package plextest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Transport returns an HTTP transport that dials into the fake's own network. It
// resolves names by the fake's resolver and speaks real TLS with certificates of
// the fake's authority. The remote address of a connection is the dialled one.
// Use it for programs that work below HTTP, with names, addresses and
// certificates. [Server.Client] is lighter.
//
// The transport may be cloned and changed. Its connections are in memory and wait
// only on channels and timers, so it works in a synctest bubble. [Server.Close]
// ends its connections; CloseIdleConnections ends the idle ones.
func (s *Server) Transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CACertificate())
	return &http.Transport{
		DialContext:         s.dialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
	}
}

// dialContext dials an address of the fake's network, or of its listener.
func (s *Server) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	host = strings.ToLower(host)
	port, _ := strconv.ParseUint(portText, 10, 16)

	s.mu.Lock()
	isOurs := s.listener != nil && addr == s.listener.Addr().String()
	_, plex := siteOf(host)
	plex = plex && port == 443
	var conn *Connection
	if !isOurs && !plex {
		conn, err = s.findHost(host, uint16(port))
	}
	closed := s.closed
	s.mu.Unlock()

	switch {
	case closed:
		return nil, &net.OpError{Op: "dial", Net: network, Err: errClosed}
	case err != nil:
		return nil, err
	case isOurs:
		return new(net.Dialer).DialContext(ctx, network, addr)
	case plex:
		return s.pipe(plexAddr, 443, nil)
	}
	if err := s.connect(ctx, conn); err != nil {
		return nil, err
	}
	return s.pipe(conn.at.Addr(), conn.at.Port(), conn)
}

// A pipe is the server's side of a connection that Transport dialled.
type pipe struct {
	conn net.Conn
	done chan struct{} // closed when the goroutine that serves conn has ended
}

// end closes the connection and waits for its goroutine.
func (p *pipe) end() {
	_ = p.conn.Close()
	<-p.done
}

// pipe makes a connection to the media server at to, or to plex.tv if to is nil,
// and serves it in a goroutine. The goroutine ends when either side closes.
func (s *Server) pipe(ip netip.Addr, port uint16, to *Connection) (net.Conn, error) {
	remote := net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
	local := &net.TCPAddr{IP: net.IPv4(192, 168, 1, 99), Port: 50000}
	near, far := newWire(local, remote)
	p := &pipe{conn: far, done: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: remote, Err: errClosed}
	}
	s.pipes[p] = true
	s.mu.Unlock()
	go func() {
		s.servePipe(far, to)
		_ = far.Close()
		s.mu.Lock()
		delete(s.pipes, p)
		s.mu.Unlock()
		close(p.done)
	}()
	return near, nil
}

// servePipe serves HTTP on one connection, with TLS if the client begins a
// handshake. It closes a connection without TLS where TLS is required.
func (s *Server) servePipe(end *wireEnd, to *Connection) {
	r := bufio.NewReader(end)
	hello, err := r.Peek(1)
	if err != nil {
		return
	}
	conn := net.Conn(peekedConn{end, r})
	handler := http.Handler(http.HandlerFunc(s.servePlex))
	if to != nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveMedia(w, r, to) })
	}
	if isTLS := hello[0] == 0x16; isTLS {
		a := s.ca()
		conn = tls.Server(conn, &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"http/1.1"},
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if to != nil {
					return a.serverCertificate(to, strings.ToLower(hello.ServerName))
				}
				return a.certificate(strings.ToLower(hello.ServerName))
			},
		})
	} else if to == nil || s.needsTLS(to) {
		return
	}
	l := &oneListener{conn: conn, done: make(chan struct{})}
	server := &http.Server{Handler: handler, ErrorLog: quietLog, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			l.once.Do(func() { close(l.done) })
		}
	}}
	_ = server.Serve(l)
}

// servePlex answers as plex.tv or app.plex.tv, depending on the Host header.
func (s *Server) servePlex(w http.ResponseWriter, r *http.Request) {
	at, _ := siteOf(hostname(r.Host)) // an unknown Host means plex.tv: the client dialled it
	c, err := s.newCall(r, "https", strings.ToLower(r.Host), at)
	if err != nil {
		return
	}
	s.serve(w, c)
}

// oneListener is a listener that accepts one connection. It ends when done is
// closed.
type oneListener struct {
	conn net.Conn
	done chan struct{}
	once sync.Once
}

func (l *oneListener) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, io.EOF
}

func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

// peekedConn is a connection whose first bytes are already in r.
type peekedConn struct {
	*wireEnd
	r *bufio.Reader
}

func (c peekedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
