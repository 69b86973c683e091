package plexauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// meaning is what an answer, or its absence, means.
type meaning int

const (
	temporary meaning = iota // nothing: it passes
	slowDown                 // plex.tv wants less
	rejection                // plex.tv does not know the token
	oldReject                // the same, as older parts of plex.tv put it
	lapsed                   // the token was a JWT, and its life is over
	noSuchPIN                // the PIN is dead
	wrongPIN                 // of a Home user
	refusal                  // plex.tv means this request, not the token
	harmless                 // the answer is good all the same
)

// wireFault is one way in which a request can fail, each time it is made.
type wireFault struct {
	name string
	says meaning
	plextest.Fault

	slow      bool          // takes as long as an attempt may
	unsent    bool          // no byte of the request has left
	pause     time.Duration // what plex.tv asks for; 0: nothing that is a time
	follows   int           // redirects that one attempt may follow
	truth     bool          // the true answer, damaged: no answer without a body can be
	clock     time.Duration // how far plex.tv's clock is off
	status    int           // as the error tells; 0: no answer came
	code      int
	isMatched func(error) bool // what errors.As finds where no answer came
}

const (
	htmlPage = "<!doctype html><title>Log in to the Wi-Fi</title>"
	farDate  = "Fri, 31 Dec 2060 23:59:59 GMT"
)

// page answers with a web page, as a proxy or a portal does.
func page(status int) plextest.Fault {
	return plextest.Fault{Status: status, Body: htmlPage, ContentType: "text/html"}
}

// envelope answers with an error in plex.tv's form.
func envelope(status, code int) plextest.Fault { return plextest.Fault{Status: status, Code: code} }

// tooMany answers that the client sends too many requests.
func tooMany(retryAfter string) plextest.Fault {
	f := envelope(429, 1003)
	if retryAfter != "" {
		f.Header = http.Header{"Retry-After": {retryAfter}}
	}
	return f
}

// dialError makes the dial fail.
func dialError(err error) plextest.Fault {
	return plextest.Fault{Err: &net.OpError{Op: "dial", Net: "tcp", Err: err}}
}

// asTimeout reports whether err is a timeout.
func asTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// asOp returns a function that reports whether an error is net's for op.
func asOp(op string) func(error) bool {
	return func(err error) bool { var e *net.OpError; return errors.As(err, &e) && e.Op == op }
}

// asDNS reports whether err is one of DNS.
func asDNS(err error) bool { return errors.As(err, new(*net.DNSError)) }

// asCertificate reports whether err is about a certificate.
func asCertificate(err error) bool { return errors.As(err, new(*tls.CertificateVerificationError)) }

