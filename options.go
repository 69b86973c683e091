package plexauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
)

// Options says who signs in, and with what. Only Product is required.
type Options struct {
	Product string // X-Plex-Product, the name shown among a person's authorized devices; required
	Version string // X-Plex-Version; empty: "0"

	Platform        string // X-Plex-Platform; empty: the operating system
	PlatformVersion string // X-Plex-Platform-Version
	Device          string // X-Plex-Device; empty: the operating system
	DeviceName      string // X-Plex-Device-Name; empty: the host's name
	Model           string // X-Plex-Model

	// ClientID is the X-Plex-Client-Identifier. Empty: the store's, which is
	// made at random once and saved there; that is what most programs want.
	// Once a profile's device key has taken it over (see UseDeviceKey), other
	// profiles use the store's.
	ClientID string
	// Instance is the profile within the namespace; empty: "default".
	Instance string
	// Store keeps the login; nil: a new [MemoryStore].
	Store ConfigStore
	// HTTPClient sends the requests. It is read at each request, never
	// written to, and its idle connections are never closed. Its cookie jar is
	// not used. nil: [http.DefaultTransport], as it is at each request. Each
	// attempt has a limit of ten seconds of its own; in a login, after slow ones,
	// up to thirty. After an attempt without an answer over HTTP/2, requests to
	// plex.tv go by a clone of an [*http.Transport], since that keeps the dead
	// connection. Any other RoundTripper is asked for a new connection
	// ([http.Request].Close) until it brings an answer.
	HTTPClient *http.Client
	// Logger hears of logins and of trouble, never of a secret; nil: silent.
	Logger *slog.Logger
	// PollInterval is the pace at which Wait looks at a PIN. 0 is a second,
	// which Plex documents; less is raised to that, negative is an error.
	PollInterval time.Duration
	// MaxRetries is the number of further attempts that one request may have,
	// apart from the polling of a PIN. 0: 3; negative: none. A GET is repeated
	// after a failure that passes by itself, a write only where it certainly had
	// no effect: nothing was connected, or the answer was 429 or 503. Where
	// plex.tv asks to wait, a call waits for two seconds at most.
	MaxRetries int
	// BaseURL is one origin that plays plex.tv, clients.plex.tv and
	// app.plex.tv: https, or http on loopback. Empty: the real ones.
	BaseURL string
	// TrustedOrigins are the origins ("https://app.example") under which
	// browsers know the panel of [PlexAuth.Handler], for a proxy that rewrites
	// Host. If there are any, a state change from another origin is refused,
	// and so is every request by the name of another host; an IP address or a
	// name without a dot, by which a proxy asks, is nobody else's.
	TrustedOrigins []string
	// DeviceKey makes [PlexAuth.Start] sign in with a device key: the token is
	// then a JWT of seven days, which plexauth renews by itself, instead of a
	// long-lived one. Key and JWT have a client identifier of their own, not
	// ClientID, so that a long-lived token beside them stays valid. Media
	// servers may refuse a JWT: see docs/device-keys.md. What is stored
	// already is not changed by this, and is renewed with or without it.
	DeviceKey bool
	// Scopes are the claims wanted in the JWT: username, email, friendly_name,
	// restricted, anonymous, joinedAt. They tell about the person and permit
	// nothing. plex.tv ignores a name that it does not know.
	Scopes []string
}

// check returns all that is wrong with the options, joined.
func (o Options) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("plexauth: "+format, args...)) }
	if plain.Header(o.Product) == "" {
		bad("Product is empty: name the program as a person should find it among their authorized devices")
	}
	if o.ClientID != "" && !plain.IsHeader(o.ClientID) {
		bad("ClientID must be at most 255 bytes of text without control characters or space around it")
	}
	if err := checkInstance(o.Instance); err != nil {
		errs = append(errs, err)
	}
	if o.PollInterval < 0 {
		bad("PollInterval is negative: use 0 for the documented second")
	}
	if err := devicekey.CheckScopes(o.Scopes); err != nil {
		errs = append(errs, err)
	}
	if o.BaseURL != "" {
		if err := checkBaseURL(o.BaseURL); err != nil {
			bad("BaseURL %w", err)
		}
	}
	for _, s := range o.TrustedOrigins {
		if u, err := url.Parse(s); err != nil || netaddr.Origin(u) != s || !netaddr.IsWeb(u) {
			bad("TrustedOrigins: %q must be as a browser sends it: scheme, host in lower case, and a port only if it is unusual", s)
		}
	}
	return errors.Join(errs...)
}

func checkBaseURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || !netaddr.IsWeb(u):
		return errors.New("must be an absolute URL such as https://plex.example")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return errors.New("must be scheme and host alone")
	case u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname()):
		return errors.New("must be https: a token would cross the network in clear")
	}
	return nil
}

func (o Options) clientConfig() plextv.Config {
	return plextv.Config{
		HttpClient: o.HTTPClient, Retries: o.maxRetries(), BaseURL: o.BaseURL,
		Device: plextv.DeviceInfo{Product: o.Product, Version: o.Version, Platform: o.Platform, PlatformVersion: o.PlatformVersion, Device: o.Device, Name: o.DeviceName, Model: o.Model},
	}
}

func (o Options) maxRetries() int {
	switch {
	case o.MaxRetries < 0:
		return 0
	case o.MaxRetries == 0:
		return 3
	}
	return o.MaxRetries
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
