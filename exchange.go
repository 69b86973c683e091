package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// exchange gets a Plex JWT for a device: nonce, signature, exchange, at once.
// Where that fails in a way that a new nonce may mend, it is done once more.
// before is called with all at hand for the one request that may end an older
// token; it may be nil.
func (p *PlexAuth) exchange(ctx context.Context, d *device, scopes []string, before func() error) (Token, error) {
	// The keys first: a token that cannot be verified must not be asked for.
	if _, _, err := p.client.keys.get(ctx, p.client, d.clientID, false); err != nil {
		return Token{}, err
	}
	var t Token
	var err error
	for again := true; ; again = false {
		var nonce string
		if nonce, err = p.client.nonce(ctx, d); err != nil {
			break
		}
		if before != nil {
			if err = before(); err != nil {
				break
			}
		}
		t, err = p.client.redeem(ctx, d, nonce, scopes)
		var e *Error
		if !again || !errors.As(err, &e) || !e.transient && e.StatusCode != http.StatusUnprocessableEntity {
			break
		}
	}
	if skew := p.client.clock.skew(); skew.Abs() >= time.Minute && !p.client.clock.warned.Swap(true) {
		p.logf(ctx, slog.LevelWarn, "this machine's clock is wrong, plex.tv's is gone by", slog.Duration("off", skew.Round(time.Second)))
	}
	if err != nil {
		return Token{}, err
	}
	c, err := p.client.verify(ctx, t, d)
	if err != nil {
		return Token{}, err
	}
	if past(c.expires.Add(verifyLeeway), p.client.clock.now()) {
		return Token{}, notGenuine(errors.New("the token has expired already"))
	}
	return t, nil
}

const opRenew = "renew token"

// nonce asks for a number to be signed, good once and for five minutes.
func (c *client) nonce(ctx context.Context, d *device) (nonce string, err error) {
	err = c.do(ctx, &call{
		op: opRenew, method: http.MethodGet, url: c.clients + "/api/v2/auth/nonce", clientID: d.clientID,
		decode: func(body []byte) error {
			var j struct {
				Nonce json.RawMessage `json:"nonce"`
			}
			if err := json.Unmarshal(body, &j); err != nil {
				return err
			}
			if nonce = text(j.Nonce); nonce == "" {
				return errors.New("no nonce")
			}
			return nil
		},
	})
	return nonce, notTheDevice(err)
}

// redeem exchanges a device JWT for a Plex JWT. A 401 is the verdict that the
// device is not authorized any more.
func (c *client) redeem(ctx context.Context, d *device, nonce string, scopes []string) (t Token, err error) {
	jwt, err := d.sign(nonce, scopes, c.clock.now())
	if err != nil {
		return Token{}, err
	}
	body, err := json.Marshal(map[string]string{"jwt": jwt})
	if err != nil {
		return Token{}, fmt.Errorf("plexauth: %s: %w", opRenew, err)
	}
	err = c.do(ctx, &call{
		op: opRenew, method: http.MethodPost, url: c.clients + "/api/v2/auth/token", clientID: d.clientID,
		body: body, once: true, secrets: []string{jwt, nonce},
		decode: func(body []byte) (err error) {
			t, err = decodeExchange(body)
			return err
		},
	})
	var e *Error
	if errors.As(err, &e) && e.is == nil && e.StatusCode == http.StatusUnauthorized && (e.Code == 0 || e.Code == 1001) {
		e.is = ErrTokenRejected
	}
	return t, notTheDevice(err)
}

// notTheDevice makes of any other refusal what it is to a caller: no new token
// for now.
func notTheDevice(err error) error {
	var e *Error
	if errors.As(err, &e) && e.is == nil {
		e.is = ErrUnavailable
	}
	return err
}

// decodeExchange reads the answer of auth/token. Plex documents auth_token;
// elsewhere the same thing is called authToken.
func decodeExchange(body []byte) (Token, error) {
	var j struct {
		Documented json.RawMessage `json:"auth_token"`
		Elsewhere  json.RawMessage `json:"authToken"`
	}
	if err := json.Unmarshal(body, &j); err != nil {
		return Token{}, err
	}
	for _, v := range []json.RawMessage{j.Documented, j.Elsewhere} {
		if secret := strings.TrimSpace(text(v)); usableToken(secret) && isJWT(secret) {
			return NewToken(secret), nil
		}
	}
	return Token{}, errors.New("no JWT")
}
