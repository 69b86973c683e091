// Package plextest is a fake plex.tv, for tests and for work without an
// account. It keeps state as plex.tv does (PINs, users, tokens), refuses what
// plex.tv refuses, fails on demand, and notes what a client must never do.
//
// # In a test
//
// [NewServer] makes a fake; [Server.Client] is an HTTP client for which
// https://plex.tv, https://clients.plex.tv and https://app.plex.tv are that
// fake. Nothing listens, and no other host can be reached by it.
//
//	srv := plextest.NewServer()
//	defer srv.Close()
//	alice := srv.AddUser(plextest.User{Username: "alice"})
//	client := srv.Client() // give it to the program under test
//	…                      // which makes a PIN and shows its code
//	srv.Approve(code, alice)
//	…                      // and now finds a token
//	fmt.Println(srv.Violations()) // empty for a polite client
//
// The in-process client works inside a testing/synctest bubble: a fifteen
// minute wait takes no time. A request runs in the goroutine that sends it,
// waits only on its own context and timers, and reads the clock by time.Now.
//
// # Which way in
//
//   - [Server.Client]: in process, for most tests. It knows names, addresses,
//     certificates and broken connections by the errors that they give.
//   - [Server.Transport]: an *http.Transport with TLS and connections of its
//     own, in memory, for programs that look below HTTP. It works in a bubble
//     too.
//   - [Server.URL]: a listener on loopback. Its base URL plays plex.tv,
//     clients.plex.tv and app.plex.tv in one. [Server.Handler] is the same for
//     a listener of one's own, [Server.TLSConfig] makes that one https.
//   - The program cmd/fakeplex: for clients in any language.
//
// The pages /pin, /link and /auth let a person, or a browser under test, type
// a code and approve it as one of the users.
//
// # Who and what
//
// [Server.AddUser] makes accounts; [User.HomeAdmin] and [User.HomePIN] make a
// Plex Home of them. [Server.Approve], [Server.Expire], [Server.Revoke] and
// [Server.RevokeDevice] do what people do at plex.tv. [Server.AddMediaServer]
// gives an account a media server, or a player, with addresses that are good,
// silent, slow or somebody else's; [Server.SetRebindProtection] makes the
// fake's resolver withhold private names. Device keys and their JWTs are
// played whole: nonces, signatures, two keys of plex.tv's own that rotate by
// [Server.RotateKeys].
//
// # Faults and quirks
//
// [Server.Inject] makes the next requests fail in a chosen way: a status, a
// broken connection, a body cut short. [Server.SetQuirks] changes the shape of
// good answers. [Server.SetClock] makes plex.tv's clock differ from ours.
//
// # What it saw
//
// [Server.Requests] is a journal without secrets, [Server.Violations] the
// list of what no client may do: a token in a URL, a PIN polled too often, a
// token shown to a host that has no right to it, and so on.
//
// All long-lived tokens that the fake makes start with "FAKE_", so that one is
// recognized wherever it turns up. What it makes repeats from run to run,
// unless [Server.Randomize] was called; its certificates never do.
//
// # How true it is
//
// The fake follows Plex's published documentation, and where that is silent
// what public clients recorded up to 2026. What nobody recorded is a guess:
// the code in the envelopes of 498 and 422, the limit of nonces, and that a
// PIN with a key shows no token to a look without a device JWT.
package plextest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Server is a fake plex.tv. All its methods are safe for concurrent use. It
// is made by [NewServer].
type Server struct {
	mu sync.Mutex // guards all below; never held while waiting

	closed  bool
	waiters map[chan struct{}]bool // closed by Close, so that nothing hangs on
	offset  time.Duration          // plex.tv's clock minus ours
	quirks  Quirks
	seed    []byte
	serial  uint64
	answers uint64 // of the API, for X-Request-Id

	faults []*fault
	users  []*User

	pins                  []*pin
	pinsByID              map[string]*pin
	pinsByCode            map[string]*pin
	shortLife, strongLife time.Duration

	tokens   map[string]*token
	accounts map[account]*token // the live one of each
	access   map[access]*token  // the live one of each
	rejected map[string]bool    // tokens that were answered with 401

	keys        []signingKey
	devices     map[string]*device // by client identifier
	thumbprints map[string]string  // of registered keys, and by which client identifier
	nonces      map[string]time.Time
	nonceTimes  map[string][]time.Time // by client identifier, of the last minute

	media            []*MediaServer
	hosts            map[netip.AddrPort]*Connection
	former           map[netip.AddrPort]bool // where nobody listens any more
	names            map[string]netip.Addr
	rebindProtection bool
	pipes            map[*pipe]bool
	authority        *authority

	journal journal

	listener net.Listener
	http     *http.Server
	conns    sync.WaitGroup
}

