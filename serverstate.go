package plexauth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// serverState is what an answer other than 2xx says about a media server.
type serverState int

const (
	serverUnknown     serverState = iota // the answer shows no media server
	serverStarting                       // 503 in a media server's own form
	serverFailing                        // another status in its own form
	serverBehindProxy                    // a proxy's own answer for a server that does not answer it
)

// stateOf reads the state from an answer. enveloped tells that the body has Plex's
// own form of an error.
func stateOf(resp *http.Response, enveloped bool) serverState {
	own := enveloped
	for name := range resp.Header {
		own = own || strings.HasPrefix(name, "X-Plex-")
	}
	switch status := resp.StatusCode; {
	case status < 400:
		return serverUnknown
	case own && status == http.StatusServiceUnavailable:
		return serverStarting
	case own:
		return serverFailing
	case status >= 502 && status <= 504, status >= 520 && status <= 530: // the latter are Cloudflare's
		return serverBehindProxy
	}
	return serverUnknown
}

// finding says for a person what the state is and what helps. words are the
// server's own.
func (s serverState) finding(status int, words string) string {
	if words = strings.TrimRight(words, ". "); words != "" {
		words = " (" + words + ")"
	}
	switch s {
	case serverStarting:
		return "the media server is starting" + words + ": try again in a minute"
	case serverFailing:
		return fmt.Sprintf("the media server answers with an error (status %d)%s: its own log says more", status, words)
	case serverBehindProxy:
		return fmt.Sprintf("a proxy answers, but the server behind it does not (status %d): check that the server runs and where the proxy leads", status)
	}
	if status < 400 {
		return fmt.Sprintf("it redirects elsewhere (%d): enter the address that it leads to", status)
	}
	return fmt.Sprintf("what answers is no Plex media server (status %d)", status)
}

// stateIn finds the most telling state in an error.
func stateIn(err error) serverState {
	var nowhere *unreachableError
	switch {
	case errors.As(err, &nowhere):
		found := serverUnknown
		for _, a := range nowhere.addresses {
			if s := stateIn(a.Err); s != serverUnknown && (found == serverUnknown || s < found) {
				found = s
			}
		}
		return found
	case failureOf(err) != nil:
		return failureOf(err).state
	}
	return serverUnknown
}

// headline is what a person is told first of a server that cannot be used now.
func (s serverState) headline() string {
	switch s {
	case serverStarting:
		return "The media server is starting. Try again in a minute."
	case serverFailing:
		return "The media server answers with an error. The details, and the server's own log, say more."
	case serverBehindProxy:
		return "A proxy answers, but the media server behind it does not. Check that the server runs."
	}
	return "The media server does not answer. Check that it runs and can be reached from here."
}
