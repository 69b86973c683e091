package panel

import (
	"bytes"
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
)

const maxBodyBytes = 64 << 10

// ServeHTTP implements [http.Handler].
func (p *Panel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	route, known := p.routes[mount.Name(r)]
	switch {
	case p.ctx.Err() != nil:
		replyProblem(w, stopping)
	case !p.isKnownHost(r):
		replyProblem(w, unknownHost)
	case p.protect.Check(r) != nil || !p.isKnownOrigin(r):
		replyProblem(w, crossOrigin)
	case mount.LacksSlash(r, known):
		mount.AddSlash(w, r)
	case !known:
		replyProblem(w, notFound)
	case r.Method != route.method && (r.Method != http.MethodHead || route.method != http.MethodGet):
		header.Set("Allow", route.method)
		replyProblem(w, wrongMethod(route.method))
	default:
		route.serve(w, r)
	}
}

// sameOriginOnly refuses a GET from another site's page. Such a page could otherwise
// embed it as an image, and make the program ask plex.tv.
func (p *Panel) sameOriginOnly(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		post := r.WithContext(r.Context())
		post.Method = http.MethodPost // CrossOriginProtection lets every GET pass
		if p.protect.Check(post) != nil {
			replyProblem(w, crossOrigin)
			return
		}
		serve(w, r)
	}
}

// isKnownHost refuses names that an attacker may have pointed to this program (DNS
// rebinding). This cannot be done with an address, or with a name without a dot.
func (p *Panel) isKnownHost(r *http.Request) bool {
	host := hostName(r.Host)
	if len(p.config.TrustedOrigins) == 0 || net.ParseIP(host) != nil || !strings.Contains(host, ".") {
		return true
	}
	return slices.ContainsFunc(p.config.TrustedOrigins, func(origin string) bool {
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
func (p *Panel) isKnownOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(p.config.TrustedOrigins) == 0 || origin == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	return slices.Contains(p.config.TrustedOrigins, origin)
}

// decode reads the body of r into v. An empty body leaves v as it is.
func decode(w http.ResponseWriter, r *http.Request, v any) *Problem {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return tooLarge
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
