package plexauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G11: the finding at an address says what happened and what helps.
func TestFindings(t *testing.T) {
	for name, c := range map[string]struct {
		url  string
		conn plextest.Connection
		f    plextest.Fault
		want string
		is   any
	}{
		"silent":    {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9", BlackHole: true}, plextest.Fault{}, "no answer within 4 seconds", new(net.Error)},
		"refused":   {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9", Refused: true}, plextest.Fault{}, "nothing listens there", new(*net.OpError)},
		"localhost": {"http://127.0.0.1:32400", plextest.Connection{Address: "127.0.0.1", Refused: true}, plextest.Fault{}, "this is the container itself", new(*net.OpError)},
		"authority": {"https://plex.example.org", plextest.Connection{Address: "plex.example.org", Port: 443, BadCert: true}, plextest.Fault{}, "certificate cannot be verified", nil},
		"public":    {"http://203.0.113.9:32400", plextest.Connection{Address: "203.0.113.9"}, plextest.Fault{}, "must not go there unencrypted", nil},
		"moved":     {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9"}, plextest.Fault{Redirect: "https://plex.example.org/identity", Status: 301}, "redirects elsewhere (301)", nil},
		"404":       {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9"}, plextest.Fault{Status: 404}, "not a Plex media server (status 404)", nil},
		"429":       {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9"}, plextest.Fault{Status: 429}, "not a Plex media server (status 429)", nil},
		"to plex":   {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9"}, plextest.Fault{Redirect: "https://plex.tv/identity", Status: 302}, "redirects elsewhere (302)", nil},
		"page":      {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9"}, plextest.Fault{Body: "<html>router</html>"}, "not a Plex media server", nil},
		"json":      {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9"}, plextest.Fault{Body: `{"a":1}`}, "not a Plex media server", nil},
		"endless":   {"http://192.168.1.9:32400", plextest.Connection{Address: "192.168.1.9"}, plextest.Fault{Endless: true}, "not a Plex media server", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.onNetwork(t)
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{c.conn}})
				c.f.Path = "/identity"
				w.plex.Inject(c.f)
				start := time.Now()
				r, err := p.Probe(t.Context(), c.url)
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.ErrorContains(t, err, c.want)
				if c.is != nil {
					assert.ErrorAs(t, err, c.is)
				}
				assert.LessOrEqual(t, time.Since(start), 4*time.Second)
				require.NotEmpty(t, r.Addresses)
				a := r.Addresses[0]
				assert.Contains(t, a.Finding, c.want)
				assert.Error(t, a.Err)
				assert.False(t, a.OK)
				assert.NotContains(t, a.Finding, "\n")
			})
		})
	}
}

// G11: a finding quotes the useful part of its cause. The error as a whole means that
// no address answers; errors.As finds the causes.
func TestFindingWords(t *testing.T) {
	failed := func(op string, err error) error {
		at := &net.TCPAddr{IP: net.IPv4(192, 168, 1, 9), Port: 32400}
		return &net.OpError{Op: op, Net: "tcp", Source: at, Addr: at, Err: err}
	}
	system := func(call string, errno syscall.Errno) error { return os.NewSyscallError(call, errno) }
	for want, cause := range map[string]error{
		"nothing listens there: connection refused":                                                                                failed("dial", system("connect", syscall.ECONNREFUSED)),
		"it cannot be reached from here: no route to host":                                                                         failed("dial", system("connect", syscall.EHOSTUNREACH)),
		"it cannot be reached from here: network is unreachable":                                                                   failed("dial", system("connect", syscall.ENETUNREACH)),
		"the connection was interrupted (connection reset by peer): another program has this port, or the server takes https only": failed("read", system("read", syscall.ECONNRESET)),
		"the connection was interrupted (no answer): another program has this port, or the server takes https only":                io.EOF,
		"the proxy does not let this through: connection refused":                                                                  failed("proxyconnect", failed("dial", system("connect", syscall.ECONNREFUSED))),
		"the certificate cannot be verified: certificate signed by unknown authority":                                              &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		"could not make a secure connection: handshake failure":                                                                    &net.OpError{Op: "remote error", Err: tls.AlertError(40)},
		"this port speaks plain http, not https":                                                                                   tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"no answer that can be read: malformed HTTP response":                                                                      errors.New("malformed HTTP response"),
	} {
		p, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, cause })}})
		require.NoError(t, err)
		r, err := p.Probe(t.Context(), "https://192.168.1.9:32400")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.NotErrorIs(t, err, cause, "it is one address's")
		require.Len(t, r.Addresses, 1)
		assert.Equal(t, want, r.Addresses[0].Finding)
		var e *plexauth.Error
		require.ErrorAs(t, err, &e)
		if op := new(*net.OpError); errors.As(cause, op) {
			assert.ErrorAs(t, err, op)
		}
		if cert := new(*tls.CertificateVerificationError); errors.As(cause, cert) {
			assert.ErrorAs(t, err, cert)
		}
	}
}

