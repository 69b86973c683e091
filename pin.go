package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/qrsvg"
)

// shortestLifetime is used for a PIN if plex.tv's answer says less.
const shortestLifetime = 10 * time.Second

// PinOptions says what kind of login [PlexAuth.Start] begins. The zero value asks for a
// code that a person types at plex.tv/link.
type PinOptions struct {
	// Strong asks for a long code for Plex's web sign-in page ([Pin.AuthURL]). A person
	// follows the link and does not type the code.
	Strong bool
	// ForwardURL is where that page sends the browser after the sign-in: an absolute
	// http or https URL. It needs Strong.
	ForwardURL string
	// SwitchAccount accepts another account than the linked one, and removes what was
	// stored about the old one. Without it such a login ends with
	// [ErrAccountMismatch], and the old one stays.
	SwitchAccount bool
}

func (o PinOptions) check() error {
	if o.ForwardURL == "" {
		return nil
	}
	if !o.Strong {
		return errors.New("plexauth: ForwardURL needs Strong: the page for typed codes cannot send the browser back")
	}
	if !netaddr.IsWebAddress(o.ForwardURL) {
		return errors.New("plexauth: ForwardURL must be an absolute http or https URL without user and password")
	}
	return nil
}

// Pin is a login that waits for a person's approval at Plex. Show [Pin.URL] and, unless
// the Pin is strong, Code. Its JSON is for a program that forwards it: see
// [Pin.MarshalJSON]. A Pin does not change, and is safe for concurrent use.
type Pin struct {
	ID        int64     `json:"-" xml:"-" yaml:"-"` // plex.tv's number of the PIN. Together with the client identifier it gives access to the token: keep it secret
	Code      string    `json:"code"`               // what the person types or confirms, exactly as it is
	Strong    bool      `json:"strong"`
	CreatedAt time.Time `json:"created_at"` // by this machine's clock
	ExpiresAt time.Time `json:"expires_at"` // by this machine's clock

	clientID string
	device   *devicekey.Key // of a login with a device key
	options  PinOptions
	product  string
	app      string // origin of the web sign-in page
	link     string // origin of the pages for typed codes

	lifetimeKnown bool
	ends          elapsed.Instant // ExpiresAt by a clock that cannot be set; 0 in a Pin that plexauth has not made
}

// left returns the time until the PIN expires.
func (p *Pin) left() time.Duration {
	if p.ends == 0 {
		return time.Until(p.ExpiresAt)
	}
	return p.ends.Left()
}

// VerificationURI returns the page on which a person types Code, https://plex.tv/pin. It
// returns "" for a strong PIN, which that page refuses. The name is RFC 8628's.
func (p *Pin) VerificationURI() string {
	if p.Strong {
		return ""
	}
	return p.link + "/pin"
}

// VerificationURIComplete returns the page with the code filled in,
// https://plex.tv/link/?pin=ABCD, for a button or a QR code. It returns "" for a strong
// PIN. The name is RFC 8628's.
func (p *Pin) VerificationURIComplete() string {
	if p.Strong {
		return ""
	}
	return p.link + "/link/?pin=" + plextv.Escape(p.Code)
}

// AuthURL returns Plex's web sign-in page for a strong PIN, in the form that Plex
// documents. It returns "" for a short PIN, which that page refuses.
func (p *Pin) AuthURL() string {
	if !p.Strong {
		return ""
	}
	u := p.app + "/auth#?clientID=" + plextv.Escape(p.clientID) + "&code=" + plextv.Escape(p.Code) +
		"&context%5Bdevice%5D%5Bproduct%5D=" + plextv.Escape(p.product)
	if p.options.ForwardURL != "" {
		u += "&forwardUrl=" + plextv.Escape(p.options.ForwardURL)
	}
	return u
}

// URL returns the link to show: [Pin.AuthURL] of a strong PIN, otherwise
// [Pin.VerificationURIComplete].
func (p *Pin) URL() string {
	if p.Strong {
		return p.AuthURL()
	}
	return p.VerificationURIComplete()
}

// QRCode returns [Pin.URL] as a QR code: an SVG, black on white with a quiet zone, without
// style or script. It fails if the URL is too long.
func (p *Pin) QRCode() ([]byte, error) {
	svg, err := qrsvg.Encode(p.URL())
	if err != nil {
		return nil, fmt.Errorf("plexauth: the link does not fit into a QR code: %w", err)
	}
	return svg, nil
}