// NewServer returns a fake plex.tv without users. Nothing is started and
// nothing listens yet.
func NewServer() *Server {
	return &Server{
		waiters:     map[chan struct{}]bool{},
		pinsByID:    map[string]*pin{},
		pinsByCode:  map[string]*pin{},
		shortLife:   shortLife,
		strongLife:  strongLife,
		tokens:      map[string]*token{},
		accounts:    map[account]*token{},
		access:      map[access]*token{},
		rejected:    map[string]bool{},
		devices:     map[string]*device{},
		thumbprints: map[string]string{},
		nonces:      map[string]time.Time{},
		nonceTimes:  map[string][]time.Time{},
		pipes:       map[*pipe]bool{},
		journal:     newJournal(),
	}
}

// Client returns an HTTP client whose requests are answered in process.
// https://plex.tv, https://clients.plex.tv and https://app.plex.tv are the
// fake, as is the address of [Server.URL] once that was asked for. Every
// other host is refused with an error: nothing reaches a network. It follows
// redirects as any http.Client does and has no time limit of its own.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: roundTripper{s}}
}

// Handler returns the fake as one origin that plays plex.tv, clients.plex.tv
// and app.plex.tv, whatever the Host of a request. It serves from the root.
func (s *Server) Handler() http.Handler { return handler{s} }

// URL returns the base URL of the fake on a loopback port, without a slash at
// its end. The first call starts the listener, [Server.Close] ends it. It
// panics where the machine has no loopback network, as httptest does. It does
// not belong in a synctest bubble: sockets do not run on the fake clock.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			if l, err = net.Listen("tcp", "[::1]:0"); err != nil {
				panic("plextest: no loopback network: " + err.Error())
			}
		}
		s.listener = l
		if s.closed {
			_ = l.Close()
		} else {
			s.http = &http.Server{Handler: handler{s}, ConnState: s.countConns, ErrorLog: quietLog}
			s.conns.Go(func() { _ = s.http.Serve(l) })
		}
	}
	return "http://" + s.listener.Addr().String()
}

// countConns lets Close wait for the goroutine of each connection.
func (s *Server) countConns(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
}

// Close ends the listener, every connection and every request that hangs, and
// waits for them. Requests after it find nobody. Further calls do nothing.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for w := range s.waiters {
		close(w)
	}
	clear(s.waiters)
	server := s.http
	pipes := slices.Collect(maps.Keys(s.pipes))
	s.mu.Unlock()
	for _, p := range pipes {
		p.end()
	}
	if server != nil {
		_ = server.Close()
		s.conns.Wait()
	}
}

// SetClock sets how far plex.tv's clock is from ours: positive is ahead. It
// moves the dates that the fake writes and the ones that it checks in JWTs.
// Lifetimes are not touched: a PIN lives as long as before.
func (s *Server) SetClock(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = offset
}

// Randomize makes all further codes, ids and tokens random. By default they
// are the same in every run, which a fake that outlives its clients' stores
// should not have.
func (s *Server) Randomize() {
	seed := make([]byte, 16)
	_, _ = rand.Read(seed) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seed = seed
}

// next returns fresh bytes, all of them different from earlier ones.
// s.mu is held.
func (s *Server) next(what string) []byte {
	s.serial++
	h := sha256.New()
	h.Write(s.seed)
	h.Write([]byte(what))
	h.Write(binary.BigEndian.AppendUint64(nil, s.serial))
	return h.Sum(nil)
}

// nextText returns n fresh characters of an alphabet. s.mu is held.
func (s *Server) nextText(what, alphabet string, n int) string {
	text := make([]byte, 0, n)
	for len(text) < n {
		for _, b := range s.next(what) {
			if len(text) < n {
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(text)
}

// uuid writes sixteen bytes or more as a UUID.
func uuid(b []byte) string {
	h := hex.EncodeToString(b[:16])
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

// canary makes a secret that is recognizable wherever it turns up, in the
// form of plex.tv's own: 20 characters of [A-Za-z0-9_-]. s.mu is held.
func (s *Server) canary(prefix string) string {
	return "FAKE_" + prefix + "-" + base64.RawURLEncoding.EncodeToString(s.next(prefix))[:11]
}

var errClosed = errors.New("plextest: the fake is closed")

// wait waits for d, or for ever if d is negative. It ends early with ctx and
// with Close.
func (s *Server) wait(ctx context.Context, d time.Duration) error {
	// The channel is made here and not by NewServer: a synctest bubble waits
	// durably only on channels of its own.
	done := make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.waiters[done] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiters, done)
		s.mu.Unlock()
	}()
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
		return errClosed
	case <-timer:
		return nil
	}
}
