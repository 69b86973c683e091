package plextv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// OpRenew is the Op of the calls with which [Client.Exchange] gets a JWT.
const OpRenew = "renew token"

// opVerify is the Op of a token that is not what was asked for.
const opVerify = "verify token"

const (
	// keysMaxAge bounds how long plex.tv's public keys are used without reading them
	// again. They rotate.
	keysMaxAge = time.Hour
	// expiryLeeway is how far the clocks may be apart when a new token seems to have
	// expired already.
	expiryLeeway = time.Minute
)

// Exchange gets a Plex JWT for the device of d: it fetches a nonce, signs it, and
// exchanges it, as Plex documents for device keys. If that fails in a way that a new
// nonce may cure, it is done once more. The token was verified.
//
// A key that is to take the place of a long-lived token is new to plex.tv, and the
// exchange ends that token. For such a key, before is called when everything is at hand
// for the one request that does so; its error ends the exchange. A 401 is then a verdict
// on the key, not on the token. For any other key before is nil.
func (c *Client) Exchange(ctx context.Context, d *devicekey.Key, scopes []string, before func() error) (secret.Value, error) {
	// The keys first: a token that cannot be verified must not be asked for.
	if _, _, err := c.keys.get(ctx, c, d.ClientID, false); err != nil {
		return secret.Value{}, err
	}
	t, again, err := c.redeemNonce(ctx, d, scopes, before)
	if again {
		t, _, err = c.redeemNonce(ctx, d, scopes, before)
	}
	if err != nil {
		return secret.Value{}, err
	}
	claims, err := c.Verify(ctx, t, d)
	if err != nil {
		return secret.Value{}, err
	}
	if !c.Clock.Now().Before(claims.Expires.Add(expiryLeeway)) {
		return secret.Value{}, NotGenuine(errors.New("the token has expired already"))
	}
	return t, nil
}

// redeemNonce fetches a nonce and exchanges it. again says that the exchange has failed
// in a way that a new nonce may cure.
func (c *Client) redeemNonce(ctx context.Context, d *devicekey.Key, scopes []string, before func() error) (t secret.Value, again bool, err error) {
	nonce, err := c.nonce(ctx, d)
	if err != nil {
		return secret.Value{}, false, err
	}
	refine := judgeExchange
	if before != nil {
		if err := before(); err != nil {
			return secret.Value{}, false, err
		}
		refine = judgeNoToken
	}
	t, err = c.redeem(ctx, d, nonce, scopes, refine)
	f := FailureIn(err)
	return t, f != nil && (f.Temporary || f.StatusCode == http.StatusUnprocessableEntity), err
}

// nonce asks for a number to be signed. It can be used once, within five minutes.
func (c *Client) nonce(ctx context.Context, d *devicekey.Key) (nonce string, err error) {
	err = c.Do(ctx, &Call{
		Op: OpRenew, Method: http.MethodGet, URL: c.clients + "/api/v2/auth/nonce", ClientID: d.ClientID, refine: judgeNoToken,
		Decode: func(body []byte) error {
			var j struct {
				Nonce json.RawMessage `json:"nonce"`
			}
			if err := json.Unmarshal(body, &j); err != nil {
				return err
			}
			if nonce = lax.Text(j.Nonce); nonce == "" {
				return errors.New("no nonce")
			}
			return nil
		},
	})
	return nonce, err
}

// redeem exchanges a device JWT with nonce for a Plex JWT.
func (c *Client) redeem(ctx context.Context, d *devicekey.Key, nonce string, scopes []string, refine func(*Failure) *Failure) (t secret.Value, err error) {
	jwt, err := d.Sign(nonce, scopes, c.Clock.Now())
	if err != nil {
		return secret.Value{}, err
	}
	body, err := json.Marshal(map[string]string{"jwt": jwt})
	if err != nil {
		return secret.Value{}, fmt.Errorf("plexauth: %s: %w", OpRenew, err)
	}
	err = c.Do(ctx, &Call{
		Op: OpRenew, Method: http.MethodPost, URL: c.clients + "/api/v2/auth/token", ClientID: d.ClientID,
		body: body, Once: true, secrets: []string{jwt, nonce}, refine: refine,
		Decode: func(body []byte) (err error) {
			t, err = decodeExchange(body)
			return err
		},
	})
	return t, err
}

