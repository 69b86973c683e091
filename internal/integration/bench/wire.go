package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// Where the two services are. The device flow is RFC 8628's.
const (
	plexTV    = "https://plex.tv"
	deviceTV  = "https://device.example"
	codePath  = "/device/code"
	tokenPath = "/device/token"
	userPath  = "/api/v2/user"

	clientID = "000102030405060708090a0b"
)

// answer is one recorded answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// answers are what plextest says in the course of one login, and what a
// server of the device flow says at the same points. The same bytes are
// served in process and over HTTP/2, so that only the clients differ.
type answers struct {
	pinPath                      string
	created, pending, done, user answer // Plex
	code, wait, token            answer // device flow
}

// record makes the answers.
func record() (*answers, error) {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	h := &plain{http: plex.Client(), origin: plexTV}
	a := &answers{}
	step := func(method, path, token string) (answer, error) {
		req, err := h.request(method, path, token)
		if err != nil {
			return answer{}, err
		}
		resp, err := h.http.Do(req)
		if err != nil {
			return answer{}, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, resp.Header, body}, err
	}
	pin, err := h.create()
	if err != nil {
		return nil, err
	}
	a.pinPath = h.pinPath(pin)
	if a.pending, err = step("GET", a.pinPath, ""); err != nil {
		return nil, err
	}
	a.created = answer{http.StatusCreated, a.pending.header, a.pending.body} // the same document
	if err := plex.Approve(pin.Code, alice); err != nil {
		return nil, err
	}
	if a.done, err = step("GET", a.pinPath, ""); err != nil {
		return nil, err
	}
	if a.user, err = step("GET", userPath, plex.Token(alice, clientID)); err != nil {
		return nil, err
	}
	json := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	a.code = answer{200, json, []byte(`{"device_code":"` + strings.Repeat("d", 40) + `","user_code":"ABCD-EFGH","verification_uri":"https://device.example/login","expires_in":900,"interval":1}`)}
	a.wait = answer{400, json, []byte(`{"error":"authorization_pending","error_description":"The authorization request is still pending."}`)}
	a.token = answer{200, json, []byte(`{"access_token":"TEST_access-token-0000000000","token_type":"bearer","scope":""}`)}
	return a, nil
}

// service answers requests, until approve as if nobody had approved.
type service struct {
	*answers
	approved atomic.Bool
	looks    atomic.Int64 // requests about a pending login

	started sync.Once
	start   time.Time
	now     atomic.Pointer[moment]
}

// moment is what Plex answers within one second: a PIN says how many it has
// left. All PINs end at the same time here.
type moment struct {
	second           int
	created, pending answer
}

func (s *service) moment() *moment {
	s.started.Do(func() { s.start = time.Now() })
	second := int(time.Since(s.start) / time.Second)
	if m := s.now.Load(); m != nil && m.second == second {
		return m
	}
	m := &moment{second, s.created, s.pending}
	for _, a := range []*answer{&m.created, &m.pending} {
		a.body = expiresIn.ReplaceAll(a.body, fmt.Appendf(nil, `"expiresIn":%d`, max(900-second, 1)))
		a.header = a.header.Clone()
		a.header["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	}
	s.now.Store(m)
	return m
}

var expiresIn = regexp.MustCompile(`"expiresIn":\d+`)

func (s *service) to(method, path string) answer {
	switch {
	case path == userPath:
		return s.user
	case path == codePath:
		return s.code
	case path == tokenPath:
		s.looks.Add(1)
		if s.approved.Load() {
			return s.token
		}
		return s.wait
	case method == http.MethodPost:
		return s.moment().created
	}
	s.looks.Add(1)
	if s.approved.Load() {
		return s.done
	}
	return s.moment().pending
}

// RoundTrip answers in process: what is measured is the client alone.
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	a := s.to(r.Method, r.URL.Path)
	return &http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header, Request: r,
		ContentLength: int64(len(a.body)), Body: io.NopCloser(bytes.NewReader(a.body)),
	}, nil
}

// ServeHTTP answers the same over a socket.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.to(r.Method, r.URL.Path)
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that has gone is no trouble
}

// options are those of a program that asks for nothing special.
func options(c *http.Client, origin string, store plexauth.ConfigStore) plexauth.Options {
	o := plexauth.Options{
		Product: "My App", Version: "1.0", Platform: "linux", Device: "linux", DeviceName: "host",
		ClientID: clientID, HTTPClient: c, Store: store,
	}
	if origin != plexTV {
		o.BaseURL = origin
	}
	return o
}
