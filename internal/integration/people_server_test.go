package integration_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// peoplePlex is a plex.tv for many logins: it has PINs and accounts, and does little for a
// request. Each PIN has an account of its own.
type peoplePlex struct {
	mu   sync.Mutex
	pins map[int64]*peoplePIN
	next int64
}

type peoplePIN struct {
	id       int64
	client   string // identifier that it was made under
	expires  time.Time
	approved bool
}

// peoplePINLife is how long a PIN lives.
const peoplePINLife = 15 * time.Minute

func (p *peoplePIN) token() string    { return fmt.Sprintf("TEST_people-token-%08d", p.id) }
func (p *peoplePIN) account() int64   { return 1_000_000 + p.id }
func (p *peoplePIN) username() string { return fmt.Sprint("user", p.id) }

func newPeoplePlex() *peoplePlex { return &peoplePlex{pins: map[int64]*peoplePIN{}} }

func (s *peoplePlex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, body := s.answer(r)
	w.Header()["Content-Type"] = []string{"application/json; charset=utf-8"}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have disconnected
}

func (s *peoplePlex) answer(r *http.Request) (status int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	client := r.Header.Get("X-Plex-Client-Identifier")
	id, isPIN := strings.CutPrefix(r.URL.Path, "/api/v2/pins/")
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/api/v2/pins":
		s.next++
		pin := &peoplePIN{id: s.next, client: client, expires: time.Now().Add(peoplePINLife)}
		s.pins[pin.id] = pin
		return http.StatusCreated, pin.json(r.URL.Query().Get("strong") == "true")
	case r.Method == http.MethodGet && isPIN:
		n, _ := strconv.ParseInt(id, 10, 64)
		if pin := s.pins[n]; pin != nil && pin.client == client && time.Now().Before(pin.expires) {
			return http.StatusOK, pin.json(false)
		}
	case r.Method == http.MethodGet && r.URL.Path == "/api/v2/user":
		if pin := s.owner(r.Header.Get("X-Plex-Token")); pin != nil {
			return http.StatusOK, fmt.Appendf(nil, `{"id":%d,"uuid":"%016x","username":%q,"title":%[3]q,"email":"","authToken":%[4]q}`,
				pin.account(), pin.id, pin.username(), pin.token())
		}
		return http.StatusUnauthorized, []byte(`{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`)
	}
	return http.StatusNotFound, []byte(`{"errors":[{"code":1020,"message":"Code not found or expired","status":404}]}`)
}

// json is the answer about p. The code of a strong PIN is longer.
func (p *peoplePIN) json(strong bool) []byte {
	code, token := fmt.Sprintf("%06d", p.id), "null"
	if strong {
		code = fmt.Sprintf("strong%019d", p.id)
	}
	if p.approved {
		token = strconv.Quote(p.token())
	}
	return fmt.Appendf(nil, `{"id":%d,"code":%q,"product":"My App","trusted":false,"clientIdentifier":%q,"expiresIn":%d,"authToken":%s,"newRegistration":null}`,
		p.id, code, p.client, time.Until(p.expires)/time.Second, token)
}

// owner returns the approved PIN that brought the token.
func (s *peoplePlex) owner(token string) *peoplePIN {
	id, _ := strconv.ParseInt(strings.TrimPrefix(token, "TEST_people-token-"), 10, 64)
	if pin := s.pins[id]; pin != nil && pin.approved && pin.token() == token {
		return pin
	}
	return nil
}

// approve approves the PINs that were made last under the client identifiers.
func (s *peoplePlex) approve(clients map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := map[string]*peoplePIN{}
	for _, pin := range s.pins {
		if l := latest[pin.client]; clients[pin.client] && (l == nil || l.id < pin.id) {
			latest[pin.client] = pin
		}
	}
	for _, pin := range latest {
		pin.approved = true
	}
}

// approved returns the approved PIN of each client identifier.
func (s *peoplePlex) approved() map[string]*peoplePIN {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*peoplePIN{}
	for _, pin := range s.pins {
		if pin.approved {
			all[pin.client] = pin
		}
	}
	return all
}
