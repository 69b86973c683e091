package plextest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// roundTripper answers requests in process, in the goroutine that calls it.
type roundTripper struct{ s *Server }

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.s.roundTrip(r)
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return resp, err
}

// roundTrip answers r as plex.tv, or as the media server at its address. It
// returns the errors that a real network would give.
func (s *Server) roundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil || r.URL.Host == "" {
		return nil, errors.New("plextest: the request has no host")
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	host := strings.ToLower(r.URL.Host)
	if r.Host != "" && r.Host != r.URL.Host {
		host = strings.ToLower(r.Host)
	}
	at, conn, err := s.locate(r.URL)
	c, bodyErr := s.newCall(r, r.URL.Scheme, host, at)
	if bodyErr != nil {
		return nil, bodyErr
	}
	c.inProcess = true
	if conn != nil {
		c.conn, c.media = conn, conn.server
		err = s.connect(c.ctx, conn)
		if err == nil {
			err = s.handshake(conn, r.URL)
		}
	}
	if err != nil {
		s.refuse(c, err)
		return nil, err
	}
	answer, f, err := s.handle(c)
	if err != nil {
		if errors.Is(err, errReset) {
			err = connectionReset(r.URL)
		} else if errors.Is(err, errClosed) {
			err = connectionRefused(r.URL)
		}
		return nil, err
	}
	return answer.response(s, r, f), nil
}

// locate returns the site that the fake plays at a URL, and the address of the
// media server if it is one.
func (s *Server) locate(u *url.URL) (site, *Connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Scheme == "https" && portOf(u) == "443" {
		if at, ok := siteOf(u.Hostname()); ok {
			return at, nil, nil
		}
	}
	if s.listener != nil && u.Scheme == "http" && u.Host == s.listener.Addr().String() {
		return siteAll, nil, nil
	}
	port, _ := strconv.ParseUint(portOf(u), 10, 16)
	conn, err := s.findHost(strings.ToLower(u.Hostname()), uint16(port))
	return siteMedia, conn, err
}

// refuse records a request that reached no host.
func (s *Server) refuse(c *call, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addEntry(c).Broken = true
	if errors.Is(err, errUnknownHost) && (c.token != "" || c.carriesSecret()) {
		s.violate(c, "a token is sent to a host that is not plex.tv's")
	}
}

// response returns r as the response that net/http would have received, with the
// faults of the body.
func (r reply) response(s *Server, req *http.Request, f *Fault) *http.Response {
	header := http.Header{}
	for name, values := range r.header {
		if values != nil {
			header[name] = values
		}
	}
	resp := &http.Response{
		Status:     strings.TrimSpace(strconv.Itoa(r.status) + " " + http.StatusText(r.status)),
		StatusCode: r.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        header,
		ContentLength: int64(len(r.body)),
		Request:       req,
	}
	b := &body{s: s, ctx: req.Context(), url: req.URL, fault: f, rest: r.body}
	switch {
	case f.Endless:
		resp.ContentLength = -1
	case f.Truncate, f.ResetBody:
		b.rest = r.body[:len(r.body)/2]
	default:
		if f.Drip == 0 {
			resp.Body = io.NopCloser(bytes.NewReader(r.body))
			if header.Get("Content-Length") == "" && len(r.body) > 0 {
				header.Set("Content-Length", strconv.Itoa(len(r.body)))
			}
		}
	}
	if resp.Body == nil {
		resp.Body = b
	}
	return resp
}

// body is a response body with a fault.
type body struct {
	s     *Server
	ctx   context.Context
	url   *url.URL
	fault *Fault
	rest  []byte
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.fault.Drip > 0 {
		if err := b.s.wait(b.ctx, b.fault.Drip); err != nil {
			return 0, err
		}
		p = p[:1]
	}
	if len(b.rest) == 0 {
		switch {
		case b.fault.Endless:
			for i := range p {
				p[i] = ' '
			}
			return len(p), nil
		case b.fault.Truncate:
			return 0, io.ErrUnexpectedEOF
		case b.fault.ResetBody:
			return 0, connectionReset(b.url)
		}
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) Close() error { return nil }

// connectionReset returns the error of a connection that broke during an answer.
func connectionReset(u *url.URL) error {
	return &net.OpError{Op: "read", Net: "tcp", Addr: tcpAddr(u), Err: os.NewSyscallError("read", syscall.ECONNRESET)}
}

// connectionRefused returns the error of an address at which nothing listens.
func connectionRefused(u *url.URL) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: tcpAddr(u), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// tcpAddr returns the address of u for an error. If the host is a name, it is an
// address reserved for documentation.
func tcpAddr(u *url.URL) net.Addr {
	ip := net.ParseIP(u.Hostname())
	if ip == nil {
		ip = net.IPv4(203, 0, 113, 1)
	}
	port, _ := strconv.Atoi(portOf(u))
	return &net.TCPAddr{IP: ip, Port: port}
}

// portOf returns the port of u, or the default port of its scheme.
func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// hostname returns host without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}
