package mediaserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// network stands in for the network: names lead to places, at which a server answers.
type network struct {
	names map[string]place // a host that is missing does not resolve
	serve func(net.Conn)

	mu      sync.Mutex
	dialled []string
	open    int // connections
}

// place is where a name leads, and how a dial ends there.
type place struct {
	at      string        // an IP address; "": the connection does not show it
	socket  bool          // it is a Unix socket
	refuses bool          // there is no connection
	err     error         // of the dial
	silent  bool          // the dial ends with its context
	after   time.Duration // how long the dial takes, whatever becomes of its context
}

// addr returns the address that a connection to p shows.
func (p place) addr() net.Addr {
	switch {
	case p.socket:
		return &net.UnixAddr{Name: "/run/plex.sock", Net: "unix"}
	case p.at == "":
		return tunnelAddr{}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(p.at), 32400))
}

// tunnelAddr is the address of a connection that does not show where it leads.
type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "tunnel" }
func (tunnelAddr) String() string  { return "tunnel" }

// dial is an [http.Transport.DialContext].
func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dialled = append(n.dialled, addr)
	n.mu.Unlock()
	host, _, _ := net.SplitHostPort(addr)
	p, ok := n.names[host]
	switch time.Sleep(p.after); {
	case !ok:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
	case p.err != nil:
		return nil, p.err
	case p.silent:
		<-ctx.Done()
		return nil, ctx.Err()
	case p.refuses:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: p.addr(), Err: errors.New("connection refused")}
	}
	here, there := net.Pipe()
	go n.serve(there)
	n.count(1)
	return &connTo{Conn: here, at: p.addr(), closed: sync.OnceFunc(func() { n.count(-1) })}, nil
}

func (n *network) count(change int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open += change
}

// connections returns how many connections are open.
func (n *network) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

// dials returns the addresses that were dialled, in order.
func (n *network) dials() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialled
}

// transport returns a transport over n.
func (n *network) transport(config *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: config, DialContext: n.dial}
}

// connTo is a connection that shows the address at.
type connTo struct {
	net.Conn
	at     net.Addr
	closed func()
}

func (c *connTo) RemoteAddr() net.Addr { return c.at }

func (c *connTo) Close() error {
	c.closed()
	return c.Conn.Close()
}

// serveHTTP answers every request with success.
func serveHTTP(conn net.Conn) {
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := conn.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n")); err != nil {
			return
		}
	}
}

// peeked is a connection from which some was read into r.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// serveServer answers requests as the media server machineID does, over http and over
// https. Each connection in TLS gets the next of certs, and the last one all others.
func serveServer(machineID string, certs ...tls.Certificate) func(net.Conn) {
	var mu sync.Mutex
	body := identity(machineID)
	return func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		if first, err := r.Peek(1); err == nil && first[0] == 0x16 { // a handshake
			mu.Lock()
			cert := certs[0]
			if len(certs) > 1 {
				certs = certs[1:]
			}
			mu.Unlock()
			conn = tls.Server(peeked{conn, r}, &tls.Config{Certificates: []tls.Certificate{cert}})
			r = bufio.NewReader(conn)
		}
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}
}
