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

// Transport returns an HTTP transport that dials inside the fake's own
// network: names are resolved by its resolver, connections speak real TLS
// with certificates of its authority, and the address of each connection is
// the one dialled. Use it where the program under test looks below HTTP, at
// names, addresses and certificates; [Server.Client] is lighter.
//
// It may be cloned and changed. Its connections are in memory, not sockets, so
// that it works in a synctest bubble, and all its waiting is by timers.
// Close, or CloseIdleConnections of the transport, ends what is idle.
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
		conn, err = s.find(host, uint16(port))
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
	over chan struct{} // closed when nothing runs for it any more
}

func (p *pipe) end() {
	_ = p.conn.Close()
	<-p.over
}

// pipe makes a connection to a media server, or to plex.tv if there is none,
// and serves it. It ends with either side.
func (s *Server) pipe(ip netip.Addr, port uint16, to *Connection) (net.Conn, error) {
	remote := net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
	local := &net.TCPAddr{IP: net.IPv4(192, 168, 1, 99), Port: 50000}
	near, far := newWire(local, remote)
	p := &pipe{conn: far, over: make(chan struct{})}
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
		close(p.over)
	}()
	return near, nil
}

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
		a := s.certify()
		conn = tls.Server(conn, &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"http/1.1"},
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if to != nil {
					return a.forConnection(to, strings.ToLower(hello.ServerName))
				}
				return a.leaf(strings.ToLower(hello.ServerName))
			},
		})
	} else if to == nil || s.needsTLS(to) {
		return
	}
	l := &oneListener{conn: conn, over: make(chan struct{})}
	server := &http.Server{Handler: handler, ErrorLog: quietLog, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			l.once.Do(func() { close(l.over) })
		}
	}}
	_ = server.Serve(l)
}

// servePlex answers as plex.tv or app.plex.tv, by name.
func (s *Server) servePlex(w http.ResponseWriter, r *http.Request) {
	at, _ := siteOf(hostname(r.Host)) // whoever has come so far means plex.tv
	c, err := s.newCall(r, "https", strings.ToLower(r.Host), at)
	if err != nil {
		return
	}
	s.serve(w, c)
}

// oneListener is a listener for one connection, and ends with it.
type oneListener struct {
	conn net.Conn
	over chan struct{}
	once sync.Once
}

func (l *oneListener) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.over
	return nil, io.EOF
}

func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

// peekedConn is a connection whose first bytes were looked at.
type peekedConn struct {
	*wireEnd
	r *bufio.Reader
}

func (c peekedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
