package plextest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// wireBuffer is the number of bytes that each direction of a wire buffers. An
// unbuffered pipe would deadlock in a failing TLS handshake, where both sides
// write at the same time.
const wireBuffer = 64 << 10

// A wire is a connection in memory. Its ends wait only on channels and timers, so
// that a synctest bubble recognizes them as blocked.
type wire struct {
	mu      sync.Mutex    // guards changed and both ends
	changed chan struct{} // closed and replaced at every change
}

// A wireEnd is one end of a wire, and a net.Conn.
type wireEnd struct {
	*wire
	peer          *wireEnd
	local, remote net.Addr

	received []byte
	closed   bool
	reset    bool // this end was closed by Reset, so that the peer sees a reset

	readUntil, writeUntil time.Time
}

// newWire returns the two ends of a connection between near and far.
func newWire(near, far net.Addr) (*wireEnd, *wireEnd) {
	w := &wire{changed: make(chan struct{})}
	a := &wireEnd{wire: w, local: near, remote: far}
	b := &wireEnd{wire: w, local: far, remote: near, peer: a}
	a.peer = b
	return a, b
}

// broadcast wakes all goroutines in await. w.mu must be held.
func (w *wire) broadcast() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await releases w.mu until the next broadcast or the deadline. w.mu must be
// held, and is held again afterwards.
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

// passed reports whether a deadline is set and has passed.
func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (e *wireEnd) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, e.opError("read", net.ErrClosed)
		case passed(e.readUntil):
			return 0, e.opError("read", os.ErrDeadlineExceeded)
		case e.peer.reset:
			return 0, e.opError("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case len(e.received) > 0 || len(p) == 0:
			n := copy(p, e.received)
			e.received = e.received[n:]
			e.broadcast()
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
			return written, e.opError("write", net.ErrClosed)
		case passed(e.writeUntil):
			return written, e.opError("write", os.ErrDeadlineExceeded)
		case e.peer.closed:
			return written, e.opError("write", os.NewSyscallError("write", syscall.EPIPE))
		}
		if room := min(wireBuffer-len(e.peer.received), len(p)-written); room > 0 {
			e.peer.received = append(e.peer.received, p[written:written+room]...)
			written += room
			e.broadcast()
		}
		if written == len(p) {
			return written, nil
		}
		e.await(e.writeUntil)
	}
}

// opError wraps err as the error of an operation on a TCP connection.
func (e *wireEnd) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: e.local, Addr: e.remote, Err: err}
}

func (e *wireEnd) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.broadcast()
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
	e.broadcast()
	return nil
}

func (e *wireEnd) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readUntil = t
	e.broadcast()
	return nil
}

func (e *wireEnd) SetWriteDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeUntil = t
	e.broadcast()
	return nil
}
