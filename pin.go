package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"rsc.io/qr"
)

const (
	defaultLifetime  = 15 * time.Minute // of a PIN whose answer names none
	shortestLifetime = 10 * time.Second
	longestLifetime  = time.Hour
	longestShortCode = 10 // 4 characters are usual; a strong code has 25
)

// PinOptions says what kind of login [PlexAuth.Start] begins. The zero value
// is right for a code that a person types at plex.tv/link.
type PinOptions struct {
	// Strong asks for a long code for Plex's web sign-in page
	// ([Pin.AuthURL]), which nobody types.
	Strong bool
	// ForwardURL is where that page sends the browser afterwards, an absolute
	// http or https URL. It needs Strong.
	ForwardURL string
	// SwitchAccount accepts an account other than the one now linked, and
	// forgets what was stored of the old one. Without it such a login ends in
	// [ErrAccountMismatch] and the old one stays.
	SwitchAccount bool
}

func (o PinOptions) check() error {
	if o.ForwardURL == "" {
		return nil
	}
	if !o.Strong {
		return errors.New("plexauth: ForwardURL needs Strong: the page for typed codes sends nobody anywhere")
	}
	u, err := url.Parse(o.ForwardURL)
	if err != nil || !isWeb(u) || u.User != nil {
		return errors.New("plexauth: ForwardURL must be an absolute http or https URL without user and password")
	}
	return nil
}

// Pin is a login that waits for a person's approval at Plex. Show [Pin.URL]
// and, for a short one, Code. A Pin does not change; it is safe for
// concurrent use.
type Pin struct {
	ID        int64     `json:"-" xml:"-" yaml:"-"` // plex.tv's number of the PIN. With the client identifier it is as good as the token: keep it secret
	Code      string    `json:"code"`               // what the person confirms, letter by letter as it is
	Strong    bool      `json:"strong"`
	CreatedAt time.Time `json:"created_at"` // by this machine's clock
	ExpiresAt time.Time `json:"expires_at"` // by this machine's clock

	clientID string
	device   *device // of a login with a device key
	options  PinOptions
	product  string
	app      string // origin of the web sign-in page
	link     string // origin of the pages for typed codes

	lifetimeKnown bool
	ends          instant // ExpiresAt, whatever this machine's clock is set to; 0 in a Pin that is not plexauth's
}

// left returns how long the PIN still lives.
func (p *Pin) left() time.Duration {
	if p.ends == 0 {
		return time.Until(p.ExpiresAt)
	}
	return p.ends.left()
}

// VerificationURI is the page on which a person types Code, https://plex.tv/pin.
// It is empty for a strong PIN, which that page refuses.
func (p *Pin) VerificationURI() string {
	if p.Strong {
		return ""
	}
	return p.link + "/pin"
}

// VerificationURIComplete is that page with the code filled in,
// https://plex.tv/link/?pin=ABCD: for a button or a QR code, where the other is to
// be read and typed. It is empty for a strong PIN.
func (p *Pin) VerificationURIComplete() string {
	if p.Strong {
		return ""
	}
	return p.link + "/link/?pin=" + escape(p.Code)
}

// AuthURL is Plex's web sign-in page for a strong PIN. It is empty for a short
// one, which that page refuses. The form is the one that Plex documents.
func (p *Pin) AuthURL() string {
	if !p.Strong {
		return ""
	}
	u := p.app + "/auth#?clientID=" + escape(p.clientID) + "&code=" + escape(p.Code) +
		"&context%5Bdevice%5D%5Bproduct%5D=" + escape(p.product)
	if p.options.ForwardURL != "" {
		u += "&forwardUrl=" + escape(p.options.ForwardURL)
	}
	return u
}

// escape is url.QueryEscape with %20 for a space.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// URL is the link to show: [Pin.AuthURL] of a strong PIN, else
// [Pin.VerificationURIComplete].
func (p *Pin) URL() string {
	if p.Strong {
		return p.AuthURL()
	}
	return p.VerificationURIComplete()
}

