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
	defaultShortLife  = 15 * time.Minute
	defaultStrongLife = 30 * time.Minute

	shortAlphabet  = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	strongAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// A pin is a PIN, which is one attempt to sign in.
type pin struct {
	id       string // decimal
	code     string
	strong   bool
	clientID string
	product  string
	jwk      *jwk // the device key of a PIN that asks for a JWT, or nil

	created, expires time.Time // by the local clock

	user     *User     // the user who approved it, or nil
	approved time.Time // when user approved it
	token    *token    // nil until the approval; with a key, until the first poll after it
	consumed bool      // the token was read and ConsumeOnRead is set

	lastPoll time.Time // when the client polled it last
	polls    int       // number of polls without an answer yet
}

// SetPinLifetime sets the lifetime of new PINs with a short code and with a strong
// code. Zero means the default: 15 and 30 minutes.
func (s *Server) SetPinLifetime(short, strong time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shortLife, s.strongLife = defaultShortLife, defaultStrongLife
	if short > 0 {
		s.shortLife = short
	}
	if strong > 0 {
		s.strongLife = strong
	}
}

// PendingCodes returns the codes of all pending PINs, oldest first.
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

// Approve approves the PIN with a code as user u, as a person does at
// plex.tv/link or on the sign-in page. The PIN then has a token of u. Approve
// returns an error if no PIN with this code is pending, or if u was not added to
// s.
func (s *Server) Approve(code string, u *User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasUser(u) {
		return fmt.Errorf("plextest: approve: this user was not added to this server")
	}
	p := s.pendingPin(code)
	if p == nil {
		return fmt.Errorf("plextest: approve: no PIN with the code %q is waiting", code)
	}
	s.approve(p, u)
	return nil
}

// Expire makes the PIN with a code expire now, whether or not it is approved.
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

// pending reports whether p is neither approved nor expired.
func (p *pin) pending(now time.Time) bool {
	return p.user == nil && now.Before(p.expires)
}

// pendingPin returns the pending PIN with a code as a person types it, or nil.
// s.mu must be held.
func (s *Server) pendingPin(code string) *pin {
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

// approve approves p as u. If p has no key, it gets an account token, which ends
// the earlier token of u for the same client identifier. s.mu must be held.
func (s *Server) approve(p *pin, u *User) {
	p.user, p.approved = u, time.Now()
	if p.jwk == nil {
		p.token = s.issue(u, p.clientID)
	} else {
		s.registerDevice(p.clientID, u, p.jwk)
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
			err = nil // treat a body that is not an object as empty: existing clients send ""
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
		s.checkPrivateKey(c, body.JWK)
		if owner := s.thumbprints[body.JWK.thumbprint()]; owner != "" && owner != c.clientID {
			return c.keyTaken()
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

// isTrue reports whether plex.tv reads a parameter as true.
func isTrue(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

// readPin answers GET pins/{id}. It treats a PIN of another client identifier as
// missing.
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
	expired := now.After(p.expires) // the PIN is still valid at its last moment
	if p.consumed || expired && !c.quirks.Expire200Null {
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
		if d := s.devices[c.clientID]; p.token == nil && p.user != nil && d != nil && d.user == p.user && !d.revoked && s.approvalStored(c, p, now) {
			p.token = s.issueJWT(d, claims)
		}
	}
	r := c.write(http.StatusOK, s.pinDocument(c, p, now))
	if c.quirks.ConsumeOnRead && s.showsToken(c, p, now) {
		p.consumed = true
	}
	return r
}

// showsToken reports whether the answer to c shows the token of p.
func (s *Server) showsToken(c *call, p *pin, now time.Time) bool {
	if p.jwk != nil && c.query.Get("deviceJWT") == "" {
		return false // a guess: plex.tv's behaviour is not known
	}
	return p.token != nil && s.approvalStored(c, p, now)
}

// approvalStored reports whether ApprovalDelay has passed since the approval of p.
// It returns false once p has expired.
func (s *Server) approvalStored(c *call, p *pin, now time.Time) bool {
	return !now.After(p.expires) && now.Sub(p.approved) >= c.quirks.ApprovalDelay
}

// pinDocument describes p to the client that created it. s.mu must be held.
func (s *Server) pinDocument(c *call, p *pin, now time.Time) object {
	q := c.quirks
	id, _ := strconv.ParseInt(p.id, 10, 64)
	location := object{"location", []field{
		required("code", "GB"),
		optional("european_union_member", false),
		optional("continent_code", "EU"),
		optional("country", "United Kingdom"),
		optional("city", "Anytown"),
		optional("time_zone", "Europe/London"),
		optional("postal_code", "00000"),
		optional("in_privacy_restricted_country", true),
		optional("in_privacy_restricted_region", true),
		optional("subdivisions", "England"),
		optional("coordinates", "51.5, -0.1"),
	}}
	expiresIn := int(max(p.expires.Sub(now), 0).Round(time.Second) / time.Second)
	created, expires := p.created.Add(s.offset), p.expires.Add(s.offset)
	var token, newRegistration any
	if s.showsToken(c, p, now) {
		token, newRegistration = p.token.value, false
		if q.ClaimedExpired {
			expiresIn, expires = 0, p.approved.Add(s.offset)
		}
	}
	if q.ExpiresIn != nil {
		expiresIn = *q.ExpiresIn
	}
	o := object{"pin", []field{
		required("id", id),
		required("code", p.code),
		optional("product", p.product),
		optional("trusted", false),
		optional("qr", c.origin+"/api/v2/pins/qr/"+p.code),
		optional("clientIdentifier", p.clientID),
		optional("location", location),
		required("expiresIn", expiresIn),
		optional("createdAt", created),
		optional("expiresAt", expires),
		required("authToken", token),
		optional("newRegistration", newRegistration),
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
				location.fields[6] = optional("postal_code", 10001)
			}
		}
	}
	return o
}

// linkPin answers PUT pins/link, by which a signed-in user approves a code.
func (s *Server) linkPin(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	p := s.pendingPin(c.form.Get("code"))
	if p == nil {
		return c.fail(1020)
	}
	s.approve(p, t.user)
	return newReply(http.StatusNoContent, "", nil)
}

// pinQR answers the address in a PIN's qr field with a placeholder image.
func (s *Server) pinQR(c *call, code string) reply {
	s.mu.Lock()
	p := s.pinsByCode[code]
	s.mu.Unlock()
	if p == nil {
		return c.fail(1020)
	}
	return newReply(http.StatusOK, "image/png", placeholderPNG())
}
