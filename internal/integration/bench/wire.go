package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/plextest"
)

// The addresses of the device flow (RFC 8628). Plex is at [measure.PlexTV].
const (
	deviceTV  = "https://device.example"
	codePath  = "/device/code"
	tokenPath = "/device/token"
)

// answers are those of plextest during one login, and those of a server of the device flow
// at the same points. The same bytes are served in process and over HTTP/2, so that only the
// clients differ.
type answers struct {
	pinPath                      string
	created, pending, done, user measure.Answer // Plex
	code, wait, token            measure.Answer // device flow
}

// record makes the answers with plextest.
func record() (*answers, error) {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	h := newPlain(plex.Client(), measure.PlexTV)
	a := &answers{}
	step := func(method, path, token string) (measure.Answer, error) {
		req, err := h.Request(context.Background(), method, path, token)
		if err != nil {
			return measure.Answer{}, err
		}
		resp, err := h.HTTP.Do(req)
		if err != nil {
			return measure.Answer{}, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return measure.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, err
	}
	pin, err := h.Create(context.Background())
	if err != nil {
		return nil, err
	}
	a.pinPath = pin.Path()
	if a.pending, err = step("GET", a.pinPath, ""); err != nil {
		return nil, err
	}
	a.created = a.pending // the same document
	a.created.Status = http.StatusCreated
	if err := plex.Approve(pin.Code, alice); err != nil {
		return nil, err
	}
	if a.done, err = step("GET", a.pinPath, ""); err != nil {
		return nil, err
	}
	if a.user, err = step("GET", measure.UserPath, plex.Token(alice, measure.ClientID)); err != nil {
		return nil, err
	}
	device := func(status int, body string) measure.Answer {
		return measure.Answer{Status: status, Header: measure.JSON, Body: []byte(body)}
	}
	a.code = device(200, `{"device_code":"`+strings.Repeat("d", 40)+`","user_code":"ABCD-EFGH","verification_uri":"https://device.example/login","expires_in":900,"interval":1}`)
	a.wait = device(400, `{"error":"authorization_pending","error_description":"The authorization request is still pending."}`)
	a.token = device(200, `{"access_token":"TEST_access-token-0000000000","token_type":"bearer","scope":""}`)
	return a, nil
}

// service answers requests. Logins are pending until approved is set.
type service struct {
	*answers
	approved atomic.Bool
	checks   atomic.Int64 // requests about a pending login

	started sync.Once
	start   time.Time
	now     atomic.Pointer[moment]
}

// moment is what Plex answers during one second. A PIN says how many seconds it is still
// valid. All PINs here expire at the same time.
type moment struct {
	second           int
	created, pending measure.Answer
}

func (s *service) moment() *moment {
	s.started.Do(func() { s.start = time.Now() })
	second := int(time.Since(s.start) / time.Second)
	if m := s.now.Load(); m != nil && m.second == second {
		return m
	}
	m := &moment{second, s.created, s.pending}
	for _, a := range []*measure.Answer{&m.created, &m.pending} {
		a.Body = expiresIn.ReplaceAll(a.Body, fmt.Appendf(nil, `"expiresIn":%d`, max(900-second, 1)))
		a.Header = a.Header.Clone()
		a.Header["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	s.now.Store(m)
	return m
}

var expiresIn = regexp.MustCompile(`"expiresIn":\d+`)

func (s *service) to(method, path string) measure.Answer {
	switch {
	case path == measure.UserPath:
		return s.user
	case path == codePath:
		return s.code
	case path == tokenPath:
		s.checks.Add(1)
		if s.approved.Load() {
			return s.token
		}
		return s.wait
	case method == http.MethodPost:
		return s.moment().created
	}
	s.checks.Add(1)
	if s.approved.Load() {
		return s.done
	}
	return s.moment().pending
}

// RoundTrip answers in process, so that only the client is measured.
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	return s.to(r.Method, r.URL.Path).RoundTrip(r)
}

// ServeHTTP gives the same answers over a socket.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.to(r.Method, r.URL.Path).ServeHTTP(w, r)
}
