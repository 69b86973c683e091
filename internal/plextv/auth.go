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

// Exchange gets a Plex JWT for a device: nonce, signature, exchange, at once.
// Where that fails in a way that a new nonce may mend, it is done once more.
// before is called with all at hand for the one request that may end an older
// token; it may be nil.
func (c *Client) Exchange(ctx context.Context, d *devicekey.Key, scopes []string, before func() error) (secret.Value, error) {
	// The keys first: a token that cannot be verified must not be asked for.
	if _, _, err := c.keys.get(ctx, c, d.ClientID, false); err != nil {
		return secret.Value{}, err
	}
	var t secret.Value
	var err error
	for again := true; ; again = false {
		var nonce string
		if nonce, err = c.nonce(ctx, d); err != nil {
			break
		}
		if before != nil {
			if err = before(); err != nil {
				break
			}
		}
		t, err = c.redeem(ctx, d, nonce, scopes)
		e := FailureIn(err)
		if !again || e == nil || !e.Transient && e.StatusCode != http.StatusUnprocessableEntity {
			break
		}
	}
	if err != nil {
		return secret.Value{}, err
	}
	claim, err := c.Verify(ctx, t, d)
	if err != nil {
		return secret.Value{}, err
	}
	if end := claim.Expires; !end.IsZero() && !c.Clock.Now().Before(end.Add(verifyLeeway)) {
		return secret.Value{}, NotGenuine(errors.New("the token has expired already"))
	}
	return t, nil
}

const OpRenew = "renew token"

// nonce asks for a number to be signed, good once and for five minutes.
func (c *Client) nonce(ctx context.Context, d *devicekey.Key) (nonce string, err error) {
	err = c.Do(ctx, &Call{
		Op: OpRenew, Method: http.MethodGet, Url: c.clients + "/api/v2/auth/nonce", ClientID: d.ClientID, refine: noTokenNow,
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

// redeem exchanges a device JWT for a Plex JWT. A 401 is the verdict that the
// device is not authorized any more.
func (c *Client) redeem(ctx context.Context, d *devicekey.Key, nonce string, scopes []string) (t secret.Value, err error) {
	jwt, err := d.Sign(nonce, scopes, c.Clock.Now())
	if err != nil {
		return secret.Value{}, err
	}
	body, err := json.Marshal(map[string]string{"jwt": jwt})
	if err != nil {
		return secret.Value{}, fmt.Errorf("plexauth: %s: %w", OpRenew, err)
	}
	err = c.Do(ctx, &Call{
		Op: OpRenew, Method: http.MethodPost, Url: c.clients + "/api/v2/auth/token", ClientID: d.ClientID,
		body: body, Once: true, secrets: []string{jwt, nonce}, refine: deviceVerdict,
		Decode: func(body []byte) (err error) {
			t, err = decodeExchange(body)
			return err
		},
	})
	return t, err
}

// deviceVerdict refines the answer to an exchange: a 401 is the verdict that the device
// is not authorized any more.
func deviceVerdict(f *Failure) {
	if f.Sentinel == nil && f.StatusCode == http.StatusUnauthorized && (f.Code == 0 || f.Code == 1001) {
		f.Sentinel = fault.ErrTokenRejected
	}
	noTokenNow(f)
}

// noTokenNow refines any other refusal: there is no new token for now.
func noTokenNow(f *Failure) {
	if f.Sentinel == nil {
		f.Sentinel = fault.ErrUnavailable
	}
}

// decodeExchange reads the answer of auth/token. Plex documents auth_token;
// elsewhere the same thing is called authToken.
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

const (
	// keysKept is how long plex.tv's public keys are gone by. They rotate.
	keysKept = time.Hour
)

const opVerify = "verify token"

// NotGenuine is the error for an answer with a token that is not what was asked
// for. It says nothing about the token that is stored.
func NotGenuine(err error) *Failure {
	return &Failure{Op: opVerify, Where: "plex.tv", StatusCode: http.StatusOK, Sentinel: fault.ErrUnavailable, Transient: true, Message: err.Error()}
}

// Verify checks that a JWT is plex.tv's own and for this device, whether or not
// it has expired. A key that is not known yet is looked for once more: they
// rotate, and the first one listed is not always the one in use. The error is an
// [*Error], of isNotGenuine where the token is at fault.
func (c *Client) Verify(ctx context.Context, t secret.Value, d *devicekey.Key) (devicekey.Claims, error) {
	jws, claim, err := devicekey.ParseJWT(t, d)
	if err != nil {
		return devicekey.Claims{}, NotGenuine(err)
	}
	keys, cached, err := c.keys.get(ctx, c, d.ClientID, false)
	if err != nil {
		return devicekey.Claims{}, err
	}
	if devicekey.SignedBy(jws, keys) {
		return claim, nil
	}
	if cached {
		if keys, _, err = c.keys.get(ctx, c, d.ClientID, true); err != nil {
			return devicekey.Claims{}, err
		}
		if devicekey.SignedBy(jws, keys) {
			return claim, nil
		}
	}
	return devicekey.Claims{}, NotGenuine(errors.New("the token is not signed by a key of plex.tv's"))
}

// keyset keeps plex.tv's public keys.
type keyset struct {
	mu   sync.Mutex // never held while they are fetched
	keys []devicekey.PublicKey
	at   elapsed.Instant
}

// get returns the keys; cached is false where they were fetched just now.
func (s *keyset) get(ctx context.Context, c *Client, clientID string, anew bool) (keys []devicekey.PublicKey, cached bool, err error) {
	s.mu.Lock()
	keys, at := s.keys, s.at
	s.mu.Unlock()
	if !anew && len(keys) > 0 && at.Add(keysKept).Left() > 0 {
		return keys, true, nil
	}
	err = c.Do(ctx, &Call{
		Op: "read plex.tv's keys", Method: http.MethodGet, Url: c.clients + "/api/v2/auth/keys", ClientID: clientID, refine: noTokenNow,
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
	s.keys, s.at = keys, elapsed.Now()
	return keys, false, nil
}

// Register makes a device key known for the device that a long-lived token
// belongs to.
func (c *Client) Register(ctx context.Context, d *devicekey.Key, t secret.Value) error {
	body, err := d.Registration(false)
	if err != nil {
		return err
	}
	return c.Do(ctx, &Call{
		Op: "register device key", Method: http.MethodPost, Url: c.clients + "/api/v2/auth/jwk",
		ClientID: d.ClientID, Token: t, account: true, body: body, Decode: confirmed,
	})
}

const (
	// verifyLeeway is how far the clocks may be apart where a new token's life
	// is checked.
	verifyLeeway = time.Minute
)
