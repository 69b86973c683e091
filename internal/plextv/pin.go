package plextv

import (
	"context"
	"encoding/json"
	"errors"
	"net"
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
	// MaxPINLifetime bounds how long a PIN is taken to live, whatever plex.tv says.
	MaxPINLifetime = time.Hour
	// maxShortCode bounds the code of a PIN that a person types. Four characters are
	// usual; a strong code has 25.
	maxShortCode = 10
)

// The Ops of calls about a PIN.
const (
	opCreatePIN = "create PIN"
	OpCheckPIN  = "check PIN" // of [Client.CheckPIN]
)

// Escape returns s for a query, with %20 for a space, which url.QueryEscape makes a "+".
func Escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// PINReply is what a login needs of plex.tv's answer about a PIN. The rest of the
// answer, dates and location included, may have any shape.
type PINReply struct {
	ID        int64
	Code      string        // what the person confirms
	ExpiresIn time.Duration // negative once it has expired; at most MaxPINLifetime
	Expires   bool          // ExpiresIn is known
	Token     secret.Value  // once the PIN is approved
}

// PINAnswer is what plex.tv says of a PIN.
type PINAnswer int

// The answers about a PIN.
const (
	AnswerPending  PINAnswer = iota // it waits for the approval
	AnswerApproved                  // here is the token
	AnswerExpired                   // plex.tv does not know the PIN any more
	AnswerRefused                   // plex.tv will give no other answer
	AnswerNone                      // no answer about the PIN: not reached, 429, 5xx
)

// Answer says what the result of [Client.CheckPIN], r and err, means.
func (r PINReply) Answer(err error) PINAnswer {
	switch {
	case err == nil && !r.Token.IsZero():
		return AnswerApproved
	case err == nil:
		return AnswerPending
	case errors.Is(err, fault.ErrPinExpired):
		return AnswerExpired
	case FailureIn(err).IsPermanent():
		return AnswerRefused
	}
	return AnswerNone
}

// decodePIN reads a PIN. A null authToken says that it is not approved yet.
func decodePIN(body []byte) (r PINReply, err error) {
	var token, problems json.RawMessage
	err = lax.Object(body, func(key []byte, value json.RawMessage) {
		switch string(key) {
		case "id":
			r.ID = lax.Int(value)
		case "code":
			r.Code = lax.Text(value)
		case "expiresIn":
			r.ExpiresIn, r.Expires = decodeLifetime(value)
		case "authToken":
			token = value
		case "errors":
			problems = value
		}
	})
	if err != nil {
		return PINReply{}, err
	}
	if r.Token, err = decodeToken(token); err != nil {
		return r, err
	}
	var list []json.RawMessage
	if r.Token.IsZero() && len(problems) > 0 && json.Unmarshal(problems, &list) == nil && len(list) > 0 {
		return r, errors.New("an error where a PIN was asked for")
	}
	return r, nil
}

// decodeToken reads the token of an approved PIN, zero if there is none.
func decodeToken(v json.RawMessage) (secret.Value, error) {
	if len(v) == 0 || string(v) == "null" {
		return secret.Value{}, nil
	}
	text := strings.TrimSpace(lax.Text(v))
	if v[0] != '"' || text != "" && !secret.UsableToken(text) {
		return secret.Value{}, errors.New("a token that no header can carry")
	}
	return secret.New(text), nil
}

// decodeLifetime reads how long a PIN lives from now on.
func decodeLifetime(v json.RawMessage) (left time.Duration, known bool) {
	s, known := lax.Number(v)
	if !known {
		return 0, false
	}
	return time.Duration(min(max(s, -1), MaxPINLifetime.Seconds()) * float64(time.Second)), true
}

// CreatePIN asks plex.tv for a PIN. d is the device key of a login that is to get a
// JWT, or nil. strong asks for a long code. The PIN that is returned has a number and a
// code of the kind that was asked for. sent is when the request left.
func (c *Client) CreatePIN(ctx context.Context, clientID string, d *devicekey.Key, strong bool) (r PINReply, sent time.Time, err error) {
	q := &Call{
		Op: opCreatePIN, Method: http.MethodPost, URL: c.PlexTV + "/api/v2/pins", ClientID: clientID,
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
		q.URL += "?strong=true"
	}
	err = c.Do(ctx, q)
	return r, q.sent, err
}

