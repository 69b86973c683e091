package panel

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"strings"

	"github.com/plexauth/plexauth/internal/words"
)

// refuse answers a request with a problem: with a page if a browser asks for one, else
// with JSON. The page needs no other answer, because that may be refused as well. It does
// not name the product, since another site may have pointed its name here and read it.
func (s *site) refuse(w http.ResponseWriter, r *http.Request, problem *Problem) {
	if problem.Words == nil || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		replyProblem(w, problem)
		return
	}
	l := s.language(w, r)
	title, advice, _ := strings.Cut(l.Say(problem.Words), ". ")
	title = strings.TrimSuffix(title, ".")
	style := string(readAsset("panel.css"))
	sum := sha256.Sum256([]byte(style))
	w.Header().Set("Content-Security-Policy", s.policy+"; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	main := `<section class="plexauth plexauth-refusal"><div class="cw-panel"><h1>` + html.EscapeString(title) + "</h1><p>" + html.EscapeString(advice) + "</p></div></section>\n"
	writeHTML(w, problem.Status, l, title, "<style>"+style+"</style>", main)
}

// The problems of requests that the panel refuses itself.

func crossOrigin() *Problem {
	return refusal(http.StatusForbidden, "cross_origin", "problem.cross_origin")
}
func unknownHost() *Problem { return refusal(http.StatusForbidden, "host", "problem.host") }
func notFound() *Problem    { return refusal(http.StatusNotFound, "not_found", "problem.no_page") }
func noProfile() *Problem   { return refusal(http.StatusNotFound, "not_found", "problem.no_profile") }
func tooLarge() *Problem {
	return refusal(http.StatusRequestEntityTooLarge, "too_large", "problem.too_large")
}
func stopping() *Problem { return refusal(http.StatusServiceUnavailable, Stopped, "problem.stopping") }
func noQRCode() *Problem { return refusal(http.StatusNotFound, NoLogin, "problem.no_login") }
func badForward() *Problem {
	return badRequest("forward_url must be this panel's page named return, at the origin that asks, and needs strong.")
}
func badAddress() *Problem { return refusal(http.StatusBadRequest, BadRequest, "problem.bad_address") }

// refusal returns a problem whose message is the text of key.
func refusal(status int, kind Kind, key string) *Problem {
	p := &Problem{Status: status, Kind: kind}
	p.Say(words.Sentences{{Key: key}})
	return p
}

// badRequest returns the problem of a request that the page does not send. Its message is
// for the people who write a program.
func badRequest(message string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Kind: BadRequest, Message: message}
}

func wrongMethod(method string) *Problem {
	return &Problem{Status: http.StatusMethodNotAllowed, Kind: "method_not_allowed", Message: "Only " + method + " is allowed here."}
}

// interrupted returns the problem of a request whose context has ended with err.
func interrupted(err error) *Problem {
	p := refusal(http.StatusServiceUnavailable, Stopped, "problem.interrupted")
	p.Detail = err.Error()
	return p
}

// internal returns the problem of an error that should not happen.
func internal(err error) *Problem {
	p := refusal(http.StatusInternalServerError, "internal", "problem.internal")
	p.Detail = err.Error()
	return p
}
