package panel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/mount"
	"github.com/plexauth/plexauth/internal/netaddr"
)

const maxBodyBytes = 64 << 10

// site has what a panel and the list of profiles share: who may ask for what, and the
// headers of the answer.
type site struct {
	ctx     context.Context // at its end, every request is answered with 503
	config  Config
	policy  string // Content-Security-Policy
	protect http.CrossOriginProtection
	routes  map[string]route
}

type route struct {
	method string
	serve  http.HandlerFunc
}

// newSite returns a site that serves the assets.
func newSite(ctx context.Context, config Config) *site {
	config.TrustedOrigins, config.FrameAncestors = netaddr.BrowserOrigins(config.TrustedOrigins), netaddr.BrowserOrigins(config.FrameAncestors)
	s := &site{ctx: ctx, config: config, routes: map[string]route{}}
	ancestors := strings.Join(append([]string{"'self'"}, config.FrameAncestors...), " ")
	s.policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors " + ancestors + "; object-src 'none'"
	for _, o := range config.TrustedOrigins {
		_ = s.protect.AddTrustedOrigin(o) // plexauth.New has checked them
	}
	for name, contentType := range assetTypes {
		s.routes[name] = route{http.MethodGet, asset(name, contentType)}
	}
	s.routes[wordsFile] = route{http.MethodGet, s.serveWords}
	return s
}

// ServeHTTP implements [http.Handler].
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.admit(w, r) {
		s.serve(w, r)
	}
}

// admit sets the headers that every answer has. It refuses a request that comes too late or
// from elsewhere, and reports whether it has not.
func (s *site) admit(w http.ResponseWriter, r *http.Request) bool {
	header := w.Header()
	header.Set("Content-Security-Policy", s.policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	switch {
	case s.ctx.Err() != nil:
		s.refuse(w, r, stopping())
	case !s.isKnownHost(r):
		s.refuse(w, r, unknownHost())
	case s.protect.Check(r) != nil || !s.isKnownOrigin(r):
		s.refuse(w, r, crossOrigin())
	default:
		return true
	}
	return false
}

// serve answers a request that was admitted.
func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	route, known := s.routes[mount.Name(r)]
	switch {
	case mount.LacksSlash(r, known), known && isMountedAt(r):
		mount.AddSlash(w, r)
	case !known:
		s.refuse(w, r, notFound())
	case r.Method != route.method && (r.Method != http.MethodHead || route.method != http.MethodGet):
		w.Header().Set("Allow", route.method)
		s.refuse(w, r, wrongMethod(route.method))
	default:
		route.serve(w, r)
	}
}

// dataNames are routes whose names a mount point may have as well, as in /profiles.
var dataNames = map[string]bool{"profiles": true, "status": true, "servers": true, "users": true}

// isMountedAt reports whether a person asks for the page at a mount point that has the
// name of a route. The page's own requests ask for JSON.
func isMountedAt(r *http.Request) bool {
	return dataNames[mount.Name(r)] && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		mount.IsMountPoint(r) && !strings.Contains(r.Header.Get("Accept"), "application/json")
}

// sameOriginOnly refuses a GET from another site's page. Such a page could otherwise
// embed it as an image, and make the program ask plex.tv.
func (s *site) sameOriginOnly(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		post := r.WithContext(r.Context())
		post.Method = http.MethodPost // CrossOriginProtection lets every GET pass
		if s.protect.Check(post) != nil {
			s.refuse(w, r, crossOrigin())
			return
		}
		serve(w, r)
	}
}

// isKnownHost refuses names that an attacker may have pointed to this program (DNS
// rebinding). This cannot be done with an address, or with a name without a dot.
func (s *site) isKnownHost(r *http.Request) bool {
	host := hostName(r.Host)
	if len(s.config.TrustedOrigins) == 0 || net.ParseIP(host) != nil || !strings.Contains(host, ".") {
		return true
	}
	return slices.ContainsFunc(s.config.TrustedOrigins, func(origin string) bool {
		u, err := url.Parse(origin)
		return err == nil && strings.EqualFold(u.Hostname(), host)
	})
}

// hostName returns hostport without its port.
func hostName(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// isKnownOrigin is stricter than CrossOriginProtection, which accepts every origin that
// agrees with Host.
func (s *site) isKnownOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(s.config.TrustedOrigins) == 0 || origin == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	return slices.Contains(s.config.TrustedOrigins, origin)
}

// decode reads the body of r into v. An empty body leaves v as it is.
func decode(w http.ResponseWriter, r *http.Request, v any) *Problem {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return tooLarge()
	case err != nil:
		return badRequest("The request was interrupted.")
	}
	body = bytes.TrimSpace(body)
	if len(body) > 0 && (body[0] != '{' || json.Unmarshal(body, v) != nil) {
		return badRequest("The request must be a JSON object with the documented fields.")
	}
	return nil
}

// replyJSON answers with v, which always can be encoded.
func replyJSON(w http.ResponseWriter, v any) { reply(w, http.StatusOK, v) }

// replyProblem answers with a problem and its status.
func replyProblem(w http.ResponseWriter, problem *Problem) {
	if problem.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(problem.RetryAfter))
	}
	reply(w, problem.Status, problem)
}

func reply(w http.ResponseWriter, status int, v any) {
	body, _ := json.Marshal(v) // plain fields
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the browser may have gone
}
