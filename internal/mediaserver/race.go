package mediaserver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// nameHeadStart is how long a plex.direct name has to lead somewhere before the address
// in it is dialled as well. A resolver that does not work keeps silent for longer.
const nameHeadStart = 500 * time.Millisecond

// race dials a plex.direct name and, if the name does not lead to the address in it
// soon, that address.
type race struct {
	ip      netip.Addr        // the address in the name
	byIP    string            // ip with its port, to be dialled
	start   func(addr string) // dials addr and sends the result
	results chan dialResult
	running int

	startedByIP bool
	nameErr     error    // why the name cannot be dialled
	elsewhere   net.Conn // to where the name leads, if not to ip
	misled      bool     // the name leads nowhere or elsewhere
	wonByIP     bool
}

// dialResult is how one of the two dials ended.
type dialResult struct {
	conn net.Conn
	err  error
	byIP bool
}

// run returns the connection to use.
func (r *race) run(name string) (net.Conn, error) {
	r.start(name)
	headStart := time.NewTimer(nameHeadStart)
	defer headStart.Stop()
	for r.running > 0 {
		select {
		case <-headStart.C:
			r.dialByIP()
		case got := <-r.results:
			r.running--
			if conn := r.take(got); conn != nil {
				return conn, nil
			}
		}
	}
	if r.elsewhere != nil { // its certificate decides
		return r.elsewhere, nil
	}
	return nil, r.nameErr
}

// dialByIP starts dialling the address in the name, once.
func (r *race) dialByIP() {
	if !r.startedByIP {
		r.startedByIP = true
		r.start(r.byIP)
	}
}

// take returns the connection to use, nil if it is not decided yet.
func (r *race) take(got dialResult) net.Conn {
	switch {
	case got.err == nil && (got.leadsTo(r.ip) || got.byIP && r.elsewhere == nil): // the latter if it is unknown where this dialer leads
		closeConn(r.elsewhere)
		r.wonByIP = got.byIP
		return got.conn
	case got.byIP:
		closeConn(got.conn)
	case got.err == nil:
		r.elsewhere, r.misled = got.conn, true
		r.dialByIP()
	default:
		r.nameErr = got.err
		if r.misled = failedElsewhere(got.err, r.ip); r.misled {
			r.dialByIP()
		}
	}
	return nil
}

// end gives up the dials that still run, and closes what they bring.
func (r *race) end(stop context.CancelFunc) {
	stop()
	if r.running == 0 {
		return
	}
	go func() {
		for range r.running {
			closeConn((<-r.results).conn)
		}
	}()
}

// leadsTo reports whether the connection is to ip, as far as can be seen.
func (r dialResult) leadsTo(ip netip.Addr) bool {
	at, ok := remoteIP(r.conn)
	return !ok || at == ip
}

// failedElsewhere reports whether a name that could not be dialled leads nowhere, or to
// another address than ip.
func failedElsewhere(err error, ip netip.Addr) bool {
	var op *net.OpError
	if errors.As(err, new(*net.DNSError)) || !errors.As(err, &op) || op.Addr == nil {
		return true
	}
	at, parseErr := netip.ParseAddrPort(op.Addr.String())
	return parseErr != nil || at.Addr().Unmap().WithZone("") != ip
}

// closeConn closes conn, which may be nil.
func closeConn(conn net.Conn) {
	if conn != nil {
		conn.Close()
	}
}
