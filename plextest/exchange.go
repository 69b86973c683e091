package plextest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// errReset means that the connection breaks without an answer.
var errReset = errors.New("plextest: connection reset")

// handle records c in the journal, applies its fault, and returns the answer. The
// in-process client and the HTTP handler both use it.
//
// The caller turns an error (errReset, errClosed, or the context's) into a broken
// connection. It also applies the faults of the body, for which handle returns
// the fault. The fault is never nil if the error is nil.
func (s *Server) handle(c *call) (reply, *Fault, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return reply{}, nil, errClosed
	}
	c.quirks = s.quirks
	if c.quirks.XMLAlways {
		c.wantsJSON = false
	}
	entry := s.beginEntry(c)
	f := s.takeFault(c)
	if f == nil {
		f = &Fault{}
	}
	if !c.inProcess && (f.Hang || f.Delay > 0) {
		s.endPoll(c) // a client that gives up may poll again before its socket closes
	}
	s.mu.Unlock()

	r, err := s.perform(c, f)

	s.mu.Lock()
	s.endEntry(c, entry, r, err)
	if err == nil && c.isAPI() && c.site != siteMedia && !f.replaces() {
		s.addAPIHeaders(c, &r)
	}
	date := time.Now().Add(s.offset)
	s.mu.Unlock()
	if err != nil {
		return reply{}, f, err
	}
	if _, set := r.header["Date"]; !set {
		r.header.Set("Date", date.UTC().Format(http.TimeFormat))
	}
	f.applyHeaders(&r)
	return r, f, nil
}

// perform applies the faults that act before or instead of the answer, and
// returns the answer.
func (s *Server) perform(c *call, f *Fault) (reply, error) {
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

// addAPIHeaders adds the headers that plex.tv's API sent in 2020. No client needs
// them, and the fake ignores If-None-Match. An answer of a fault has none of
// them, because it may come from a proxy. s.mu must be held.
func (s *Server) addAPIHeaders(c *call, r *reply) {
	s.answered++
	id := sha256.Sum256(fmt.Appendf(nil, "%srequest %d", s.seed, s.answered))
	r.header.Set("X-Request-Id", uuid(id[:]))
	r.header.Set("X-Runtime", fmt.Sprintf("%.6f", time.Since(c.start).Seconds()))
	r.header.Set("Vary", "Origin")
	if r.status == http.StatusOK || r.status == http.StatusCreated {
		r.header.Set("Cache-Control", "max-age=0, private, must-revalidate")
		r.header.Set("ETag", fmt.Sprintf(`W/"%.16x"`, sha256.Sum256(r.body)))
	}
}