// judgeExchange refines the verdict on an exchange: a 401 says that the device is not
// authorized any more.
func judgeExchange(f *Failure) *Failure {
	if f.Sentinel == nil && f.StatusCode == http.StatusUnauthorized && (f.Code == 0 || f.Code == codeUnauthorized) {
		f.Sentinel = fault.ErrTokenRejected
	}
	return judgeNoToken(f)
}

// judgeNoToken refines any other refusal of a call for a new token: there is none for
// now, which says nothing about the old one.
func judgeNoToken(f *Failure) *Failure {
	if f.Sentinel == nil {
		f.Sentinel = fault.ErrUnavailable
	}
	return f
}

// decodeExchange reads the answer of POST /api/v2/auth/token. Plex documents auth_token;
// other endpoints call the same thing authToken.
func decodeExchange(body []byte) (secret.Value, error) {
	var j struct {
		Documented json.RawMessage `json:"auth_token"`
		Elsewhere  json.RawMessage `json:"authToken"`
	}
	if err := json.Unmarshal(body, &j); err != nil {
		return secret.Value{}, err
	}
	for _, v := range []json.RawMessage{j.Documented, j.Elsewhere} {
		if raw := strings.TrimSpace(lax.Text(v)); secret.UsableToken(raw) && devicekey.IsJWT(raw) {
			return secret.New(raw), nil
		}
	}
	return secret.Value{}, errors.New("no JWT")
}

// Verify checks that t is a JWT that plex.tv has signed for the device of d, expired or
// not, and returns what it says. If no known key has signed it, the keys are read once
// more: they rotate, and the first one listed is not always the one in use. A
// [*Failure] with IsNotGenuine says that the token is at fault.
func (c *Client) Verify(ctx context.Context, t secret.Value, d *devicekey.Key) (devicekey.Claims, error) {
	jws, claims, err := devicekey.ParseJWT(t, d)
	if err != nil {
		return devicekey.Claims{}, NotGenuine(err)
	}
	keys, cached, err := c.keys.get(ctx, c, d.ClientID, false)
	if err != nil {
		return devicekey.Claims{}, err
	}
	if devicekey.SignedBy(jws, keys) {
		return claims, nil
	}
	if cached {
		if keys, _, err = c.keys.get(ctx, c, d.ClientID, true); err != nil {
			return devicekey.Claims{}, err
		}
		if devicekey.SignedBy(jws, keys) {
			return claims, nil
		}
	}
	return devicekey.Claims{}, NotGenuine(errors.New("the token is not signed with a key of plex.tv"))
}

// keyset caches plex.tv's public keys.
type keyset struct {
	mu     sync.Mutex // not held while they are read
	keys   []devicekey.PublicKey
	readAt elapsed.Instant
}

// get returns the keys, from the cache unless they are too old or fresh is set. cached
// says whether they are from there.
func (s *keyset) get(ctx context.Context, c *Client, clientID string, fresh bool) (keys []devicekey.PublicKey, cached bool, err error) {
	s.mu.Lock()
	keys, readAt := s.keys, s.readAt
	s.mu.Unlock()
	if !fresh && len(keys) > 0 && readAt.Add(keysMaxAge).Ahead() {
		return keys, true, nil
	}
	err = c.Do(ctx, &Call{
		Op: "read plex.tv's keys", Method: http.MethodGet, URL: c.clients + "/api/v2/auth/keys", ClientID: clientID, refine: judgeNoToken,
		Decode: func(body []byte) (err error) {
			keys, err = devicekey.DecodeKeys(body)
			return err
		},
	})
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.readAt = keys, elapsed.Now()
	return keys, false, nil
}

// Register makes a device key known for the device that the long-lived token t belongs
// to (POST /api/v2/auth/jwk).
func (c *Client) Register(ctx context.Context, d *devicekey.Key, t secret.Value) error {
	body, err := d.Registration(false)
	if err != nil {
		return err
	}
	return c.Do(ctx, &Call{
		Op: "register device key", Method: http.MethodPost, URL: c.clients + "/api/v2/auth/jwk",
		ClientID: d.ClientID, Token: t, body: body, Decode: decodeConfirmation,
	})
}
