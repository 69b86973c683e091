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
func (c *client) exchange(ctx context.Context, d *device, scopes []string, before func() error) (secretValue, error) {
	// The keys first: a token that cannot be verified must not be asked for.
	if _, _, err := c.keys.get(ctx, c, d.clientID, false); err != nil {
		return secretValue{}, err
	}
	var t secretValue
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
		e := failureIn(err)
		if !again || e == nil || !e.transient && e.StatusCode != http.StatusUnprocessableEntity {
			break
		}
	}
	if err != nil {
		return secretValue{}, err
	}
	claim, err := c.verify(ctx, t, d)
	if err != nil {
		return secretValue{}, err
	}
	if end := claim.expires; !end.IsZero() && !c.clock.now().Before(end.Add(verifyLeeway)) {
		return secretValue{}, notGenuine(errors.New("the token has expired already"))
	}
	return t, nil
}

// exchange gets a Plex JWT for a device, as the client's exchange does. It warns once if
// this machine's clock is wrong.
func (p *PlexAuth) exchange(ctx context.Context, d *device, scopes []string, before func() error) (secretValue, error) {
	t, err := p.client.exchange(ctx, d, scopes, before)
	if skew := p.client.clock.skew(); skew.Abs() >= time.Minute && !p.client.clock.warned.Swap(true) {
		p.logf(ctx, slog.LevelWarn, "this machine's clock is wrong; using plex.tv's time", slog.Duration("off", skew.Round(time.Second)))
	}
	return t, public(err)
}

const opRenew = "renew token"

// nonce asks for a number to be signed, good once and for five minutes.
func (c *client) nonce(ctx context.Context, d *device) (nonce string, err error) {
	err = c.do(ctx, &call{
		op: opRenew, method: http.MethodGet, url: c.clients + "/api/v2/auth/nonce", clientID: d.clientID, refine: noTokenNow,
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
	return nonce, err
}

// redeem exchanges a device JWT for a Plex JWT. A 401 is the verdict that the
// device is not authorized any more.
func (c *client) redeem(ctx context.Context, d *device, nonce string, scopes []string) (t secretValue, err error) {
	jwt, err := d.sign(nonce, scopes, c.clock.now())
	if err != nil {
		return secretValue{}, err
	}
	body, err := json.Marshal(map[string]string{"jwt": jwt})
	if err != nil {
		return secretValue{}, fmt.Errorf("plexauth: %s: %w", opRenew, err)
	}
	err = c.do(ctx, &call{
		op: opRenew, method: http.MethodPost, url: c.clients + "/api/v2/auth/token", clientID: d.clientID,
		body: body, once: true, secrets: []string{jwt, nonce}, refine: deviceVerdict,
		decode: func(body []byte) (err error) {
			t, err = decodeExchange(body)
			return err
		},
	})
	return t, err
}

// deviceVerdict refines the answer to an exchange: a 401 is the verdict that the device
// is not authorized any more.
func deviceVerdict(f *failure) {
	if f.is == nil && f.StatusCode == http.StatusUnauthorized && (f.Code == 0 || f.Code == 1001) {
		f.is = ErrTokenRejected
	}
	noTokenNow(f)
}

// noTokenNow refines any other refusal: there is no new token for now.
func noTokenNow(f *failure) {
	if f.is == nil {
		f.is = ErrUnavailable
	}
}

// decodeExchange reads the answer of auth/token. Plex documents auth_token;
// elsewhere the same thing is called authToken.
func decodeExchange(body []byte) (secretValue, error) {
	var j struct {
		Documented json.RawMessage `json:"auth_token"`
		Elsewhere  json.RawMessage `json:"authToken"`
	}
	if err := json.Unmarshal(body, &j); err != nil {
		return secretValue{}, err
	}
	for _, v := range []json.RawMessage{j.Documented, j.Elsewhere} {
		if secret := strings.TrimSpace(text(v)); usableToken(secret) && isJWT(secret) {
			return newValue(secret), nil
		}
	}
	return secretValue{}, errors.New("no JWT")
}
