package plextv

import (
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
)

// proxyRefusal returns err, or an error in the form that all other errors of a proxy
// have, if err is the refusal of a proxy to connect. net/http makes an error of the
// reason phrase alone ("Forbidden"), and one of its own for SOCKS.
func proxyRefusal(rt http.RoundTripper, r *http.Request, err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && strings.HasPrefix(op.Op, "socks ") && !op.Timeout():
		err = op.Err
	case r.URL.Scheme != "https" || !isPhrase(err) || !isProxied(rt, r):
		return err
	}
	return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: refusedConnect{err}}
}

// isProxied reports whether rt is known to send r through a proxy.
func isProxied(rt http.RoundTripper, r *http.Request) bool {
	t, ok := rt.(*http.Transport)
	if route, isRoute := rt.(interface{ Underlying() *http.Transport }); isRoute {
		t, ok = route.Underlying(), true
	}
	if !ok || t.Proxy == nil {
		return false
	}
	proxy, err := t.Proxy(r)
	return err == nil && proxy != nil
}

// refusedConnect is a proxy's refusal of a connection.
type refusedConnect struct{ error }

func (e refusedConnect) Error() string {
	if e.error.Error() == "" {
		return "the proxy refuses the connection"
	}
	return "the proxy refuses the connection: " + strings.TrimPrefix(e.error.Error(), "unknown error ") // as net/http says for SOCKS
}

func (e refusedConnect) Unwrap() error { return e.error }

// packagePrefix matches the beginning of errors of net/http, crypto/tls and the like.
var packagePrefix = regexp.MustCompile(`^[a-z0-9/]+: `)

// isPhrase reports whether err is a bare text that no package has signed.
func isPhrase(err error) bool {
	return reflect.TypeOf(err) == reflect.TypeOf(errors.New("")) &&
		err != io.EOF && err != io.ErrUnexpectedEOF && !packagePrefix.MatchString(err.Error())
}

// isReason reports whether text is the reason phrase of an error or a redirect. A
// transport beneath another one may make an error of it.
func isReason(text string) bool {
	for status := 300; status < 600; status++ {
		if text != "" && text == http.StatusText(status) {
			return true
		}
	}
	return false
}
