package plextest

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"
)

const (
	nonceLife = 5 * time.Minute

	// nonceLimit is the number of nonces per client identifier and minute. Plex
	// documents that there is a limit, but not its value.
	nonceLimit = 20
)

// A device is a client identifier with registered keys.
type device struct {
	clientID string
	user     *User
	keys     map[string]ed25519.PublicKey // by kid
	revoked  bool                         // its user has removed it
}

// RevokeDevice removes a device from the list of authorized devices, as its user
// can do at plex.tv. All tokens of that client identifier end, and its keys are
// no longer valid.
func (s *Server) RevokeDevice(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.clientID == clientID {
			s.endToken(t)
		}
	}
	if d := s.devices[clientID]; d != nil {
		d.revoked = true
	}
}

// registerDevice adds a key to the device of u with a client identifier. It makes
// a new device if there is none, or if it was revoked or belongs to another user.
// s.mu must be held.
func (s *Server) registerDevice(clientID string, u *User, j *jwk) *device {
	d := s.devices[clientID]
	if d == nil || d.user != u || d.revoked {
		d = &device{clientID: clientID, user: u, keys: map[string]ed25519.PublicKey{}}
		s.devices[clientID] = d
	}
	d.keys[j.Kid] = j.key()
	s.thumbprints[j.thumbprint()] = clientID
	return d
}

// keyTaken returns the answer to a key that is already registered.
func (c *call) keyTaken() reply {
	return c.failWith(http.StatusUnprocessableEntity, 1014, "Thumbprint has already been taken")
}

// registerKey answers POST auth/jwk.
func (s *Server) registerKey(c *call) reply {
	var body struct {
		JWK *jwk `json:"jwk"`
	}
	err := json.Unmarshal(c.body, &body)
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	if err != nil || body.JWK == nil || body.JWK.key() == nil {
		return c.fail(1004)
	}
	s.checkPrivateKey(c, body.JWK)
	if s.thumbprints[body.JWK.thumbprint()] != "" {
		return c.keyTaken()
	}
	s.registerDevice(t.clientID, t.user, body.JWK) // the token determines the device, not the header
	return c.write(http.StatusCreated, object{"jwk", nil})
}

// createNonce answers GET auth/nonce.
func (s *Server) createNonce(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if c.clientID == "" {
		return c.failWith(http.StatusUnprocessableEntity, 1000, codes[1000].message)
	}
	recent := slices.DeleteFunc(s.nonceTimes[c.clientID], func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	if len(recent) >= nonceLimit {
		s.nonceTimes[c.clientID] = recent
		return c.fail(1003)
	}
	s.nonceTimes[c.clientID] = append(recent, now)
	nonce := uuid(s.nextBytes("nonce"))
	s.nonces[nonce] = now
	return c.write(http.StatusOK, object{"auth", []field{required("nonce", nonce)}})
}

// useNonce reports whether a nonce is valid, and uses it up. s.mu must be held.
func (s *Server) useNonce(nonce string, now time.Time) bool {
	given, ok := s.nonces[nonce]
	delete(s.nonces, nonce)
	return ok && now.Sub(given) < nonceLife
}

// exchangeJWT answers POST auth/token. It returns a Plex JWT for a device JWT.
func (s *Server) exchangeJWT(c *call) reply {
	var body struct {
		JWT string `json:"jwt"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil || body.JWT == "" {
		return c.fail(1004)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[c.clientID]
	if d == nil {
		return c.fail(1008)
	}
	now := time.Now()
	claims, err := verify(body.JWT, c.clientID, d.keys, now.Add(s.offset))
	switch {
	case errors.Is(err, errBadIssuer):
		return c.fail(1097)
	case err != nil:
		return c.fail(1008)
	case d.revoked:
		return c.fail(1001)
	case !s.useNonce(claims.Nonce, now):
		return c.fail(1008)
	}
	return c.write(http.StatusOK, object{"auth", []field{required("auth_token", s.issueJWT(d, claims).value)}})
}

// listKeys answers GET auth/keys. plex.tv answers this call in JSON regardless of
// Accept.
func (s *Server) listKeys(c *call) reply {
	c.wantsJSON = !c.quirks.XMLAlways
	s.mu.Lock()
	defer s.mu.Unlock()
	s.currentKey()
	keys := list{tag: "keys"}
	for _, k := range s.keys {
		keys.items = append(keys.items, object{"key", []field{
			required("kty", "OKP"), required("crv", "Ed25519"), required("x", b64.EncodeToString(k.priv.Public().(ed25519.PublicKey))),
			required("use", "sig"), required("alg", "EdDSA"), required("kid", k.kid),
		}})
	}
	return c.write(http.StatusOK, object{"auth", []field{required("keys", keys)}})
}