// checkNewPIN says what is wrong with a PIN that plex.tv has made.
func checkNewPIN(r PINReply, strong bool) error {
	switch {
	case r.ID <= 0:
		return errors.New("a PIN without a number")
	case r.Code == "" || strings.ContainsFunc(r.Code, isNoCodeRune):
		return errors.New("a PIN without a code")
	case strong && len(r.Code) <= maxShortCode:
		return errors.New("a short code where a strong one was asked for")
	case !strong && len(r.Code) > maxShortCode:
		return errors.New("a strong code where a short one was asked for")
	}
	return nil
}

// MadeNoPIN reports whether plex.tv certainly made no PIN when it was asked for one: it
// was not reached, or it refused. f may be nil.
func (f *Failure) MadeNoPIN() bool {
	if f == nil || f.Op != opCreatePIN {
		return false
	}
	var op *net.OpError
	if errors.As(f, &op) {
		return op.Op == "dial" || op.Op == "proxyconnect"
	}
	if f.Kind() == KindProxy { // also one beneath a transport of the caller's
		return true
	}
	return f.Sentinel != fault.ErrUnavailable || f.StatusCode == http.StatusServiceUnavailable
}

// isNoCodeRune reports whether the code of a PIN cannot have c.
func isNoCodeRune(c rune) bool {
	isCode := 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-'
	return !isCode
}

// PINRef names a PIN that plex.tv is asked about.
type PINRef struct {
	ID       int64
	Code     string
	ClientID string
	Device   *devicekey.Key // of a login with a device key, or nil
}

// CheckPIN asks plex.tv once whether a PIN has been approved. The request ends with the
// context attempt, whose end counts as an answer that did not come. If ctx, the caller's,
// has ended, the error is ctx's. sent is when the request left. The error
// matches [fault.ErrPinExpired] if plex.tv does not know the PIN any more.
func (c *Client) CheckPIN(ctx, attempt context.Context, pin PINRef, scopes []string) (r PINReply, sent time.Time, err error) {
	id := strconv.FormatInt(pin.ID, 10)
	q := &Call{
		Op: OpCheckPIN, Method: http.MethodGet, URL: c.PlexTV + "/api/v2/pins/" + id, ClientID: pin.ClientID,
		mode: modePoll, attempt: attempt, Once: true, secrets: []string{id, pin.Code}, refine: judgePIN,
		Decode: func(body []byte) (err error) {
			if r, err = decodePIN(body); err != nil {
				return err
			}
			return pin.check(r)
		},
	}
	if pin.Device != nil {
		jwt, err := pin.Device.Sign("", scopes, c.Clock.Now())
		if err != nil {
			return r, time.Now(), err
		}
		q.URL += "?deviceJWT=" + jwt
		q.secrets = append(q.secrets, jwt)
		q.refine = judgeDevicePIN
	}
	err = c.Do(ctx, q)
	return r, q.sent, err
}

// check says what is wrong with an answer about p: it is about another PIN, or its JWT
// is not for this device.
func (p PINRef) check(r PINReply) error {
	if r.ID != 0 && r.ID != p.ID {
		return errors.New("another PIN than the one asked for")
	}
	if p.Device != nil && devicekey.MayBeJWT(r.Token) {
		_, _, err := devicekey.ParseJWT(r.Token, p.Device)
		return err
	}
	return nil
}

// judgePIN refines the verdict on a poll: 404 with code 1020, and 410, say that the PIN
// has expired.
func judgePIN(f *Failure) *Failure {
	if f.StatusCode == http.StatusNotFound && f.Code == codePINUnknown || f.StatusCode == http.StatusGone && !f.Temporary {
		f.Sentinel = fault.ErrPinExpired
	}
	return f
}

// judgeDevicePIN refines the verdict on a poll with a device key. A 422 refuses the
// device JWT because of this machine's clock, which the Date of that answer corrects.
func judgeDevicePIN(f *Failure) *Failure {
	if f.StatusCode == http.StatusUnprocessableEntity {
		f.Sentinel, f.Temporary = fault.ErrUnavailable, true
	}
	return judgePIN(f)
}
