package plextest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// wireBuffer is how much a wire holds before a writer has to wait. A pipe
// that holds nothing is not enough: in a TLS handshake that fails, both sides
// write at once.
const wireBuffer = 64 << 10

// A wire is a connection in memory. Its two ends wait on a channel and on
// timers only, so that a synctest bubble sees them wait.
type wire struct {
	mu      sync.Mutex    // guards all below and both ends
	changed chan struct{} // closed and replaced at every change
}

// A wireEnd is a net.Conn.
type wireEnd struct {
	*wire
	peer          *wireEnd
	local, remote net.Addr

	received []byte
	closed   bool
	reset    bool // by this end: the peer sees a reset, not an end

	readUntil, writeUntil time.Time
}

// newWire connects two addresses and returns both ends.
func newWire(near, far net.Addr) (*wireEnd, *wireEnd) {
	w := &wire{changed: make(chan struct{})}
	a := &wireEnd{wire: w, local: near, remote: far}
	b := &wireEnd{wire: w, local: far, remote: near, peer: a}
	a.peer = b
	return a, b
}

// tell wakes everybody who waits. w.mu is held.
func (w *wire) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await lets go of w.mu until something changes, or a deadline passes.
func (w *wire) await(deadline time.Time) {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	if deadline.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func past(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (e *wireEnd) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, e.fail("read", net.ErrClosed)
		case past(e.readUntil):
			return 0, e.fail("read", os.ErrDeadlineExceeded)
		case e.peer.reset:
			return 0, e.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case len(e.received) > 0 || len(p) == 0:
			n := copy(p, e.received)
			e.received = e.received[n:]
			e.tell()
			return n, nil
		case e.peer.closed:
			return 0, io.EOF
		}
		e.await(e.readUntil)
	}
}

func (e *wireEnd) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	written := 0
	for {
		switch {
		case e.closed:
			return written, e.fail("write", net.ErrClosed)
		case past(e.writeUntil):
			return written, e.fail("write", os.ErrDeadlineExceeded)
		case e.peer.closed:
			return written, e.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		}
		if room := min(wireBuffer-len(e.peer.received), len(p)-written); room > 0 {
			e.peer.received = append(e.peer.received, p[written:written+room]...)
			written += room
			e.tell()
		}
		if written == len(p) {
			return written, nil
		}
		e.await(e.writeUntil)
	}
}

func (e *wireEnd) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: e.local, Addr: e.remote, Err: err}
}

func (e *wireEnd) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.tell()
	return nil
}

// Reset closes the connection so that the other end sees a reset.
func (e *wireEnd) Reset() {
	e.mu.Lock()
	e.reset = true
	e.mu.Unlock()
	_ = e.Close()
}

func (e *wireEnd) LocalAddr() net.Addr  { return e.local }
func (e *wireEnd) RemoteAddr() net.Addr { return e.remote }

func (e *wireEnd) SetDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readUntil, e.writeUntil = t, t
	e.tell()
	return nil
}

func (e *wireEnd) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readUntil = t
	e.tell()
	return nil
}

func (e *wireEnd) SetWriteDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeUntil = t
	e.tell()
	return nil
}
