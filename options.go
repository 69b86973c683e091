package plexauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/words"
)

// Options configures [New]. Only Product is required.
type Options struct {
	Product string // X-Plex-Product, the name shown among a person's authorized devices; required
	Version string // X-Plex-Version; empty: "0"

	Platform        string // X-Plex-Platform; empty: the operating system
	PlatformVersion string // X-Plex-Platform-Version
	Device          string // X-Plex-Device; empty: the operating system
	DeviceName      string // X-Plex-Device-Name; empty: the host's name
	Model           string // X-Plex-Model

	// ClientID is the X-Plex-Client-Identifier. Most programs leave it empty: plexauth
	// then makes a random one and saves it in the store. Once a profile's device key
	// has taken ClientID over (see UseDeviceKey), other profiles use the store's.
	ClientID string
	// Namespace is the name of the document in the store; empty: "plex". See
	// [PlexAuth.Namespace].
	Namespace string
	// Instance is the profile within the document; empty: "default".
	Instance string
	// Store keeps the login; nil: a new [MemoryStore].
	Store ConfigStore
	// HTTPClient sends the requests. It is read at each request and never changed, and
	// its idle connections are never closed. Its cookie jar is not used. nil stands for
	// [http.DefaultTransport], as it is at each request. Each attempt may take ten
	// seconds; in a login, after slow ones, up to thirty. An [*http.Transport] keeps
	// using an HTTP/2 connection that is dead, so after an attempt without an answer
	// requests to plex.tv use a clone of it. Any other RoundTripper is asked for a new
	// connection ([http.Request].Close) until it returns an answer.
	HTTPClient *http.Client
	// Logger gets messages about logins and failures, never a secret. nil: no log.
	Logger *slog.Logger
	// PollInterval is the pause between two checks of a PIN in Wait. 0 is a second,
	// which Plex documents, and less is raised to that. A negative one is an error.
	PollInterval time.Duration
	// MaxRetries is how often a request is repeated, except the checks of a PIN. 0: 3
	// times; negative: never. A GET is repeated after a failure that may pass by
	// itself. A write is repeated only if it certainly had no effect: no connection was
	// made, or the answer was 429 or 503. If plex.tv asks to wait, a call waits for two
	// seconds at most.
	MaxRetries int
	// BaseURL is an origin that replaces plex.tv, clients.plex.tv and app.plex.tv, for
	// tests. It must be https, or http on loopback. Empty: the real ones.
	BaseURL string
	// TrustedOrigins are the origins ("https://app.example") at which browsers open the
	// panel of [PlexAuth.Handler], for a proxy that rewrites Host. If there are any, the
	// panel refuses a state change from another origin, and every request for the name
	// of another host. An IP address, or a name without a dot, is accepted as Host,
	// because a proxy may use it.
	TrustedOrigins []string
	// FrameAncestors are the origins ("https://dash.example") whose pages may show the
	// panel in a frame, besides the panel's own. A page that shows it can cover it, and
	// make a person click what they do not see (clickjacking): name only origins that
	// you trust. Empty: none.
	FrameAncestors []string
	// Language is the language of the panel of [PlexAuth.Handler]: "de", "en", "es",
	// "fr", "it" or "nl". Empty: the panel's page is in the language that the browser prefers
	// (Accept-Language), and the fragment of [HTML] in that of the page around it. Errors
	// and the log are always in English.
	Language string
	// DeviceKey makes [PlexAuth.Start] sign in with a device key. The token is then a
	// JWT of seven days, which plexauth renews, instead of a long-lived one. Key and JWT
	// have their own client identifier, not ClientID, so that a long-lived token of
	// another profile stays valid. Media servers may refuse a JWT: see
	// docs/device-keys.md. A stored login does not change, and a stored JWT is renewed
	// with or without DeviceKey.
	DeviceKey bool
	// Scopes are the claims to ask for in the JWT: username, email, friendly_name,
	// restricted, anonymous, joinedAt. They describe the person and grant no rights.
	// plex.tv ignores names that it does not know.
	Scopes []string
}

// check returns everything that is wrong with the options, joined.
func (o Options) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("plexauth: "+format, args...)) }
	if plain.HeaderValue(o.Product) == "" {
		bad("Product is empty: set it to the name that a person should see among their authorized devices")
	}
	if o.ClientID != "" && !plain.IsHeaderValue(o.ClientID) {
		bad("ClientID must be at most 255 bytes of text without control characters or space around it")
	}
	for _, err := range []error{checkNamespace(o.Namespace), checkInstance(o.Instance)} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if o.Language != "" && !slices.Contains(words.Tags(), o.Language) {
		bad("Language is %q: it must be one of %s, or empty", o.Language, strings.Join(words.Tags(), ", "))
	}
	if o.PollInterval < 0 {
		bad("PollInterval is negative: use 0 for the documented second")
	}
	if err := devicekey.CheckScopes(o.Scopes); err != nil {
		errs = append(errs, err)
	}
	if err := plextv.CheckBaseURL(o.BaseURL); err != nil {
		bad("BaseURL %w", err)
	}
	return errors.Join(append(errs, checkOrigins("TrustedOrigins", o.TrustedOrigins), checkOrigins("FrameAncestors", o.FrameAncestors))...)
}

// checkOrigins returns an error for each of origins that is not an origin. They become part
// of a header.
func checkOrigins(option string, origins []string) error {
	var errs []error
	for _, s := range origins {
		if _, ok := netaddr.BrowserOrigin(s); !ok {
			errs = append(errs, fmt.Errorf("plexauth: %s: %q must be as a browser sends it: scheme, host in lower case, and a port only if it is unusual", option, s))
		}
	}
	return errors.Join(errs...)
}

func (o Options) clientConfig() plextv.Config {
	return plextv.Config{
		HTTPClient: o.HTTPClient, Retries: o.maxRetries(), BaseURL: o.BaseURL,
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
