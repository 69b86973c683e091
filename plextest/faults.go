package plextest

import (
	"fmt"
	"net/http"
	"path"
	"time"
)

// Fault selects requests and says how they fail. The zero value matches the next
// request and does not change its answer.
//
// Status, Code, Body, ContentType and Redirect replace the answer, and the request
// has no effect. The other fields change the answer or its replacement.
type Fault struct {
	Method string // "" matches any method
	Host   string // as the client wrote it, with or without port; "" matches any host
	Path   string // a pattern of path.Match for the URL's path, like /api/v2/pins/*; "" matches any path

	Skip  int           // number of matching requests that pass before the first one fails
	Times int           // number of requests that fail; 0 means one, and a negative number all until ResetFaults
	For   time.Duration // time from Inject after which the fault ends; 0 means no limit. Combine it with Times -1 for an outage

	Status  int    // status of the answer; 0 means the status of Code or Redirect, or else 200
	Code    int    // answer with plex.tv's error envelope for this code, in JSON or XML
	Message string // message in that envelope; "" means the usual one for the code

	Body        string
	ContentType string // Content-Type of Body; "" sends no such header
	Header      http.Header
	DropHeaders []string // names of headers to omit; may include Date and Content-Type
	Redirect    string   // Location to redirect to; the status is 302 unless Status is set

	Delay      time.Duration // wait before the request is handled
	Hang       bool          // do not answer; the request ends only with its context
	Reset      bool          // break the connection before the request is handled
	ResetAfter bool          // handle the request, then break the connection
	Truncate   bool          // end the body in the middle, with an unexpected EOF
	ResetBody  bool          // break the connection in the middle of the body
	Drip       time.Duration // wait before each byte of the body
	Endless    bool          // never end the body

	// Err is the error that the in-process client returns instead of an answer,
	// for example a *net.DNSError. The request is not handled. Over a socket the
	// connection breaks instead.
	Err error
}

// A fault is a Fault that was injected.
type fault struct {
	Fault
	left  int       // requests that are still to fail; negative means all
	since time.Time // when it was injected
}

// Inject makes matching requests fail. If several faults match a request, the one
// that was injected first applies, until it is used up. A pattern that is not
// valid for path.Match matches nothing.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := f.Times
	if left == 0 {
		left = 1
	}
	s.faults = append(s.faults, &fault{Fault: f, left: left, since: time.Now()})
}

// ResetFaults removes all faults.
func (s *Server) ResetFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault returns the fault that applies to c and counts its use. It returns nil
// if no fault applies. s.mu must be held.
func (s *Server) takeFault(c *call) *Fault {
	for _, f := range s.faults {
		if f.left == 0 || !f.matches(c) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.left > 0 {
			f.left--
		}
		return &f.Fault
	}
	return nil
}

// matches reports whether f can apply to c, apart from Skip and Times.
func (f *fault) matches(c *call) bool {
	if f.For > 0 && c.start.Sub(f.since) >= f.For {
		return false
	}
	if f.Method != "" && f.Method != c.method {
		return false
	}
	if f.Host != "" && f.Host != c.host && f.Host != hostname(c.host) {
		return false
	}
	if f.Path != "" {
		if ok, err := path.Match(f.Path, c.path); err != nil || !ok {
			return false
		}
	}
	return true
}

// replaces reports whether the fault replaces the server's answer.
func (f *Fault) replaces() bool {
	return f.Status != 0 || f.Code != 0 || f.Body != "" || f.ContentType != "" || f.Redirect != ""
}

// reply returns the answer that replaces the server's.
func (f *Fault) reply(c *call) reply {
	status := f.Status
	var r reply
	switch {
	case f.Code != 0:
		known, ok := codes[f.Code]
		if !ok {
			known.status, known.message = 400, fmt.Sprintf("Error %d", f.Code)
		}
		if status == 0 {
			status = known.status
		}
		if f.Message != "" {
			known.message = f.Message
		}
		r = c.failWith(status, f.Code, known.message)
		if f.Code == 1001 && c.token != "" {
			c.rejects = true
		}
	default:
		if status == 0 {
			status = http.StatusOK
			if f.Redirect != "" {
				status = http.StatusFound
			}
		}
		r = newReply(status, f.ContentType, []byte(f.Body))
	}
	if f.Redirect != "" {
		r.header.Set("Location", f.Redirect)
	}
	return r
}

// applyHeaders sets and removes the headers of the fault.
func (f *Fault) applyHeaders(r *reply) {
	for name, values := range f.Header {
		r.header[http.CanonicalHeaderKey(name)] = values
	}
	for _, name := range f.DropHeaders {
		r.header[http.CanonicalHeaderKey(name)] = nil // keeps net/http from adding its own
	}
}
