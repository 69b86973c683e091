package plextest

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
)

// quietLog discards what net/http logs about connections that a fault broke.
var quietLog = log.New(io.Discard, "", 0)

// handler answers requests over a socket.
type handler struct{ s *Server }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	c, err := h.s.newCall(r, scheme, r.Host, siteAll)
	if err != nil {
		return // the client has disconnected
	}
	h.s.serve(w, c)
}

// serveMedia answers as the media server at conn.
func (s *Server) serveMedia(w http.ResponseWriter, r *http.Request, conn *Connection) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	c, err := s.newCall(r, scheme, r.Host, siteMedia)
	if err != nil {
		return
	}
	c.conn, c.media = conn, conn.server
	s.serve(w, c)
}

// serve writes the answer to c, with its fault, to w.
func (s *Server) serve(w http.ResponseWriter, c *call) {
	answer, f, err := s.handle(c)
	if err != nil {
		if errors.Is(err, errReset) {
			reset(w)
		}
		panic(http.ErrAbortHandler) // makes net/http close the connection without an answer
	}
	header := w.Header()
	for name, values := range answer.header {
		header[name] = values
	}
	if _, set := header["Content-Type"]; !set {
		header["Content-Type"] = nil // keeps net/http from guessing it
	}
	body := answer.body
	if !f.Endless && answer.status != http.StatusNoContent && answer.status != http.StatusNotModified {
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(answer.status)
	if c.method == http.MethodHead {
		return
	}
	if f.Truncate || f.ResetBody {
		body = body[:len(body)/2]
	}
	step := max(len(body), 1)
	if f.Drip > 0 {
		step = 1
	}
	for len(body) > 0 || f.Endless {
		if f.Drip > 0 {
			if err := s.wait(c.ctx, f.Drip); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		chunk := body[:min(step, len(body))]
		body = body[len(chunk):]
		if len(chunk) == 0 {
			chunk = []byte("                                ")
		}
		if _, err := w.Write(chunk); err != nil {
			return
		}
		if f.Drip > 0 || f.Endless {
			_ = http.NewResponseController(w).Flush()
		}
		if c.ctx.Err() != nil {
			return
		}
	}
	if f.Truncate || f.ResetBody {
		_ = http.NewResponseController(w).Flush()
		if f.ResetBody {
			reset(w)
		}
		panic(http.ErrAbortHandler)
	}
}

// reset closes the connection so that the client sees a reset instead of an
// orderly end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	switch raw := raw.(type) {
	case *net.TCPConn:
		_ = raw.SetLinger(0)
	case interface{ Reset() }: // a wireEnd
		raw.Reset()
	}
	_ = raw.Close()
}