// wireFaults are the failures between a client and plex.tv.
var wireFaults = []wireFault{
	{name: "reset before the answer", Fault: plextest.Fault{Reset: true}, isMatched: asOp("read")},
	{name: "reset after it took effect", Fault: plextest.Fault{ResetAfter: true}, isMatched: asOp("read")},
	{name: "hang", Fault: plextest.Fault{Hang: true}, slow: true, isMatched: asTimeout},
	{name: "a byte a second", Fault: plextest.Fault{Drip: time.Second}, slow: true, truth: true, isMatched: asTimeout},
	{name: "cut in the middle", Fault: plextest.Fault{Truncate: true}, truth: true},
	{name: "reset in the middle", Fault: plextest.Fault{ResetBody: true}, truth: true, isMatched: asOp("read")},
	{name: "no name (DNS)", Fault: dialError(&net.DNSError{Err: "no such host", Name: "plex.tv", IsNotFound: true}), unsent: true, isMatched: asDNS},
	{name: "refused", Fault: dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED)), unsent: true, isMatched: asOp("dial")},
	{name: "TLS", Fault: plextest.Fault{Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, isMatched: asCertificate},
	{name: "proxy", Fault: plextest.Fault{Err: &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dialError(syscall.ECONNREFUSED).Err}}, unsent: true, isMatched: asOp("proxyconnect")},

	{name: "200 empty", Fault: plextest.Fault{Status: 200}, status: 200},
	{name: "200 HTML", Fault: page(200), status: 200},
	{name: "200 XML", Fault: plextest.Fault{Status: 200, Body: `<pin id="1"/>`, ContentType: "application/xml"}, status: 200},
	{name: "200 without end", Fault: plextest.Fault{Status: 200, Body: "{", ContentType: "application/json", Endless: true}, status: 200},
	{name: "401 HTML", Fault: page(401), status: 401},
	{name: "403 HTML", Fault: page(403), status: 403},
	{name: "408", Fault: plextest.Fault{Status: 408}, status: 408},
	{name: "425", Fault: plextest.Fault{Status: 425}, status: 425},
	{name: "500", Fault: envelope(500, 1007), status: 500, code: 1007},
	{name: "502 HTML", Fault: page(502), status: 502},
	{name: "503 HTML", Fault: page(503), status: 503},
	{name: "redirect elsewhere", Fault: plextest.Fault{Redirect: "https://elsewhere.example/"}, status: 302},
	{name: "redirect to http", Fault: plextest.Fault{Redirect: "http://plex.tv/"}, status: 302},
	{name: "redirect in a circle", Fault: plextest.Fault{Redirect: "#again"}, follows: 3, status: 302},

	{name: "429", says: slowDown, Fault: tooMany(""), status: 429, code: 1003},
	{name: "429 for 7 seconds", says: slowDown, Fault: tooMany("7"), pause: 7 * time.Second, status: 429, code: 1003},
	{name: "429 for 20 seconds", says: slowDown, Fault: tooMany("20"), pause: 20 * time.Second, status: 429, code: 1003},
	{name: "429 for 999999 seconds", says: slowDown, Fault: tooMany("999999"), pause: time.Hour, status: 429, code: 1003},
	{name: "429 until 2060", says: slowDown, Fault: tooMany(farDate), pause: time.Hour, status: 429, code: 1003},
	{name: "429 for garbage", says: slowDown, Fault: tooMany("soon; -1"), status: 429, code: 1003},

	{name: "401/1001", says: rejection, Fault: envelope(401, 1001), status: 401, code: 1001},
	{name: "422 on the token", says: oldReject, Fault: plextest.Fault{Status: 422, Body: `<?xml version="1.0"?><errors><error>Invalid authentication token.</error></errors>`, ContentType: "application/xml"}, status: 422},
	{name: "498", says: lapsed, Fault: envelope(498, 498), status: 498, code: 498},
	{name: "404/1020", says: noSuchPIN, Fault: envelope(404, 1020), status: 404, code: 1020},
	{name: "403/1041", says: wrongPIN, Fault: envelope(403, 1041), status: 403, code: 1041},
	{name: "400/1000", says: refusal, Fault: envelope(400, 1000), status: 400, code: 1000},
	{name: "403/1009", says: refusal, Fault: envelope(403, 1009), status: 403, code: 1009},
	{name: "404/1002", says: refusal, Fault: envelope(404, 1002), status: 404, code: 1002},
	{name: "422/1008", says: refusal, Fault: envelope(422, 1008), status: 422, code: 1008},
	{name: "422/1014 taken", says: refusal, Fault: envelope(422, 1014), status: 422, code: 1014},

	{name: "redirect on plex.tv", says: harmless, Fault: plextest.Fault{Redirect: "#again", Times: 1}, follows: 1, status: 302},
	{name: "clock 40 days behind", says: harmless, clock: -40 * 24 * time.Hour},
	{name: "clock 3 days ahead", says: harmless, clock: 3 * 24 * time.Hour},
	{name: "Date is garbage", says: harmless, Fault: plextest.Fault{Header: http.Header{"Date": {"yesterday"}}}},
	{name: "no Date", says: harmless, Fault: plextest.Fault{DropHeaders: []string{"Date"}}},
}

// strike makes the requests that match hits fail.
func (f wireFault) strike(w *world, hits plextest.Fault) {
	if f.clock != 0 {
		w.plex.SetClock(f.clock)
		return
	}
	fault := f.Fault
	fault.Method, fault.Path, fault.For = hits.Method, hits.Path, hits.For
	if fault.Times == 0 {
		fault.Times = -1
	}
	w.plex.Inject(fault)
}

// operation is a call of a program, and the request of it that fails.
type operation struct {
	name string
	call string // the method, for the document
	hits plextest.Fault
	kind requestKind

	account bool          // the request carries the account's token
	token   bool          // of a media server: the request carries its token
	before  int           // requests that go well before the one that fails
	after   int           // requests that follow it where it goes well
	bare    bool          // the answer has no body
	total   time.Duration // for the whole of it; 0: no limit of its own
	done    holding       // what the store holds where it goes well

	// begin makes everything ready and returns the call.
	begin func(*testing.T) (*world, func() (any, error))
}

// requestKind is how often a request may be made.
type requestKind int

const (
	read     requestKind = iota // again after a temporary failure
	write                       // again only where it had no effect
	look                        // once a call
	poll                        // for as long as the PIN lives
	exchange                    // again with another nonce
	probe                       // once, for four seconds; of a media server
)

