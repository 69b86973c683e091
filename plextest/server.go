// Package plextest is a fake plex.tv for tests, and for development without an
// account. It keeps PINs, users and tokens, and refuses the requests that plex.tv
// refuses. It fails on demand, and records what a client must never do.
//
// # In a test
//
// [NewServer] makes a fake. [Server.Client] returns an HTTP client that reaches
// the fake under https://plex.tv, https://clients.plex.tv and
// https://app.plex.tv. The client can reach no other host, and nothing listens.
//
//	srv := plextest.NewServer()
//	defer srv.Close()
//	alice := srv.AddUser(plextest.User{Username: "alice"})
//	client := srv.Client() // give it to the program under test
//	…                      // the program creates a PIN and shows its code
//	srv.Approve(code, alice)
//	…                      // the program finds a token
//	fmt.Println(srv.Violations()) // empty if the program behaves well
//
// The in-process client works in a testing/synctest bubble, where a wait of
// fifteen minutes takes no time. A request runs in the goroutine that sends it.
// It waits only on its own context and timers, and reads the clock by time.Now.
//
// # Ways to reach the fake
//
//   - [Server.Client] works in process and suits most tests. It returns the
//     errors of a real network for bad names, addresses, certificates and
//     connections.
//   - [Server.Transport] is an *http.Transport with real TLS over connections in
//     memory. It suits programs that work below HTTP, and also works in a bubble.
//   - [Server.URL] starts a listener on loopback. Its base URL stands for
//     plex.tv, clients.plex.tv and app.plex.tv at once. [Server.Handler] does the
//     same behind your own listener, and [Server.TLSConfig] adds TLS to it.
//   - The program cmd/fakeplex serves clients in any language.
//
// On the pages /pin, /link and /auth a person, or a browser under test, types a
// code and approves it as one of the users.
//
// # Users and media servers
//
// [Server.AddUser] adds accounts. [User.HomeAdmin] and [User.HomePIN] join them
// in a Plex Home. [Server.Approve], [Server.Expire], [Server.Revoke] and
// [Server.RevokeDevice] do what people do at plex.tv.
//
// [Server.AddMediaServer] gives an account a media server or a player. Its
// addresses can be good, silent, slow, or belong to another server.
// [Server.SetRebindProtection] makes the fake's resolver withhold names of
// private addresses.
//
// Device keys and their JWTs work completely: nonces, signatures, and plex.tv's
// own two signing keys, which [Server.RotateKeys] rotates.
//
// # Faults and quirks
//
// [Server.Inject] makes the next requests fail in a chosen way, for example with
// a status, a broken connection or a truncated body. [Server.SetQuirks] changes
// the form of successful answers. [Server.SetClock] makes plex.tv's clock differ
// from the local one.
//
// # Journal and violations
//
// [Server.Requests] returns a journal of all requests, without secrets.
// [Server.Violations] lists what no client may do, for example: a token in a URL,
// a PIN polled too often, or a token shown to a host that has no right to it.
//
// All long-lived tokens of the fake start with "FAKE_", so that a test recognizes
// them in any output. Codes, ids and tokens are the same in every run, unless
// the test calls [Server.Randomize]. Certificates differ in every run.
//
// # Accuracy
//
// The fake follows Plex's published documentation. Where that is silent, it
// follows what public clients recorded up to 2026. Three details are guesses: the
// error codes that come with the statuses 498 and 422, the limit of nonces, and
// that plex.tv hides the token of a PIN with a key from a poll without a device
// JWT.
//
// Clients by other authors sign in at the fake in the tests of internal/integration:
// @ctrl/plex 3.12.1, @lukehagar/plexjs 0.39.0, plex-api 5.3.2 and plex-oauth 2.2.0.
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

// Server is a fake plex.tv, made by [NewServer]. All its methods are safe for
// concurrent use.
type Server struct {
	mu sync.Mutex // guards the fields below; never held while waiting

	closed   bool
	waiters  map[chan struct{}]bool // Close closes them, so that no request hangs
	offset   time.Duration          // plex.tv's clock minus the local one
	quirks   Quirks
	seed     []byte // empty unless Randomize was called
	serial   uint64 // counts the calls of nextBytes
	answered uint64 // counts the answers of the API, for X-Request-Id

	faults []*fault
	users  []*User

	pins                  []*pin
	pinsByID              map[string]*pin
	pinsByCode            map[string]*pin
	shortLife, strongLife time.Duration

	tokens        map[string]*token
	accountTokens map[accountKey]*token // the valid account token of each key
	serverTokens  map[accessKey]*token  // the server token of each key
	rejected      map[string]bool       // tokens that plex.tv refused with 401

	keys        []signingKey           // plex.tv's own; the last one signs
	devices     map[string]*device     // client identifier to device
	thumbprints map[string]string      // thumbprint of a registered key to its client identifier
	nonces      map[string]time.Time   // unused nonce to the time when it was issued
	nonceTimes  map[string][]time.Time // client identifier to the times of its nonces in the last minute

	media            []*MediaServer
	hosts            map[netip.AddrPort]*Connection
	former           map[netip.AddrPort]bool // addresses that a media server has left
	names            map[string]netip.Addr   // the fake's DNS
	rebindProtection bool
	pipes            map[*pipe]bool
	authority        *authority

	journal journal

	listener net.Listener
	http     *http.Server
	conns    sync.WaitGroup
}

