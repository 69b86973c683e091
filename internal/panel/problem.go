package panel

import "net/http"

// Problem is a failure as the HTTP API reports it. It holds no secret.
type Problem struct {
	Status     int      `json:"-"`                     // of the HTTP answer
	Kind       Kind     `json:"error"`                 // for programs
	Message    string   `json:"message"`               // for people: what happened, and what to do
	Detail     string   `json:"detail,omitempty"`      // the text of the error, for the people who run the program
	RetryAfter int      `json:"retry_after,omitempty"` // seconds
	Servers    []Server `json:"servers,omitempty"`     // to choose from

	ServerStarting bool `json:"-"` // the media server is starting, and will answer soon
}

// Kind names the kind of a problem. The documentation of plexauth.Handler lists all of
// them.
type Kind string

// The kinds that the panel itself reports or acts on.
const (
	BadRequest   Kind = "bad_request"
	NoLogin      Kind = "no_login"      // no login is pending
	NotRevoked   Kind = "not_revoked"   // signed out, but the token may still be valid at plex.tv
	PinExpired   Kind = "pin_expired"   // the login ended because its PIN was not approved in time
	Stopped      Kind = "stopped"       // the context has ended
	Store        Kind = "store"         // the store cannot be read or written
	StoreCorrupt Kind = "store_corrupt" // what is stored cannot be understood
	Superseded   Kind = "superseded"    // the login ended because another one has replaced it
	TooSoon      Kind = "too_soon"      // the same request will succeed after RetryAfter
)

// isStore reports whether the store failed, and not plex.tv.
func (p *Problem) isStore() bool { return p.Kind == Store || p.Kind == StoreCorrupt }

var (
	crossOrigin = &Problem{Status: http.StatusForbidden, Kind: "cross_origin", Message: "The request came from another site and was not carried out. Behind a proxy that rewrites Host, set TrustedOrigins."}
	unknownHost = &Problem{Status: http.StatusForbidden, Kind: "host", Message: "This program is not known under this name. Open it under one of its own names, or add this one to TrustedOrigins."}
	notFound    = &Problem{Status: http.StatusNotFound, Kind: "not_found", Message: "There is no such page."}
	tooLarge    = &Problem{Status: http.StatusRequestEntityTooLarge, Kind: "too_large", Message: "The request is larger than 64 KiB."}
	stopping    = &Problem{Status: http.StatusServiceUnavailable, Kind: Stopped, Message: "The program is stopping. Reload this page when it is running again."}
	noQRCode    = &Problem{Status: http.StatusNotFound, Kind: NoLogin, Message: "No sign-in is pending. Start a new one.", Detail: "no login is pending"}
	badAddress  = badRequest("This is not a server address. Enter one like https://192.168.1.5:32400.")
)

func badRequest(message string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Kind: BadRequest, Message: message}
}

func wrongMethod(method string) *Problem {
	return &Problem{Status: http.StatusMethodNotAllowed, Kind: "method_not_allowed", Message: "Only " + method + " is allowed here."}
}

// interrupted returns the problem of a request whose context has ended with err.
func interrupted(err error) *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Kind: Stopped, Message: "The request was interrupted. Try again.", Detail: err.Error()}
}

// internal returns the problem of an error that should not happen.
func internal(err error) *Problem {
	return &Problem{Status: http.StatusInternalServerError, Kind: "internal", Message: "Something went wrong in the program. The details and the log of the program say what.", Detail: err.Error()}
}