// faultAt matches the requests with a method and path.
func faultAt(method, path string) plextest.Fault { return plextest.Fault{Method: method, Path: path} }

// anotherProcess returns a login with a device key after a restart, when plex.tv's
// keys are not known yet.
func anotherProcess(t *testing.T) (*world, func() (any, error)) {
	w := newDeviceWorld(t)
	p := w.open(t, deviceKey)
	return w, func() (any, error) { return p.Refresh(t.Context()) }
}

// A Wait meets an outage, in the middle of which its PIN is approved, or failures for
// all of the PIN's life.
const outage, pinLife = 2 * time.Minute, 5 * time.Minute

// operations are the calls of the matrix.
var operations = []operation{
	{
		name: "create", call: "Start", hits: faultAt("POST", "/api/v2/pins"), kind: write, done: pinPending,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := signedIn(t)
			return w, func() (any, error) { return w.Start(t.Context(), plexauth.PinOptions{}) }
		},
	},
	{
		name: "create, device key", call: "Start", hits: faultAt("POST", "/api/v2/pins"), kind: write, done: pinPending,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := newDeviceWorld(t)
			return w, func() (any, error) { return w.Start(t.Context(), plexauth.PinOptions{}) }
		},
	},
	{
		name: "check", call: "Finish", hits: faultAt("GET", "/api/v2/pins/*"), kind: look, after: 1, done: connected,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := approved(t, newWorld(t))
			return w, func() (any, error) { return w.Finish(t.Context()) }
		},
	},
	{
		name: "check, device key", call: "Finish", hits: faultAt("GET", "/api/v2/pins/*"), kind: look, after: 2, done: connected,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := approved(t, newWorld(t, deviceKey))
			return w, func() (any, error) { return w.Finish(t.Context()) }
		},
	},
	{
		name: "check, linked already", call: "Finish", hits: faultAt("GET", "/api/v2/user"), kind: read, account: true, before: 1, done: connected,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := approved(t, signedIn(t))
			return w, func() (any, error) { return w.Finish(t.Context()) }
		},
	},
	{
		name: "wait, two bad minutes", call: "Wait", hits: plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", For: outage}, kind: poll, after: 1, done: connected,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := newWorld(t)
			w.plex.SetPinLifetime(pinLife, 0)
			pin := start(t, w)
			time.AfterFunc(outage/2, func() { _ = w.plex.Approve(pin.Code, w.alice) })
			return w, func() (any, error) { return w.Wait(t.Context()) }
		},
	},
	{
		name: "wait, to the end", call: "Wait", hits: faultAt("GET", "/api/v2/pins/*"), kind: poll, done: pinGone,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := newWorld(t)
			w.plex.SetPinLifetime(pinLife, 0)
			start(t, w)
			return w, func() (any, error) { return w.Wait(t.Context()) }
		},
	},
	{
		name: "verify", call: "Verify", hits: faultAt("GET", "/api/v2/user"), kind: read, account: true, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := signedIn(t)
			return w, func() (any, error) { return w.Verify(t.Context()) }
		},
	},
	{
		name: "verify, device key", call: "Verify", hits: faultAt("GET", "/api/v2/user"), kind: read, account: true, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := newDeviceWorld(t)
			return w, func() (any, error) { return w.Verify(t.Context()) }
		},
	},
	{
		name: "account", call: "Account", hits: faultAt("GET", "/api/v2/user"), kind: read, account: true, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := signedIn(t)
			return w, func() (any, error) { return w.Account(t.Context()) }
		},
	},
	{
		name: "servers", call: "Servers", hits: faultAt("GET", "/api/v2/resources"), kind: read, account: true, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := served(t, false)
			return w, func() (any, error) { return w.Servers(t.Context()) }
		},
	},
	{
		name: "probe, the server", call: "Probe", hits: faultAt("GET", "/identity"), kind: probe, after: 1, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := served(t, true)
			at := mustSettings(t, w.PlexAuth).ServerURL
			return w, func() (any, error) { return w.Probe(t.Context(), at) }
		},
	},
	{
		name: "probe, its token", call: "Probe", hits: faultAt("GET", "/"), kind: probe, token: true, before: 1, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := served(t, true)
			at := mustSettings(t, w.PlexAuth).ServerURL
			return w, func() (any, error) { return w.Probe(t.Context(), at) }
		},
	},
	{
		name: "inspect, plex.tv", call: "Inspect", hits: faultAt("GET", "/api/v2/resources"), kind: read, account: true, after: 1, total: 30 * time.Second, done: serverSaved,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := served(t, false)
			return w, func() (any, error) { return w.Inspect(t.Context()) }
		},
	},
	{
		name: "inspect, the server", call: "Inspect", hits: faultAt("GET", "/identity"), kind: probe, before: 1, total: 30 * time.Second, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := served(t, true)
			return w, func() (any, error) { return w.Inspect(t.Context()) }
		},
	},
	{
		name: "switch", call: "SwitchHomeUser", hits: faultAt("POST", "/api/v2/home/users/*/switch"), kind: write, account: true, done: unchanged,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w, _, carol := home(t)
			u := homeUser(t, w, carol)
			return w, func() (any, error) { return w.SwitchHomeUser(t.Context(), u, carol.HomePIN) }
		},
	},
	{name: "refresh, keys", call: "Refresh", hits: faultAt("GET", keysPath), kind: read, after: 2, total: 25 * time.Second, done: renewed, begin: anotherProcess},
	{name: "refresh, nonce", call: "Refresh", hits: faultAt("GET", nonces), kind: read, before: 1, after: 1, total: 25 * time.Second, done: renewed, begin: anotherProcess},
	{name: "refresh, exchange", call: "Refresh", hits: faultAt("POST", exchanges), kind: exchange, before: 2, total: 25 * time.Second, done: renewed, begin: anotherProcess},
	{
		name: "sign-out", call: "SignOut", hits: faultAt("DELETE", "/api/v2/users/signout"), kind: write, account: true, bare: true, done: signedOut,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := signedIn(t)
			return w, func() (any, error) { return w.SignOut(t.Context()) }
		},
	},
	{
		name: "sign-out, device key", call: "SignOut", hits: faultAt("DELETE", "/api/v2/users/signout"), kind: write, account: true, bare: true, done: signedOut,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := newDeviceWorld(t)
			return w, func() (any, error) { return w.SignOut(t.Context()) }
		},
	},
	{
		name: "move over to a device key", call: "UseDeviceKey", hits: faultAt("POST", "/api/v2/auth/jwk"), kind: write, account: true, after: 3, done: renewed,
		begin: func(t *testing.T) (*world, func() (any, error)) {
			w := signedIn(t)
			return w, func() (any, error) { return w.UseDeviceKey(t.Context()) }
		},
	},
}

