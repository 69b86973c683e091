package panel

import (
	"net/http"

	"github.com/plexauth/plexauth/internal/words"
)

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
