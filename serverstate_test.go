package plexauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// maintenance is what a media server answers while it starts.
func maintenance(path string) plextest.Fault {
	return plextest.Fault{
		Path: path, Times: -1, Status: 503, ContentType: "text/xml;charset=utf-8", Header: http.Header{"X-Plex-Protocol": {"1.0"}},
		Body: `<Response code="503" title="Maintenance" status="Tidying the library."/>`,
	}
}

// G11: an answer that shows itself as a media server's is told apart from a
// proxy's, and both from another program's.
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
		"another program":         {plextest.Fault{Status: 500, Body: "oops"}, "no Plex media server (status 500)", "does not answer"},
		"a login of its own":      {plextest.Fault{Status: 401, Header: http.Header{"WWW-Authenticate": {"Basic"}}}, "no Plex media server (status 401)", "does not answer"},
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
				f := openPanel(t, w.PlexAuth)
				v := f.refused(f.do(http.MethodPost, "/inspect", "{}"), http.StatusBadGateway, "server_unreachable")
				assert.Contains(t, v.Message, c.hint)
			})
		})
	}
}

// A server that starts while a person signs in is looked for once more, unless
// that person has done something else in between.
func TestServerStartsAfterTheLogin(t *testing.T) {
	for name, c := range map[string]struct {
		lasts    time.Duration
		then     func(*testing.T, *world)
		found    bool
		problem  bool
		searches int
	}{
		"in time":     {lasts: 40 * time.Second, found: true, searches: 2},
		"too late":    {lasts: 5 * time.Minute, problem: true, searches: 2},
		"gone before": {lasts: 40 * time.Second, then: func(t *testing.T, w *world) { require.NoError(t, second(w.Disconnect(t.Context()))) }, searches: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{lan}})
				fault := maintenance("/identity")
				fault.For = c.lasts
				w.plex.Inject(fault)
				f := openPanel(t, w.PlexAuth)
				f.post("/start", "{}")
				require.NoError(t, w.plex.Approve(w.plex.PendingCodes()[0], w.alice))
				time.Sleep(10 * time.Second)
				s := f.get("/status")
				require.NotNil(t, s.Problem)
				assert.Contains(t, s.Problem.Message, "is starting")
				if c.then != nil {
					f.post("/disconnect", "{}")
				}
				time.Sleep(80 * time.Second)
				s = f.get("/status")
				assert.Equal(t, c.found, s.Settings.ServerURL != "")
				assert.Equal(t, c.problem, s.Problem != nil)
				assert.Equal(t, c.searches, w.count("GET", "/identity"))
			})
		})
	}
}

// G14: what a person enters in the panel tells nobody what is behind an address.
func TestEnteredAddressIsNoScanner(t *testing.T) {
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
	f := openPanel(t, w.PlexAuth)
	for _, member := range []string{"url", "machine_id"} {
		answers := map[string]string{}
		for _, u := range []string{other.URL, other.URL + "/503", other.URL + "/502", other.URL + "/302", other.URL + "/401", "http://127.0.0.1:1", "https" + strings.TrimPrefix(other.URL, "http"), "http://169.254.169.254:80"} {
			rec := f.do(http.MethodPost, "/server", fmt.Sprintf(`{%q:%q}`, member, u))
			answers[fmt.Sprint(rec.Code, rec.Header(), strings.ReplaceAll(rec.Body.String(), u, "URL"))] = u
		}
		assert.Len(t, answers, 1, member)
	}
}
