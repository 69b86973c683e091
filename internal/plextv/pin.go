package plextv

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	LongestLifetime  = time.Hour
	longestShortCode = 10 // 4 characters are usual; a strong code has 25
)

// Escape is url.QueryEscape with %20 for a space.
func Escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// PinReply is what a login needs of plex.tv's answer. The rest of it, dates
// and location included, may come in any shape.
type PinReply struct {
	Id        int64
	Code      string
	ExpiresIn time.Duration
	Expires   bool // expiresIn was there
	Token     secret.Value
}

func decodePIN(body []byte) (r PinReply, err error) {
	var j struct {
		ID        json.RawMessage `json:"id"`
		Code      json.RawMessage `json:"code"`
		ExpiresIn json.RawMessage `json:"expiresIn"`
		AuthToken json.RawMessage `json:"authToken"`
		Errors    json.RawMessage `json:"errors"`
	}
	if err := json.Unmarshal(body, &j); err != nil {
		return r, err
	}
	r.Id, r.Code = lax.Int(j.ID), lax.Text(j.Code)
	if s, ok := lax.Number(j.ExpiresIn); ok {
		r.Expires = true
		r.ExpiresIn = time.Duration(min(max(s, -1), LongestLifetime.Seconds()) * float64(time.Second))
	}
	if v := string(j.AuthToken); v != "" && v != "null" {
		raw := strings.TrimSpace(lax.Text(j.AuthToken))
		if v[0] != '"' || raw != "" && !secret.UsableToken(raw) {
			return r, errors.New("a token that is none")
		}
		r.Token = secret.New(raw)
	}
	var list []json.RawMessage
	if r.Token.IsZero() && len(j.Errors) > 0 && json.Unmarshal(j.Errors, &list) == nil && len(list) > 0 {
		return r, errors.New("an error where a PIN was asked for")
	}
	return r, nil
}

// CreatePIN asks plex.tv for a PIN, with d for one that gives a JWT. What it
// returns is whole: a number, and a code of the kind that was asked for.
func (c *Client) CreatePIN(ctx context.Context, clientID string, d *devicekey.Key, strong bool) (r PinReply, sent time.Time, err error) {
	q := &Call{
		Op: OpCreatePIN, Method: http.MethodPost, Url: c.PlexTV + "/api/v2/pins", ClientID: clientID,
		Decode: func(body []byte) (err error) {
			if r, err = decodePIN(body); err != nil {
				return err
			}
			return checkNewPIN(r, strong)
		},
	}
	switch {
	case d != nil:
		if q.body, err = d.Registration(strong); err != nil {
			return r, sent, err
		}
	case strong:
		q.Url += "?strong=true"
	}
	err = c.Do(ctx, q)
	return r, q.sent, err
}

func checkNewPIN(r PinReply, strong bool) error {
	switch {
	case r.Id <= 0:
		return errors.New("a PIN without a number")
	case r.Code == "" || strings.ContainsFunc(r.Code, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}):
		return errors.New("a PIN without a code")
	case strong && len(r.Code) <= longestShortCode:
		return errors.New("a short code where a strong one was asked for")
	case !strong && len(r.Code) > longestShortCode:
		return errors.New("a strong code where a short one was asked for")
	}
	return nil
}

// PinRef is a PIN that plex.tv is asked about.
type PinRef struct {
	Id       int64
	Code     string
	ClientID string
	Device   *devicekey.Key // of a login with a device key
}

// CheckPIN asks plex.tv once whether a PIN has been approved. attempt bounds the
// request and can end it; ctx is the caller's. sent is when the request left.
func (c *Client) CheckPIN(ctx, attempt context.Context, pin PinRef, scopes []string) (r PinReply, sent time.Time, err error) {
	id := strconv.FormatInt(pin.Id, 10)
	q := &Call{
		Op: OpCheckPIN, Method: http.MethodGet, Url: c.PlexTV + "/api/v2/pins/" + id, ClientID: pin.ClientID,
		attempt: attempt, Once: true, secrets: []string{id, pin.Code}, refine: pinVerdict,
		Decode: func(body []byte) (err error) {
			if r, err = decodePIN(body); err == nil && r.Id != 0 && r.Id != pin.Id {
				err = errors.New("another PIN than the one asked for")
			}
			return err
		},
	}
	if pin.Device != nil {
		jwt, err := pin.Device.Sign("", scopes, c.Clock.Now())
		if err != nil {
			return r, time.Now(), err
		}
		q.Url += "?deviceJWT=" + jwt
		q.secrets = append(q.secrets, jwt)
		q.refine = devicePINVerdict
	}
	err = c.Do(ctx, q)
	if pin.Device != nil && err == nil && r.Token.HasParts() {
		if _, _, bad := devicekey.ParseJWT(r.Token, pin.Device); bad != nil {
			err = NotGenuine(bad)
		}
	}
	return r, q.sent, err
}

// pinVerdict refines the answer to a look at a PIN: 404 with code 1020 and 410 say that
// it has expired.
func pinVerdict(f *Failure) {
	if f.StatusCode == http.StatusNotFound && f.Code == 1020 || f.StatusCode == http.StatusGone && !f.Transient {
		f.Sentinel = fault.ErrPinExpired
	}
}

// devicePINVerdict is pinVerdict for a PIN with a device key. A 422 refuses the device
// JWT, by the clock, which the answer has set right.
func devicePINVerdict(f *Failure) {
	if f.StatusCode == http.StatusUnprocessableEntity {
		f.Sentinel, f.Transient = fault.ErrUnavailable, true
	}
	pinVerdict(f)
}

// What a request about a PIN is called in errors.
const (
	OpCreatePIN = "create PIN"
	OpCheckPIN  = "check PIN"
)