// NewServer returns a fake plex.tv without users. It starts no goroutine and no
// listener.
func NewServer() *Server {
	return &Server{
		waiters:       map[chan struct{}]bool{},
		pinsByID:      map[string]*pin{},
		pinsByCode:    map[string]*pin{},
		shortLife:     defaultShortLife,
		strongLife:    defaultStrongLife,
		tokens:        map[string]*token{},
		accountTokens: map[accountKey]*token{},
		serverTokens:  map[accessKey]*token{},
		rejected:      map[string]bool{},
		devices:       map[string]*device{},
		thumbprints:   map[string]string{},
		nonces:        map[string]time.Time{},
		nonceTimes:    map[string][]time.Time{},
		pipes:         map[*pipe]bool{},
		journal:       newJournal(),
	}
}

// Client returns an HTTP client whose requests the fake answers in process. The
// client reaches the fake under https://plex.tv, https://clients.plex.tv and
// https://app.plex.tv, and under [Server.URL] once that has been called. It
// refuses every other host with an error, so no request reaches a network. It
// follows redirects as any http.Client does, and has no timeout.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: roundTripper{s}}
}

// Handler returns a handler that plays plex.tv, clients.plex.tv and app.plex.tv
// under one origin. It ignores the Host of a request, and must be served at the
// root.
func (s *Server) Handler() http.Handler { return handler{s} }

// URL returns the base URL of the fake on a loopback port, without a final slash.
// The first call starts the listener, and [Server.Close] ends it. Like httptest,
// URL panics if the machine has no loopback network. Do not use it in a synctest
// bubble: sockets do not follow the fake clock.
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

// countConns counts the open connections, so that Close can wait for them.
func (s *Server) countConns(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
}

// Close ends the listener, all connections and all requests that hang, and waits
// for them. Later requests get an error. Further calls do nothing.
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

// SetClock sets how far plex.tv's clock is ahead of the local one. It changes the
// dates that the fake writes and those that it checks in JWTs. It does not change
// lifetimes: a PIN lives as long as before.
func (s *Server) SetClock(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = offset
}

// Randomize makes all further codes, ids and tokens random. By default they are
// the same in every run. Use it where clients keep their stores after the fake
// has ended, so that tokens of an earlier run do not work again.
func (s *Server) Randomize() {
	seed := make([]byte, 16)
	_, _ = rand.Read(seed) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seed = seed
}

// nextBytes returns 32 bytes that differ from all earlier ones. The parameter
// what names their purpose. s.mu must be held.
func (s *Server) nextBytes(what string) []byte {
	s.serial++
	h := sha256.New()
	h.Write(s.seed)
	h.Write([]byte(what))
	h.Write(binary.BigEndian.AppendUint64(nil, s.serial))
	return h.Sum(nil)
}

// nextText returns n characters of alphabet, chosen by nextBytes. s.mu must be
// held.
func (s *Server) nextText(what, alphabet string, n int) string {
	text := make([]byte, 0, n)
	for len(text) < n {
		for _, b := range s.nextBytes(what) {
			if len(text) < n {
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(text)
}

// uuid formats the first sixteen bytes of b as a UUID.
func uuid(b []byte) string {
	h := hex.EncodeToString(b[:16])
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

// newSecret returns a token of the same form as plex.tv's: 20 characters of
// [A-Za-z0-9_-]. It starts with "FAKE_", so that tests recognize it. s.mu must be
// held.
func (s *Server) newSecret(prefix string) string {
	return "FAKE_" + prefix + "-" + base64.RawURLEncoding.EncodeToString(s.nextBytes(prefix))[:11]
}

var errClosed = errors.New("plextest: the fake is closed")

// wait waits for d, or forever if d is negative. It returns early with an error
// if ctx ends or the server is closed.
func (s *Server) wait(ctx context.Context, d time.Duration) error {
	// The channel must belong to the caller's synctest bubble. NewServer may run
	// outside of it, so it cannot make the channel.
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
