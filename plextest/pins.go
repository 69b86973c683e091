package plextest

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	shortLife  = 15 * time.Minute
	strongLife = 30 * time.Minute

	shortAlphabet  = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	strongAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// A pin is one attempt to sign in.
type pin struct {
	id       string // decimal
	code     string
	strong   bool
	clientID string
	product  string
	jwk      *jwk // of a PIN that asks for a JWT

	created, expires time.Time // by our clock

	user     *User     // who approved it, nil until then
	approved time.Time // when
	token    *token    // what the user's approval gave; of a PIN with a key, from its first look on
	consumed bool      // the token was read, with ConsumeOnRead

	// what the client did
	gone     bool // it was told 404/1020
	lastLook time.Time
	looks    int // in flight
}

// SetPinLifetime changes how long PINs live that are made from now on: the
// ones to type and the strong ones. 0 stands for 15 and 30 minutes.
func (s *Server) SetPinLifetime(short, strong time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shortLife, s.strongLife = shortLife, strongLife
	if short > 0 {
		s.shortLife = short
	}
	if strong > 0 {
		s.strongLife = strong
	}
}

// PendingCodes returns the codes that wait for an approval, oldest first.
func (s *Server) PendingCodes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var codes []string
	for _, p := range s.pins {
		if p.pending(time.Now()) {
			codes = append(codes, p.code)
		}
	}
	return codes
}

// Approve does what a person does at plex.tv/link or on the sign-in page:
// from now on the PIN of this code answers with a token of u. An unknown
// code, one that has expired or was approved before, and a user of another
// server are errors.
func (s *Server) Approve(code string, u *User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.knows(u) {
		return fmt.Errorf("plextest: approve: this user was not added to this server")
	}
	p := s.waiting(code)
	if p == nil {
		return fmt.Errorf("plextest: approve: no PIN with the code %q is waiting", code)
	}
	s.approve(p, u)
	return nil
}

// Expire ends the PIN of this code now, approved or not.
func (s *Server) Expire(code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pinsByCode[code]
	if p == nil {
		return fmt.Errorf("plextest: expire: no PIN has the code %q", code)
	}
	p.expires = time.Now().Add(-1)
	return nil
}

func (p *pin) pending(now time.Time) bool {
	return p.user == nil && now.Before(p.expires)
}

// waiting finds the PIN that a typed code means. s.mu is held.
func (s *Server) waiting(code string) *pin {
	code = strings.TrimSpace(code)
	p := s.pinsByCode[code]
	if p == nil {
		p = s.pinsByCode[strings.ToUpper(code)]
	}
	if p == nil || !p.pending(time.Now()) {
		return nil
	}
	return p
}

// approve gives p a token of u. The account's earlier token under that client
// identifier ends here. s.mu is held.
func (s *Server) approve(p *pin, u *User) {
	p.user, p.approved = u, time.Now()
	if p.jwk == nil {
		p.token = s.issue(u, p.clientID)
	} else {
		s.register(p.clientID, u, p.jwk)
	}
}

// createPin answers POST pins.
func (s *Server) createPin(c *call) reply {
	var body struct {
		Strong json.RawMessage `json:"strong"`
		JWK    *jwk            `json:"jwk"`
	}
	if c.content == "application/json" && len(c.body) > 0 {
		err := json.Unmarshal(c.body, &body)
		if not := (*json.UnmarshalTypeError)(nil); errors.As(err, &not) && not.Field == "" {
			err = nil // no object, so nothing is said: clients in use send ""
		}
		if err != nil {
			return c.fail(1004)
		}
		if body.JWK != nil && body.JWK.key() == nil {
			return c.fail(1004)
		}
	}
	strong := isTrue(strings.Trim(string(body.Strong), `"`)) || isTrue(c.query.Get("strong")) || isTrue(c.form.Get("strong"))

	s.mu.Lock()
	defer s.mu.Unlock()
	if body.JWK != nil {
		s.checkKey(c, body.JWK)
		if owner := s.thumbprints[body.JWK.thumbprint()]; owner != "" && owner != c.clientID {
			return c.taken()
		}
	}
	now := time.Now()
	p := &pin{strong: strong, jwk: body.JWK, clientID: c.clientID, product: c.identity("X-Plex-Product"), created: now, expires: now.Add(s.shortLife)}
	if strong {
		p.expires = now.Add(s.strongLife)
	}
	if p.product == "" {
		p.product = "0"
	}
	for p.code == "" || s.pinsByCode[p.code] != nil {
		if strong {
			p.code = s.nextText("code", strongAlphabet, 25)
		} else {
			p.code = s.nextText("code", shortAlphabet, 4)
		}
	}
	for p.id == "" || s.pinsByID[p.id] != nil {
		p.id = "7" + s.nextText("pin id", "0123456789", 9)
	}
	s.pins = append(s.pins, p)
	s.pinsByID[p.id] = p
	s.pinsByCode[p.code] = p
	status := http.StatusCreated
	if c.quirks.Create200 {
		status = http.StatusOK
	}
	r := c.write(status, s.pinDocument(c, p, now))
	r.header.Set("Location", c.origin+"/api/v2/pins/"+p.id)
	return r
}