// QRCode draws [Pin.URL] as an SVG, dark on white with a quiet zone, without
// style or script.
func (p *Pin) QRCode() ([]byte, error) {
	code, err := qr.Encode(p.URL(), qr.M)
	if err != nil {
		return nil, fmt.Errorf("plexauth: the link does not fit into a QR code: %w", err)
	}
	const quiet = 4
	var b strings.Builder
	side := code.Size + 2*quiet
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="QR code of the sign-in link" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="`, side, side, side, side)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for code.Black(x, y) { // false outside the code
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, x-from, x-from)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return []byte(b.String()), nil
}

func (p Pin) placeholder() string {
	kind := "short"
	if p.Strong {
		kind = "strong"
	}
	return fmt.Sprintf("plexauth.Pin(%s, expires %s)", kind, p.ExpiresAt.Format(time.RFC3339))
}

// Format prints kind and expiry for every verb, so that neither number nor
// code is logged by accident.
func (p Pin) Format(f fmt.State, _ rune) { io.WriteString(f, p.placeholder()) }

// LogValue implements [slog.LogValuer] with the same.
func (p Pin) LogValue() slog.Value { return slog.StringValue(p.placeholder()) }

// newPin fills in what only this client knows.
func (p *PlexAuth) newPin(v pendingPIN) *Pin {
	return &Pin{
		ID: v.id, Code: v.code, Strong: v.options.Strong, CreatedAt: v.created, ExpiresAt: v.expires,
		clientID: v.clientID, device: v.device, options: v.options, lifetimeKnown: v.lifetimeKnown, ends: v.ends,
		product: headerSafe(p.options.Product), app: p.client.app, link: p.client.link,
	}
}

// pinReply is what a login needs of plex.tv's answer. The rest of it, dates
// and location included, may come in any shape.
type pinReply struct {
	id        int64
	code      string
	expiresIn time.Duration
	expires   bool // expiresIn was there
	token     secretValue
}

func decodePIN(body []byte) (r pinReply, err error) {
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
	r.id, r.code = integer(j.ID), text(j.Code)
	if s, ok := number(j.ExpiresIn); ok {
		r.expires = true
		r.expiresIn = time.Duration(min(max(s, -1), longestLifetime.Seconds()) * float64(time.Second))
	}
	if v := string(j.AuthToken); v != "" && v != "null" {
		secret := strings.TrimSpace(text(j.AuthToken))
		if v[0] != '"' || secret != "" && !usableToken(secret) {
			return r, errors.New("a token that is none")
		}
		r.token = newValue(secret)
	}
	var list []json.RawMessage
	if r.token.IsZero() && len(j.Errors) > 0 && json.Unmarshal(j.Errors, &list) == nil && len(list) > 0 {
		return r, errors.New("an error where a PIN was asked for")
	}
	return r, nil
}

// createPIN asks plex.tv for a PIN, with d for one that gives a JWT.
func (p *PlexAuth) createPIN(ctx context.Context, clientID string, d *device, o PinOptions) (*Pin, error) {
	r, sent, err := p.client.createPIN(ctx, clientID, d, o.Strong)
	if err != nil {
		return nil, public(err)
	}
	lifetime := defaultLifetime
	if r.expires {
		lifetime = max(r.expiresIn, shortestLifetime)
	}
	ends, made := elapsedAt(sent).add(lifetime), wallClock().Add(-time.Since(sent))
	return p.newPin(pendingPIN{
		id: r.id, code: r.code, created: made, expires: made.Add(lifetime), ends: ends, lifetimeKnown: r.expires && r.expiresIn > 0,
		clientID: clientID, device: d, options: o,
	}), nil
}

