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

	// nonceLimit is how many nonces a client identifier gets in a minute.
	// Plex says that there is a limit, not which.
	nonceLimit = 20
)

// A device is what registered a key.
type device struct {
	clientID string
	user     *User
	keys     map[string]ed25519.PublicKey // by kid
	revoked  bool                         // deauthorized by its user
}

// RevokeDevice does what a person does who removes a device from the list of
// authorized ones: all tokens under that client identifier end, and its key
// is worth nothing.
func (s *Server) RevokeDevice(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.clientID == clientID {
			s.kill(t)
		}
	}
	if d := s.devices[clientID]; d != nil {
		d.revoked = true
	}
}

// register gives a device of u a key. The device may be new, or authorized
// anew. s.mu is held.
func (s *Server) register(clientID string, u *User, j *jwk) *device {
	d := s.devices[clientID]
	if d == nil || d.user != u || d.revoked {
		d = &device{clientID: clientID, user: u, keys: map[string]ed25519.PublicKey{}}
		s.devices[clientID] = d
	}
	d.keys[j.Kid] = j.key()
	s.thumbprints[j.thumbprint()] = clientID
	return d
}

// taken is the answer to a key that is registered already.
func (c *call) taken() reply {
	return c.failWith(http.StatusUnprocessableEntity, 1014, "Thumbprint has already been taken")
}

// checkKey looks at a key that a client sends. s.mu is held.
func (s *Server) checkKey(c *call, j *jwk) {
	if j.D != "" {
		s.violate(c, "a private key is sent")
	}
}

// registerKey answers POST auth/jwk.
func (s *Server) registerKey(c *call) reply {
	var body struct {
		JWK *jwk `json:"jwk"`
	}
	err := json.Unmarshal(c.body, &body)
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	if no != nil {
		return *no
	}
	if err != nil || body.JWK == nil || body.JWK.key() == nil {
		return c.fail(1004)
	}
	s.checkKey(c, body.JWK)
	if s.thumbprints[body.JWK.thumbprint()] != "" {
		return c.taken()
	}
	s.register(t.clientID, t.user, body.JWK) // the token's device, whatever the header says
	return c.write(http.StatusCreated, object{"jwk", nil})
}

// giveNonce answers GET auth/nonce.
func (s *Server) giveNonce(c *call) reply {
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
	nonce := uuid(s.next("nonce"))
	s.nonces[nonce] = now
	return c.write(http.StatusOK, object{"auth", []field{is("nonce", nonce)}})
}

// useNonce reports whether a nonce is good, which it is once. s.mu is held.
func (s *Server) useNonce(nonce string, now time.Time) bool {
	given, ok := s.nonces[nonce]
	delete(s.nonces, nonce)
	return ok && now.Sub(given) < nonceLife
}

// exchangeJWT answers POST auth/token: a device JWT for a Plex JWT.
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
	return c.write(http.StatusOK, object{"auth", []field{is("auth_token", s.issueJWT(d, claims).value)}})
}

// showKeys answers GET auth/keys, which was seen to be JSON without being asked
// for it.
func (s *Server) showKeys(c *call) reply {
	c.wantsJSON = !c.quirks.XMLAlways
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signing()
	keys := list{tag: "keys"}
	for _, k := range s.keys {
		keys.items = append(keys.items, object{"key", []field{
			is("kty", "OKP"), is("crv", "Ed25519"), is("x", b64.EncodeToString(k.priv.Public().(ed25519.PublicKey))),
			is("use", "sig"), is("alg", "EdDSA"), is("kid", k.kid),
		}})
	}
	return c.write(http.StatusOK, object{"auth", []field{is("keys", keys)}})
}