// storeFault is one way in which an Update of a store can fail.
type storeFault struct {
	name   string
	once   bool // the next one goes well
	wrote  bool // what was to be saved is saved all the same
	hangs  bool // until its context ends
	good   bool // nothing is wrong with it, it only looks so
	slow   time.Duration
	err    error // that the caller can match
	update func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error
}

// storeFaults are the failures of a store.
var storeFaults = []storeFault{
	{name: "the disk is full", err: syscall.ENOSPC, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if _, err := unwritten(s, ctx, ns, edit); err != nil {
			return err
		}
		return errDisk
	}},
	{name: "the disk is full for a moment", once: true, err: syscall.ENOSPC, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if _, err := unwritten(s, ctx, ns, edit); err != nil {
			return err
		}
		return errDisk
	}},
	{name: "read-only", err: syscall.EROFS, update: func(plexauth.ConfigStore, context.Context, string, edit) error {
		return fmt.Errorf("open config.json: %w", syscall.EROFS)
	}},
	{name: "the error quotes all", update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		next, err := unwritten(s, ctx, ns, edit)
		if err != nil {
			return err
		}
		return fmt.Errorf("cannot write %s", next)
	}},
	{name: "corrupt", err: plexauth.ErrCorruptConfig, update: func(plexauth.ConfigStore, context.Context, string, edit) error {
		return fmt.Errorf("config.json: line 3: %w", plexauth.ErrCorruptConfig)
	}},
	{name: "hangs", hangs: true, update: func(_ plexauth.ConfigStore, ctx context.Context, _ string, _ edit) error {
		<-ctx.Done()
		return ctx.Err()
	}},
	{name: "written, and then an error", once: true, wrote: true, err: syscall.EIO, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if err := s.Update(ctx, ns, edit); err != nil {
			return err
		}
		return syscall.EIO
	}},
	{name: "the edit runs twice", good: true, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if _, err := unwritten(s, ctx, ns, edit); err != nil {
			return err
		}
		return s.Update(ctx, ns, edit)
	}},
	{name: "takes two seconds", good: true, slow: 2 * time.Second, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		select {
		case <-time.After(2 * time.Second):
			return s.Update(ctx, ns, edit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}},
}

// failing is a store that fails after some good Updates.
type failing struct {
	plexauth.ConfigStore
	fault  *storeFault // nil: it works
	good   atomic.Int64
	failed atomic.Int64
}