// checkPIN makes one look at a PIN. attempt bounds the look and can end it;
// ctx is the caller's.
func (p *PlexAuth) checkPIN(ctx, attempt context.Context, pin *Pin) (r pinReply, sent time.Time, err error) {
	r, sent, err = p.client.checkPIN(ctx, attempt, pinRef{pin.ID, pin.Code, pin.clientID, pin.device}, p.options.Scopes)
	return r, sent, public(err)
}

// createPIN asks plex.tv for a PIN, with d for one that gives a JWT. What it
// returns is whole: a number, and a code of the kind that was asked for.
func (c *client) createPIN(ctx context.Context, clientID string, d *device, strong bool) (r pinReply, sent time.Time, err error) {
	q := &call{
		op: opCreatePIN, method: http.MethodPost, url: c.plexTV + "/api/v2/pins", clientID: clientID,
		decode: func(body []byte) (err error) {
			if r, err = decodePIN(body); err != nil {
				return err
			}
			return checkNewPIN(r, strong)
		},
	}
	switch {
	case d != nil:
		if q.body, err = d.registration(strong); err != nil {
			return r, sent, err
		}
	case strong:
		q.url += "?strong=true"
	}
	err = c.do(ctx, q)
	return r, q.sent, err
}

func checkNewPIN(r pinReply, strong bool) error {
	switch {
	case r.id <= 0:
		return errors.New("a PIN without a number")
	case r.code == "" || strings.ContainsFunc(r.code, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}):
		return errors.New("a PIN without a code")
	case strong && len(r.code) <= longestShortCode:
		return errors.New("a short code where a strong one was asked for")
	case !strong && len(r.code) > longestShortCode:
		return errors.New("a strong code where a short one was asked for")
	}
	return nil
}

// pinRef is a PIN that plex.tv is asked about.
type pinRef struct {
	id       int64
	code     string
	clientID string
	device   *device // of a login with a device key
}

// checkPIN asks plex.tv once whether a PIN has been approved. attempt bounds the
// request and can end it; ctx is the caller's. sent is when the request left.
func (c *client) checkPIN(ctx, attempt context.Context, pin pinRef, scopes []string) (r pinReply, sent time.Time, err error) {
	id := strconv.FormatInt(pin.id, 10)
	q := &call{
		op: opCheckPIN, method: http.MethodGet, url: c.plexTV + "/api/v2/pins/" + id, clientID: pin.clientID,
		attempt: attempt, once: true, secrets: []string{id, pin.code}, refine: pinVerdict,
		decode: func(body []byte) (err error) {
			if r, err = decodePIN(body); err == nil && r.id != 0 && r.id != pin.id {
				err = errors.New("another PIN than the one asked for")
			}
			return err
		},
	}
	if pin.device != nil {
		jwt, err := pin.device.sign("", scopes, c.clock.now())
		if err != nil {
			return r, time.Now(), err
		}
		q.url += "?deviceJWT=" + jwt
		q.secrets = append(q.secrets, jwt)
		q.refine = devicePINVerdict
	}
	err = c.do(ctx, q)
	if pin.device != nil && err == nil && r.token.hasParts() {
		_, _, err = parseJWT(r.token, pin.device)
	}
	return r, q.sent, err
}

// pinVerdict refines the answer to a look at a PIN: 404 with code 1020 and 410 say that
// it has expired.
func pinVerdict(f *failure) {
	if f.StatusCode == http.StatusNotFound && f.Code == 1020 || f.StatusCode == http.StatusGone && !f.transient {
		f.is = ErrPinExpired
	}
}

// devicePINVerdict is pinVerdict for a PIN with a device key. A 422 refuses the device
// JWT, by the clock, which the answer has set right.
func devicePINVerdict(f *failure) {
	if f.StatusCode == http.StatusUnprocessableEntity {
		f.is, f.transient = ErrUnavailable, true
	}
	pinVerdict(f)
}

// What a request about a PIN is called in errors.
const (
	opCreatePIN = "create PIN"
	opCheckPIN  = "check PIN"
)
