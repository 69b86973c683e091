package plextest

import (
	"fmt"
	"net/http"
	"path"
	"time"
)

// Fault says how requests fail, and which. Its zero value matches the next
// request and does nothing to it.
//
// Status, Code, Body, ContentType and Redirect put an answer in the place of
// the true one: the request has no effect. The other fields act on the true
// answer, or on the one put in its place.
type Fault struct {
	Method string // "" is any
	Host   string // as the client wrote it, with or without port; "" is any
	Path   string // a pattern of path.Match for the URL's path, like /api/v2/pins/*; "" is any

	Skip  int           // let this many matching requests pass first
	Times int           // how often: 0 is once, negative until ResetFaults
	For   time.Duration // only this long from Inject on; 0 is no limit. With Times -1, an outage

	Status  int    // of the answer; 0: the one of Code, of Redirect, or 200
	Code    int    // plex.tv's error envelope with this code, in JSON or XML
	Message string // in that envelope; "": plex.tv's own for the code

	Body        string
	ContentType string // of Body; "": none is sent
	Header      http.Header
	DropHeaders []string // names not to send; with Date or Content-Type none at all
	Redirect    string   // Location, with status 302 unless Status says otherwise

	Delay      time.Duration // before the request is handled
	Hang       bool          // never answered: only the end of its context ends the request
	Reset      bool          // the connection breaks before anything is handled
	ResetAfter bool          // the request takes effect, then the connection breaks
	Truncate   bool          // the body ends in the middle, with an unexpected EOF
	ResetBody  bool          // the connection breaks in the middle of the body
	Drip       time.Duration // waits this long before each byte of the body
	Endless    bool          // the body never ends

	// Err is what the in-process client returns in the place of an answer,
	// for example a *net.DNSError; nothing is handled. Over a socket the
	// connection breaks.
	Err error
}

type fault struct {
	Fault
	left  int
	since time.Time
}

// Inject makes requests fail. Of several faults that match, the one injected
// first is used, until it is used up. A pattern that path.Match refuses
// matches nothing.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := f.Times
	if left == 0 {
		left = 1
	}
	s.faults = append(s.faults, &fault{Fault: f, left: left, since: time.Now()})
}

// ResetFaults removes all faults that are left.
func (s *Server) ResetFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault finds the fault of a call and uses it once; nil if there is none.
// s.mu is held.
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

// replaces reports whether the fault answers in the server's place.
func (f *Fault) replaces() bool {
	return f.Status != 0 || f.Code != 0 || f.Body != "" || f.ContentType != "" || f.Redirect != ""
}

// reply is the answer of a fault that replaces the true one.
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

// decorate applies the fault's headers.
func (f *Fault) decorate(r *reply) {
	for name, values := range f.Header {
		r.header[http.CanonicalHeaderKey(name)] = values
	}
	for _, name := range f.DropHeaders {
		r.header[http.CanonicalHeaderKey(name)] = nil // net/http then adds none of its own
	}
}