// MarshalJSON writes what another program needs to show the Pin: code, url,
// verification_uri and verification_uri_complete (RFC 8628's names, "" for a strong PIN),
// strong, expires_in (seconds from now, rounded up), expires_at and created_at (RFC 3339).
// All members are always there, but not the number of the PIN. Decode them into a struct
// of your own: a Pin that is decoded from them lacks what its links are made of.
func (p Pin) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Code                    string    `json:"code"`
		URL                     string    `json:"url"`
		VerificationURI         string    `json:"verification_uri"`
		VerificationURIComplete string    `json:"verification_uri_complete"`
		Strong                  bool      `json:"strong"`
		ExpiresIn               int64     `json:"expires_in"`
		ExpiresAt               time.Time `json:"expires_at"`
		CreatedAt               time.Time `json:"created_at"`
	}{p.Code, p.URL(), p.VerificationURI(), p.VerificationURIComplete(), p.Strong, elapsed.Countdown(p.left()), p.ExpiresAt, p.CreatedAt})
}

func (p Pin) placeholder() string {
	kind := "short"
	if p.Strong {
		kind = "strong"
	}
	return fmt.Sprintf("plexauth.Pin(%s, expires %s)", kind, p.ExpiresAt.Format(time.RFC3339))
}

// Format prints the kind and the expiry for every verb, so that neither number nor code
// is logged by accident.
func (p Pin) Format(f fmt.State, _ rune) { io.WriteString(f, p.placeholder()) }

// LogValue implements [slog.LogValuer]. It returns the same text as Format.
func (p Pin) LogValue() slog.Value { return slog.StringValue(p.placeholder()) }

// newPin returns the Pin of v. Its links depend on the client.
func (s *session) newPin(v profile.PendingPIN) *Pin {
	return &Pin{
		ID: v.ID, Code: v.Code, Strong: v.Options.Strong, CreatedAt: v.Created, ExpiresAt: v.Expires,
		clientID: v.ClientID, device: v.Device, options: PinOptions(v.Options), lifetimeKnown: v.LifetimeKnown, ends: v.Ends,
		product: plain.HeaderValue(s.options.Product), app: s.client.App, link: s.client.Link,
	}
}

// stored returns p as a profile stores it.
func (p *Pin) stored() *profile.PendingPIN {
	return &profile.PendingPIN{
		ID: p.ID, Code: p.Code, Created: p.CreatedAt, Expires: p.ExpiresAt, Ends: p.ends, LifetimeKnown: p.lifetimeKnown,
		ClientID: p.clientID, Device: p.device, Options: profile.PinOptions(p.options),
	}
}

// createPIN asks plex.tv for a PIN. With a device key d, its token will be a JWT.
func (s *session) createPIN(ctx context.Context, clientID string, d *devicekey.Key, o PinOptions) (*Pin, error) {
	r, sent, err := s.client.CreatePIN(ctx, clientID, d, o.Strong)
	if err != nil {
		return nil, public(err)
	}
	lifetime := profile.DefaultLifetime
	if r.Expires {
		lifetime = max(r.ExpiresIn, shortestLifetime)
	}
	ends, made := elapsed.At(sent).Add(lifetime), elapsed.Wall().Add(-time.Since(sent))
	return s.newPin(profile.PendingPIN{
		ID: r.ID, Code: r.Code, Created: made, Expires: made.Add(lifetime), Ends: ends, LifetimeKnown: r.Expires && r.ExpiresIn > 0,
		ClientID: clientID, Device: d, Options: profile.PinOptions(o),
	}), nil
}

// checkPIN asks plex.tv once whether a PIN is approved. attempt bounds and ends the
// request; ctx is the caller's.
func (s *session) checkPIN(ctx, attempt context.Context, pin *Pin) (r plextv.PINReply, sent time.Time, err error) {
	r, sent, err = s.client.CheckPIN(ctx, attempt, plextv.PINRef{ID: pin.ID, Code: pin.Code, ClientID: pin.clientID, Device: pin.device}, s.options.Scopes)
	return r, sent, public(err)
}
