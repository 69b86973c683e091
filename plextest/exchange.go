package plextest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// errReset is a connection that breaks without an answer.
var errReset = errors.New("plextest: connection reset")

// exchange takes a call through the journal, its fault and the true answer.
// Both ways in, in process and over a socket, use it; they differ in how they
// play the errors errReset, errClosed and that of the context, and the faults
// in the body. The fault is returned for that, nil for none.
func (s *Server) exchange(c *call) (reply, *Fault, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return reply{}, nil, errClosed
	}
	c.quirks = s.quirks
	if c.quirks.XMLAlways {
		c.wantsJSON = false
	}
	entry := s.begin(c)
	f := s.takeFault(c)
	if f == nil {
		f = &Fault{}
	}
	if !c.inProcess && (f.Hang || f.Delay > 0) {
		s.endLook(c) // a client that gives up may be back before its socket tells
	}
	s.mu.Unlock()

	r, err := s.act(c, f)

	s.mu.Lock()
	s.end(c, entry, r, err)
	if err == nil && c.isAPI() && c.site != siteMedia && !f.replaces() {
		s.adorn(c, &r)
	}
	date := time.Now().Add(s.offset)
	s.mu.Unlock()
	if err != nil {
		return reply{}, f, err
	}
	if _, set := r.header["Date"]; !set {
		r.header.Set("Date", date.UTC().Format(http.TimeFormat))
	}
	f.decorate(&r)
	return r, f, nil
}

func (s *Server) act(c *call, f *Fault) (reply, error) {
	if f.Delay > 0 {
		if err := s.wait(c.ctx, f.Delay); err != nil {
			return reply{}, err
		}
	}
	switch {
	case f.Hang:
		return reply{}, s.wait(c.ctx, -1)
	case f.Err != nil:
		return reply{}, f.Err
	case f.Reset:
		return reply{}, errReset
	}
	if err := c.ctx.Err(); err != nil {
		return reply{}, err
	}
	var r reply
	switch {
	case f.replaces():
		r = f.reply(c)
	case c.quirks.CORS && c.method == http.MethodOptions && c.isAPI():
		r = newReply(http.StatusNoContent, "", nil)
	default:
		r = s.answer(c)
	}
	if c.quirks.CORS && c.isAPI() {
		r.header.Set("Access-Control-Allow-Origin", "*")
		r.header.Set("Access-Control-Expose-Headers", "Location")
		if c.method == http.MethodOptions {
			r.header.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
			r.header.Set("Access-Control-Allow-Headers", c.header.Get("Access-Control-Request-Headers"))
		}
	}
	if f.ResetAfter {
		return reply{status: r.status}, errReset
	}
	return r, nil
}

// adorn adds the headers that plex.tv's API was seen to send (2020). No client
// needs them, and If-None-Match is not looked at. An answer that a fault has made may
// be anybody's, and goes without.
// s.mu is held.
func (s *Server) adorn(c *call, r *reply) {
	s.answers++
	id := sha256.Sum256(fmt.Appendf(nil, "%srequest %d", s.seed, s.answers))
	r.header.Set("X-Request-Id", uuid(id[:]))
	r.header.Set("X-Runtime", fmt.Sprintf("%.6f", time.Since(c.start).Seconds()))
	r.header.Set("Vary", "Origin")
	if r.status == http.StatusOK || r.status == http.StatusCreated {
		r.header.Set("Cache-Control", "max-age=0, private, must-revalidate")
		r.header.Set("ETag", fmt.Sprintf(`W/"%.16x"`, sha256.Sum256(r.body)))
	}
}
