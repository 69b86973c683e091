package panel

import "net/http"

// The problems of requests that the panel refuses itself.
var (
	crossOrigin = &Problem{Status: http.StatusForbidden, Kind: "cross_origin", Message: "The request came from another site and was not carried out. Behind a proxy that rewrites Host, set TrustedOrigins."}
	unknownHost = &Problem{Status: http.StatusForbidden, Kind: "host", Message: "This program is not known under this name. Open it under one of its own names, or add this one to TrustedOrigins."}
	notFound    = &Problem{Status: http.StatusNotFound, Kind: "not_found", Message: "There is no such page."}
	noProfile   = &Problem{Status: http.StatusNotFound, Kind: "not_found", Message: "It was removed, or it never existed. The list shows all profiles."}
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