// A server that does not answer is ErrUnavailable, and neither ErrServerToken nor the
// end of the caller's context.
func TestUnreachableIsOneKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{
			{Address: "plex.example.org", IP: "203.0.113.9", URI: "http://plex.example.org:32400"}, {Address: "192.168.1.9", Local: true, BlackHole: true},
		}})
		_, err := w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.NotErrorIs(t, err, plexauth.ErrServerToken)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorAs(t, err, new(*plexauth.Error))
	})
}

// Probe works over real sockets, a real resolver and a real handshake.
func TestFindingsOnSockets(t *testing.T) {
	p, err := plexauth.New(plexauth.Options{Product: "My App"})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<MediaContainer machineIdentifier="m" version="1"/>`)
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	r, err := p.Probe(t.Context(), "http://"+l.Addr().String())
	require.NoError(t, err)
	assert.Equal(t, "m", r.MachineID)
	r, err = p.Probe(t.Context(), "https://"+l.Addr().String())
	require.ErrorIs(t, err, plexauth.ErrUnavailable)
	assert.Contains(t, r.Addresses[0].Finding, "plain http")
}

// maintenance is the answer of a media server that is starting.
func maintenance(path string) plextest.Fault {
	return plextest.Fault{
		Path: path, Times: -1, Status: 503, ContentType: "text/xml;charset=utf-8", Header: http.Header{"X-Plex-Protocol": {"1.0"}},
		Body: `<Response code="503" title="Maintenance" status="Tidying the library."/>`,
	}
}

// G11: a media server's own answer, a proxy's and another program's are told apart.
func TestWhatAnswersForAServer(t *testing.T) {
	plexHeader := http.Header{"X-Plex-Protocol": {"1.0"}}
	envelope := `<?xml version="1.0"?><Response code="503" title="Maintenance" status="Tidying the library."/>`
	for name, c := range map[string]struct {
		f          plextest.Fault
		says, hint string
	}{
		"starting":                {plextest.Fault{Status: 503, Header: plexHeader, Body: envelope}, "the media server is starting (Tidying the library): try again", "is starting"},
		"starting, by its body":   {plextest.Fault{Status: 503, Body: envelope}, "the media server is starting (Tidying the library)", "is starting"},
		"starting, by its title":  {plextest.Fault{Status: 503, Body: `<Response code="503" title="Maintenance"/>`}, "the media server is starting (Maintenance)", "is starting"},
		"starting, in JSON":       {plextest.Fault{Status: 503, Body: `{"errors":[{"code":503,"message":"Tidying"}]}`}, "the media server is starting (Tidying)", "is starting"},
		"starting, by its header": {plextest.Fault{Status: 503, Header: http.Header{"X-Plex-Content-Original-Length": {"1"}}, Body: "<html>"}, "the media server is starting: try again", "is starting"},
		"its own error":           {plextest.Fault{Status: 500, Header: plexHeader, Body: "<html>"}, "answers with an error (status 500): its own log", "answers with an error"},
		"its own refusal":         {plextest.Fault{Status: 401, Header: plexHeader}, "answers with an error (status 401)", "answers with an error"},
		"bad gateway":             {plextest.Fault{Status: 502, Body: "<html><h1>502 Bad Gateway</h1></html>"}, "a proxy answers, but the server behind it does not (status 502)", "A proxy answers"},
		"no upstream":             {plextest.Fault{Status: 503, Body: "no available server"}, "behind it does not (status 503)", "A proxy answers"},
		"gateway timeout":         {plextest.Fault{Status: 504}, "behind it does not (status 504)", "A proxy answers"},
		"origin is down":          {plextest.Fault{Status: 521}, "behind it does not (status 521)", "A proxy answers"},
		"tunnel is down":          {plextest.Fault{Status: 530}, "behind it does not (status 530)", "A proxy answers"},
		"another program":         {plextest.Fault{Status: 500, Body: "oops"}, "not a Plex media server (status 500)", "does not answer"},
		"a login of its own":      {plextest.Fault{Status: 401, Header: http.Header{"WWW-Authenticate": {"Basic"}}}, "not a Plex media server (status 401)", "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "plex.example.org", Port: 443}}})
				c.f.Path, c.f.Times = "/identity", -1
				w.plex.Inject(c.f)
				_, err := w.Inspect(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.ErrorContains(t, err, c.says)
				_, err = w.Probe(t.Context(), "https://plex.example.org")
				assert.ErrorContains(t, err, c.says)
				panel := openPanel(t, w.PlexAuth)
				v := panel.refused(panel.do(http.MethodPost, "/inspect", "{}"), http.StatusBadGateway, "server_unreachable")
				assert.Contains(t, v.Message, c.hint)
			})
		})
	}
}

// A server that does not answer while a person signs in, because it is starting or for another
// reason, is looked for again, unless the person has disconnected since.
func TestServerStartsAfterTheLogin(t *testing.T) {
	for name, c := range map[string]struct {
		fault   plextest.Fault
		lasts   time.Duration
		leaves  bool // the person disconnects in between
		found   bool
		problem bool
	}{
		"in time":             {fault: maintenance("/identity"), lasts: 40 * time.Second, found: true},
		"late":                {fault: maintenance("/identity"), lasts: 59 * time.Second, found: true},
		"too late":            {fault: maintenance("/identity"), lasts: 5 * time.Minute, problem: true},
		"disconnected before": {fault: maintenance("/identity"), lasts: 40 * time.Second, leaves: true},
		"refuses connections": {fault: plextest.Fault{Path: "/identity", Times: -1, Err: syscall.ECONNREFUSED}, lasts: 40 * time.Second, found: true},
		"resets connections":  {fault: plextest.Fault{Path: "/identity", Times: -1, Err: syscall.ECONNRESET}, lasts: 40 * time.Second, found: true},
		"is behind a proxy":   {fault: plextest.Fault{Path: "/identity", Times: -1, Status: http.StatusBadGateway, Body: "<html>"}, lasts: 40 * time.Second, found: true},
		"does not answer":     {fault: plextest.Fault{Path: "/identity", Times: -1, Hang: true}, lasts: 40 * time.Second, found: true},
		"fails":               {fault: plextest.Fault{Path: "/identity", Times: -1, Status: http.StatusInternalServerError, Header: http.Header{"X-Plex-Protocol": {"1.0"}}}, lasts: 40 * time.Second, found: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{lan}})
				c.fault.For = c.lasts
				w.plex.Inject(c.fault)
				panel := openPanel(t, w.PlexAuth)
				panel.post("/start", "{}")
				require.NoError(t, w.plex.Approve(w.plex.PendingCodes()[0], w.alice))
				time.Sleep(19 * time.Second)
				s := panel.get("/status")
				require.NotNil(t, s.Problem)
				assert.Equal(t, "server_unreachable", s.Problem.Error)
				if c.leaves {
					panel.post("/disconnect", "{}")
				}
				asked := w.fromNow()
				time.Sleep(70 * time.Second)
				s = panel.get("/status")
				assert.Equal(t, c.found, s.Settings.ServerURL != "")
				assert.Equal(t, c.problem, s.Problem != nil)
				assert.Equal(t, c.leaves, len(only(asked(), "GET", "/identity")) == 0)
			})
		})
	}
}

// G14: the panel's answer does not reveal what is at an address that was entered.
func TestEnteredAddressRevealsNothing(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, err := strconv.Atoi(strings.Trim(strings.TrimSuffix(r.URL.Path, "/identity"), "/")); err == nil {
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(s)
		}
		fmt.Fprint(w, `<Response code="503" status="Tidying"/>`)
	}))
	defer other.Close()
	w := signedIn(t)
	w.PlexAuth = w.open(t, func(o *plexauth.Options) { o.BaseURL, o.HTTPClient = w.plex.URL(), nil })
	panel := openPanel(t, w.PlexAuth)
	for _, member := range []string{"url", "machine_id"} {
		answers := map[string]string{}
		for _, u := range []string{other.URL, other.URL + "/503", other.URL + "/502", other.URL + "/302", other.URL + "/401", "http://127.0.0.1:1", "https" + strings.TrimPrefix(other.URL, "http"), "http://169.254.169.254:80"} {
			rec := panel.do(http.MethodPost, "/server", fmt.Sprintf(`{%q:%q}`, member, u))
			answers[fmt.Sprint(rec.Code, rec.Header(), strings.ReplaceAll(rec.Body.String(), u, "URL"))] = u
		}
		assert.Len(t, answers, 1, member)
	}
}

// For a certificate of another name, the error names the right address to the person
// who entered this one. At an address that plex.tv lists, it says that another machine
// answers.
func TestCertificateOfAnotherName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true, URI: "https://192.168.1.5:32400"}}})
		_, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "another machine answers here: its certificate is for another name")
		_, err = w.UseServer(t.Context(), "https://192.168.1.5:32400")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "the certificate is for another name: use https://192-168-1-5.")
	})
}