func isTrue(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// readPin answers GET pins/{id}. A PIN of another client identifier looks
// like one that does not exist.
func (s *Server) readPin(c *call, id string) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	p := s.pinsByID[id]
	if p == nil {
		return c.fail(1020)
	}
	if p.clientID != c.clientID {
		s.violate(c, "a PIN is read under another client identifier than it was made with")
		return c.fail(1020)
	}
	expired := now.After(p.expires) // the last moment still counts
	if p.consumed || expired && !c.quirks.Expire200Null {
		p.gone = true
		return c.fail(1020)
	}
	if deviceJWT := c.query.Get("deviceJWT"); deviceJWT != "" {
		if p.jwk == nil {
			return c.fail(1008)
		}
		claims, err := verify(deviceJWT, c.clientID, map[string]ed25519.PublicKey{p.jwk.Kid: p.jwk.key()}, now.Add(s.offset))
		if err != nil {
			return c.fail(1008)
		}
		if d := s.devices[c.clientID]; p.token == nil && p.user != nil && d != nil && d.user == p.user && !d.revoked && s.ripe(c, p, now) {
			p.token = s.issueJWT(d, claims)
		}
	}
	r := c.write(http.StatusOK, s.pinDocument(c, p, now))
	if c.quirks.ConsumeOnRead && s.visible(c, p, now) {
		p.consumed = true
	}
	return r
}

// visible reports whether a look at p shows its token.
func (s *Server) visible(c *call, p *pin, now time.Time) bool {
	if p.jwk != nil && c.query.Get("deviceJWT") == "" {
		return false // what plex.tv does here is not known
	}
	return p.token != nil && s.ripe(c, p, now)
}

// ripe reports whether the approval of p can be seen by now.
func (s *Server) ripe(c *call, p *pin, now time.Time) bool {
	return !now.After(p.expires) && now.Sub(p.approved) >= c.quirks.ApprovalDelay
}

// pinDocument describes p to the client that made it. s.mu is held.
func (s *Server) pinDocument(c *call, p *pin, now time.Time) object {
	q := c.quirks
	id, _ := strconv.ParseInt(p.id, 10, 64)
	location := object{"location", []field{
		is("code", "GB"),
		maybe("european_union_member", false),
		maybe("continent_code", "EU"),
		maybe("country", "United Kingdom"),
		maybe("city", "Anytown"),
		maybe("time_zone", "Europe/London"),
		maybe("postal_code", "00000"),
		maybe("in_privacy_restricted_country", true),
		maybe("in_privacy_restricted_region", true),
		maybe("subdivisions", "England"),
		maybe("coordinates", "51.5, -0.1"),
	}}
	expiresIn := int(max(p.expires.Sub(now), 0).Round(time.Second) / time.Second)
	created, expires := p.created.Add(s.offset), p.expires.Add(s.offset)
	var token, newRegistration any
	if s.visible(c, p, now) {
		token, newRegistration = p.token.value, false
		if q.ClaimedExpired {
			expiresIn, expires = 0, p.approved.Add(s.offset)
		}
	}
	if q.ExpiresIn != nil {
		expiresIn = *q.ExpiresIn
	}
	o := object{"pin", []field{
		is("id", id),
		is("code", p.code),
		maybe("product", p.product),
		maybe("trusted", false),
		maybe("qr", c.origin+"/api/v2/pins/qr/"+p.code),
		maybe("clientIdentifier", p.clientID),
		maybe("location", location),
		is("expiresIn", expiresIn),
		maybe("createdAt", created),
		maybe("expiresAt", expires),
		is("authToken", token),
		maybe("newRegistration", newRegistration),
	}}
	if q.OmitExpiresIn {
		o = o.without("expiresIn")
	}
	if q.OmitDates {
		o = o.without("createdAt", "expiresAt")
	}
	if q.OldShape {
		o = o.without("qr", "product", "newRegistration")
		for i, f := range o.fields {
			if t, ok := f.value.(time.Time); ok {
				o.fields[i].value = t.UTC().Format("2006-01-02T15:04:05.000Z")
			}
			if f.name == "location" {
				location.fields[6] = maybe("postal_code", 10001)
			}
		}
	}
	return o
}

// linkPin answers PUT pins/link: a signed-in user approves a code.
func (s *Server) linkPin(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	if no != nil {
		return *no
	}
	p := s.waiting(c.form.Get("code"))
	if p == nil {
		return c.fail(1020)
	}
	s.approve(p, t.user)
	return newReply(http.StatusNoContent, "", nil)
}

// pinQR answers the address in a PIN's qr field with an image. It is a
// placeholder, not a real code.
func (s *Server) pinQR(c *call, code string) reply {
	s.mu.Lock()
	p := s.pinsByCode[code]
	s.mu.Unlock()
	if p == nil {
		return c.fail(1020)
	}
	return newReply(http.StatusOK, "image/png", placeholderPNG())
}