func (s *failing) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.fault == nil || s.good.Add(-1) >= 0 || s.fault.once && s.failed.Load() > 0 {
		return s.ConfigStore.Update(ctx, ns, edit)
	}
	s.failed.Add(1)
	return s.fault.update(s.ConfigStore, ctx, ns, edit)
}

// saving is an operation and the moment at which it saves.
type saving struct {
	name   string
	call   string
	good   int64         // Updates that go well before
	held   time.Duration // for how long it is tried again, as what is to be saved exists nowhere else; 0: not at all
	also   error         // why it is saved: what the error is as well
	asked  int           // requests until then
	after  int           // requests after it
	rested int           // Updates after it
	done   holding
	given  bool // the result is returned all the same
	begin  func(*testing.T) (*world, saveCall)
}

// saveCall is the call of an operation that saves.
type saveCall = func(context.Context, *plexauth.PlexAuth) (any, error)

func finish(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Finish(ctx) }

func renew(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Refresh(ctx) }

// savings are the operations that save.
var savings = []saving{
	{name: "the new PIN", call: "Start", good: 1, asked: 1, done: pinPending, begin: func(t *testing.T) (*world, saveCall) {
		return signedIn(t), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) {
			return p.Start(ctx, plexauth.PinOptions{})
		}
	}},
	{name: "the token", call: "Finish", held: 5 * time.Minute, asked: 1, after: 1, rested: 1, done: connected, begin: func(t *testing.T) (*world, saveCall) {
		return approved(t, newWorld(t)), finish
	}},
	{name: "the token, linked already", call: "Finish", held: 5 * time.Minute, asked: 1, after: 1, rested: 1, done: connected, begin: func(t *testing.T) (*world, saveCall) {
		return approved(t, signedIn(t)), finish
	}},
	{name: "the token, once its account is known", call: "Finish", good: 1, held: 5 * time.Minute, asked: 2, done: connected, begin: func(t *testing.T) (*world, saveCall) {
		return approved(t, signedIn(t)), finish
	}},
	{name: "the account", call: "Account", asked: 1, done: accountKnown, begin: func(t *testing.T) (*world, saveCall) {
		w := approved(t, newWorld(t))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1042, Status: 403})
		_, err := w.Finish(t.Context())
		require.NoError(t, err)
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Account(ctx) }
	}},
	{name: "the rejection", call: "Verify", also: plexauth.ErrTokenRejected, asked: 1, done: marked, begin: func(t *testing.T) (*world, saveCall) {
		w := signedIn(t)
		w.plex.Revoke(w.alice)
		w.forgive = "after plex.tv rejected it" // what could not be noted is asked again
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Verify(ctx) }
	}},
	{name: "the server", call: "Inspect", asked: 2, done: serverSaved, begin: func(t *testing.T) (*world, saveCall) {
		return served(t, false), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Inspect(ctx) }
	}},
	{name: "a Home user's token", call: "SwitchHomeUser", held: 5 * time.Minute, asked: 1, done: passedOn, given: true, begin: func(t *testing.T) (*world, saveCall) {
		w, _, carol := home(t)
		u := homeUser(t, w, carol)
		w.signIn(t, w.Instance("PLEX-P01"), carol, plexauth.PinOptions{})
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) {
			return p.SwitchHomeUser(ctx, u, carol.HomePIN)
		}
	}},
	{name: "the note that a JWT is being renewed", call: "Refresh", asked: 0, after: 3, rested: 1, done: renewed, begin: func(t *testing.T) (*world, saveCall) { return newDeviceWorld(t), renew }},
	{name: "the next JWT", call: "Refresh", good: 1, held: 3 * time.Second, asked: 3, done: renewed, begin: func(t *testing.T) (*world, saveCall) { return newDeviceWorld(t), renew }},
	{name: "forgetting a sign-in before it is revoked", call: "SignOut", asked: 0, after: 1, done: signedOut, begin: func(t *testing.T) (*world, saveCall) {
		return signedIn(t), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.SignOut(ctx) }
	}},
	{name: "forgetting a sign-in", call: "Disconnect", done: signedOut, begin: func(t *testing.T) (*world, saveCall) {
		return signedIn(t), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Disconnect(ctx) }
	}},
	{name: "the end of a login", call: "Cancel", done: pinGone, begin: func(t *testing.T) (*world, saveCall) {
		w := newWorld(t)
		start(t, w)
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return nil, p.Cancel(ctx) }
	}},
}

// patience is how long the caller of a save waits, which is longer than the library
// does.
const patience = 10 * time.Minute

// leaseOver is how long it takes until another process may renew a JWT after one has
// died.
const leaseOver = 31 * time.Second
