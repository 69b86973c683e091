// Package plexauth signs a user in to Plex.
//
// A program asks plex.tv for a PIN ([PlexAuth.Start]), shows the person its
// link and code, and waits for the approval ([PlexAuth.Wait]). The token and
// the account's identifiers are then in the program's [ConfigStore]:
//
//	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: plexauth.NewFileStore("config.json")})
//	...
//	status, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
//		fmt.Println("Open", pin.URL(), "and confirm the code", pin.Code)
//		return nil
//	})
//
// # Which one do I want?
//
// For a terminal or a daemon, [PlexAuth.Login] with the zero [PinOptions] does
// it all. A program that cannot wait (a web request, a CrossWatch-style
// provider) calls [PlexAuth.Start] and later [PlexAuth.Finish], which looks
// once. Afterwards [PlexAuth.Transport] puts the token on requests, and
// [PlexAuth.Token] gives it to those who need it in hand. [PlexAuth.Verify]
// asks plex.tv whether it still holds. [PlexAuth.Instance] is another profile
// in the same store.
//
// With [Options].DeviceKey the token is not a long-lived one but a JWT of seven
// days, which is renewed on the way: for a program that talks to plex.tv, since
// media servers refuse it. docs/device-keys.md tells the whole of it.
//
// # What is kept where
//
// All state lives in the store, under the one key "plex": a login begun before
// a restart, or on another replica, is finished by any PlexAuth over the same
// store. [NewFileStore] shares one JSON file with other programs;
// [NewMemoryStore] is for tests and for logins that need not last.
//
// # Errors
//
// Failures are told apart with errors.Is and errors.As: see [Error] and the
// Err variables. A network that is down never ends a login or a session: only
// plex.tv's own rejection of the token sets [Status].NeedsLogin.
//
// # What it does not do
//
// It reads no library and plays nothing, opens no browser, starts no goroutine
// that outlives the call or the context it was given, and prints nothing.
package plexauth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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
	ClientID string
	// Instance is the profile within the namespace; empty: "default".
	Instance string
	// Store keeps the login; nil: a new [MemoryStore].
	Store ConfigStore
	// HTTPClient sends the requests. It is read at each request, never
	// written to, and its idle connections are never closed. nil:
	// [http.DefaultTransport], as it is at each request. Each attempt has a
	// limit of ten seconds of its own.
	HTTPClient *http.Client
	// Logger hears of logins and of trouble, never of a secret; nil: silent.
	Logger *slog.Logger
	// PollInterval is the pace at which Wait looks at a PIN. 0 is a second,
	// which Plex documents; less is raised to that, negative is an error.
	PollInterval time.Duration
	// MaxRetries is the number of further attempts of one GET outside
	// polling; 0: 3; negative: none.
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

// check returns all that is wrong with the options, joined.
func (o Options) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("plexauth: "+format, args...)) }
	if headerSafe(o.Product) == "" {
		bad("Product is empty: name the program as a person should find it among their authorized devices")
	}
	if o.ClientID != "" && !usableID(o.ClientID) {
		bad("ClientID must be at most %d bytes of text without control characters or space around it", maxHeaderBytes)
	}
	if err := checkInstance(o.Instance); err != nil {
		errs = append(errs, err)
	}
	if o.PollInterval < 0 {
		bad("PollInterval is negative: use 0 for the documented second")
	}
	if err := checkScopes(o.Scopes); err != nil {
		errs = append(errs, err)
	}
	if o.BaseURL != "" {
		if err := checkBaseURL(o.BaseURL); err != nil {
			bad("BaseURL %w", err)
		}
	}
	for _, s := range o.TrustedOrigins {
		if u, err := url.Parse(s); err != nil || origin(u) != s || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
			bad("TrustedOrigins: %q must be as a browser sends it: scheme, host in lower case, and a port only if it is unusual", s)
		}
	}
	return errors.Join(errs...)
}

func checkBaseURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("must be an absolute URL such as https://plex.example")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return errors.New("must be scheme and host alone")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("must be https: a token would cross the network in clear")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func checkInstance(id string) error {
	if !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return fmt.Errorf("plexauth: Instance %q must be text without control characters", id)
	}
	return nil
}

// portSuffix is what lists of profiles append to an id.
var portSuffix = regexp.MustCompile(`^(?s)(.+):\p{Nd}+$`)

// normalizeInstance makes one id of the spellings that CrossWatch takes for
// the same.
func normalizeInstance(id string) string {
	id = strings.TrimSpace(id)
	if m := portSuffix.FindStringSubmatch(id); m != nil {
		id = strings.TrimSpace(m[1])
	}
	if id == "" || strings.EqualFold(id, defaultInstance) {
		return defaultInstance
	}
	return id
}

// PlexAuth signs one profile of a store in to Plex. It is safe for concurrent
// use, by New or through [PlexAuth.Instance].
type PlexAuth struct {
	*shared
	instance string
	invalid  error // what every call answers: a bad id given to Instance
}

// shared is what the Instances of one PlexAuth have in common.
type shared struct {
	options Options
	store   ConfigStore
	client  *client
	log     *slog.Logger
	logins  logins
	sources sources

	renewals renewals
}

// New returns a PlexAuth for the profile Options.Instance. It makes no request
// and touches no store, and reports every bad option at once.
func New(o Options) (*PlexAuth, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &shared{options: o, store: o.Store, client: newClient(o), log: o.logger()}
	if s.store == nil {
		s.store = NewMemoryStore()
	}
	s.logins.byInstance, s.logins.webStarts = map[string]func() *login{}, map[string]time.Time{}
	return &PlexAuth{shared: s, instance: normalizeInstance(o.Instance)}, nil
}

// Instance returns the same client on another profile of the store. Ids are
// normalized as CrossWatch's: space around them and an appended ":3" do not
// count, and "" is "default". The profile need not exist; Start creates it.
// With a control character in id, every method returns an error that says so.
func (p *PlexAuth) Instance(id string) *PlexAuth {
	return &PlexAuth{shared: p.shared, instance: normalizeInstance(id), invalid: checkInstance(id)}
}

// Instances lists the profiles that the store has, "default" always and first.
func (p *PlexAuth) Instances(ctx context.Context) ([]string, error) {
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	return b.ids(), nil
}

// Manifest describes the provider to a host program, in CrossWatch's words.
type Manifest struct {
	Name      string           `json:"name"`
	Label     string           `json:"label"`
	Flow      string           `json:"flow"`
	Fields    []map[string]any `json:"fields"`  // what a host must ask for beforehand: nothing
	Actions   map[string]bool  `json:"actions"` // start, finish, refresh, disconnect
	VerifyURL string           `json:"verify_url"`
	Notes     string           `json:"notes"`
}

// Manifest returns the provider's manifest.
func (p *PlexAuth) Manifest() Manifest {
	return Manifest{
		Name:      "PLEX",
		Label:     "Plex",
		Flow:      "device_pin",
		Fields:    []map[string]any{},
		Actions:   map[string]bool{"start": true, "finish": true, "refresh": p.options.DeviceKey, "disconnect": true},
		VerifyURL: "https://plex.tv/pin",
		Notes:     "Open Plex, enter the PIN, then click 'Check PIN'.",
	}
}

// What a profile can lack.
var (
	// ErrNotConnected: the profile holds no token.
	ErrNotConnected = errors.New("plexauth: not connected to Plex, sign in first")
	// ErrAccountMismatch: the login was approved by another account than the
	// one that is linked, which stays. See [PinOptions].SwitchAccount.
	ErrAccountMismatch = errors.New("plexauth: approved by another Plex account than the one linked")
)

// Status says how a profile stands. Its JSON has CrossWatch's fields.
type Status struct {
	Connected  bool      // a token is stored, and plex.tv has not rejected it as far as known
	Label      string    // "Plex", "Plex (id)"
	User       string    // the account's name, for display
	Instance   string    // the profile
	ExpiresAt  time.Time // when the token expires; zero: it does not say
	Scopes     []string  // that were asked for with a JWT
	Pending    *Pin      // the PIN that waits for approval, nil where there is none
	NeedsLogin bool      // only a new login helps: plex.tv rejected the token, or nothing can renew it
}

// MarshalJSON writes connected, label, user, expires_at (epoch seconds),
// scopes, extra{pending{code,url,expires_in},needs_login} and instance.
func (s Status) MarshalJSON() ([]byte, error) {
	type pending struct {
		Code      string `json:"code"`
		URL       string `json:"url"`
		ExpiresIn int64  `json:"expires_in"`
	}
	type extra struct {
		Pending    *pending `json:"pending,omitempty"`
		NeedsLogin bool     `json:"needs_login"`
	}
	v := struct {
		Connected bool     `json:"connected"`
		Label     string   `json:"label"`
		User      *string  `json:"user"`
		ExpiresAt *int64   `json:"expires_at"`
		Scopes    []string `json:"scopes"`
		Extra     extra    `json:"extra"`
		Instance  string   `json:"instance"`
	}{Connected: s.Connected, Label: s.Label, Instance: s.Instance, Extra: extra{NeedsLogin: s.NeedsLogin}}
	if s.User != "" {
		v.User = &s.User
	}
	if !s.ExpiresAt.IsZero() {
		at := s.ExpiresAt.Unix()
		v.ExpiresAt = &at
	}
	if len(s.Scopes) > 0 {
		v.Scopes = s.Scopes
	}
	if s.Pending != nil {
		v.Extra.Pending = &pending{s.Pending.Code, s.Pending.URL(), secondsUntil(s.Pending.ExpiresAt)}
	}
	return json.Marshal(v)
}

// LogValue implements [slog.LogValuer]: the code of a pending PIN stays out of
// logs.
func (s Status) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Bool("connected", s.Connected), slog.String("label", s.Label), slog.String("user", s.User),
		slog.String("instance", s.Instance), slog.Bool("needs_login", s.NeedsLogin),
	}
	if s.Pending != nil {
		attrs = append(attrs, slog.Any("pending", *s.Pending))
	}
	return slog.GroupValue(attrs...)
}

// secondsUntil rounds up, so that a countdown ends when the PIN does.
func secondsUntil(t time.Time) int64 {
	return max(0, int64((time.Until(t)+time.Second-1)/time.Second))
}

// Status says how the profile stands, from the store alone. Its errors match
// [ErrStore].
func (p *PlexAuth) Status(ctx context.Context) (Status, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	return p.status(b), nil
}

// blank is the status of a profile of which nothing is known.
func (p *PlexAuth) blank() Status {
	s := Status{Label: "Plex", Instance: p.instance}
	if p.instance != defaultInstance {
		s.Label = "Plex (" + p.instance + ")"
	}
	return s
}

func (p *PlexAuth) status(b *profile) Status {
	s := p.blank()
	s.User = b.text("username")
	l, now := p.lifeOf(b), p.client.clock.now()
	s.ExpiresAt, s.Scopes = l.expires, l.scopes
	s.NeedsLogin = b.rejected() || l.lost(now)
	s.Connected = !l.token.IsZero() && !b.rejected() && !(l.lost(now) && past(l.over(), now))
	if v := b.pending(); v != nil && v.code != "" && (!v.token.IsZero() || time.Now().Before(v.expires)) {
		s.Pending = p.newPin(*v)
	}
	return s
}

// statusNow is Status for a call that ends with err, also when its context
// has ended.
func (p *PlexAuth) statusNow(ctx context.Context, err error) (Status, error) {
	limit := time.Second
	if ctx.Err() != nil {
		limit = 150 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	s, loadErr := p.Status(ctx)
	if err == nil {
		err = loadErr
	}
	return s, err
}

// Settings returns what the store says about the profile. Its errors match
// [ErrStore].
func (p *PlexAuth) Settings(ctx context.Context) (Settings, error) {
	b, err := p.load(ctx)
	if err != nil {
		return Settings{}, err
	}
	return b.settings(), nil
}

// Token returns the account token, good for a request to plex.tv now. A JWT is
// renewed first if it is due: with another attempt at most, where the old one
// still works, so that plex.tv being away does no harm. Do not keep it: ask again
// for each request.
//
// Its errors are [ErrNotConnected], [ErrTokenRejected], [ErrTokenExpired] with
// the reason where a JWT is over and no new one can be had now, and those of the
// store.
func (p *PlexAuth) Token(ctx context.Context) (Token, error) {
	t, _, err := p.credential(ctx)
	return t, err
}

// credential returns the token and the identifier it was made under.
func (p *PlexAuth) credential(ctx context.Context) (Token, string, error) {
	b, err := p.load(ctx)
	if err != nil {
		return Token{}, "", err
	}
	t := b.token("account_token")
	switch {
	case t.IsZero():
		return Token{}, "", ErrNotConnected
	case b.rejected():
		return Token{}, "", ErrTokenRejected
	}
	renewed, err := p.freshen(ctx, p.lifeOf(b))
	if err != nil {
		return Token{}, "", err
	}
	if renewed {
		if b, err = p.load(ctx); err != nil {
			return Token{}, "", err
		}
		if t = b.token("account_token"); t.IsZero() {
			return Token{}, "", ErrNotConnected
		}
	}
	clientID := b.clientID()
	if clientID == "" { // a token that somebody put there by hand
		clientID, err = p.ensureClientID(ctx)
	}
	return t, clientID, err
}

// ensureClientID makes the store's identifier if it has none.
func (p *PlexAuth) ensureClientID(ctx context.Context) (id string, err error) {
	err = p.update(ctx, func(b *profile) error {
		id = b.ensureClientID(p.options.ClientID)
		return nil
	})
	return id, err
}

// ask makes a request in the account's name. Where plex.tv rejects the token,
// that verdict is kept, unless somebody has signed in anew meanwhile or a device
// key gets another token: then the request is made once more.
func (p *PlexAuth) ask(ctx context.Context, request func(t Token, clientID string) error) error {
	for again := true; ; again = false {
		t, clientID, err := p.credential(ctx)
		if err != nil {
			return err
		}
		err = request(t, clientID)
		if !errors.Is(err, ErrTokenRejected) && !errors.Is(err, ErrTokenExpired) {
			return err
		}
		if again {
			renewed, renewErr := p.outlived(ctx, t, err)
			if renewed {
				continue
			}
			err = renewErr
		}
		if !errors.Is(err, ErrTokenRejected) {
			return err
		}
		replaced := false
		updateErr := p.update(ctx, func(b *profile) error {
			if replaced = !b.token("account_token").Equal(t); !replaced {
				b.setRejected()
			}
			return nil
		}, t)
		if updateErr != nil {
			return errors.Join(err, updateErr)
		}
		if !replaced || !again {
			return err
		}
	}
}

// Account asks plex.tv who the token belongs to. Its errors are those of
// [PlexAuth.Token] and [*Error]: see [ErrTokenRejected], [ErrUnavailable],
// [ErrRateLimited].
func (p *PlexAuth) Account(ctx context.Context) (a *Account, err error) {
	err = p.ask(ctx, func(t Token, clientID string) error {
		if a, err = p.client.readAccount(ctx, t, clientID, false); err != nil {
			return err
		}
		return p.adopt(ctx, t, a)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Verify asks plex.tv whether the token holds, and completes what a login
// could not read of its account. Only plex.tv's own rejection changes the
// status: it returns [ErrTokenRejected] then, sets NeedsLogin, and later calls
// answer so without asking again. With [ErrUnavailable] or [ErrRateLimited]
// the status stays as it was. Without a token it returns [ErrNotConnected].
func (p *PlexAuth) Verify(ctx context.Context) (Status, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	if v := b.pending(); v != nil && !v.token.IsZero() {
		if err := p.settleParked(ctx, v, false); err != nil && !errors.Is(err, ErrTokenRejected) {
			return p.statusNow(ctx, err)
		}
	}
	_, err = p.Account(ctx)
	return p.statusNow(ctx, err)
}

// Disconnect forgets the profile's credentials and whose they were, and ends a
// pending login. It asks nobody and so works offline; the token stays valid at
// plex.tv (see [PlexAuth.SignOut]). The client identifier, the server choice
// and all that is not plexauth's stay. A profile that does not exist is not
// created.
func (p *PlexAuth) Disconnect(ctx context.Context) (Status, error) {
	err := p.update(ctx, func(b *profile) error {
		b.disconnect()
		return nil
	})
	if err != nil {
		return p.statusNow(ctx, err)
	}
	p.info(ctx, "disconnected")
	return p.statusNow(ctx, p.endWaiting(ctx))
}

// endWaiting ends the login that was pending, for all who wait.
func (p *PlexAuth) endWaiting(ctx context.Context) error {
	done, err := p.stopLooking(ctx)
	if err == nil {
		done(ErrNoPendingPin)
	}
	return err
}

// SignOut is Disconnect for every profile that lives on the same token, and
// then revokes the token at plex.tv. If plex.tv cannot be told, everything is
// forgotten here all the same and the error says so ([ErrUnavailable],
// [ErrRateLimited]).
func (p *PlexAuth) SignOut(ctx context.Context) (Status, error) {
	type credential struct {
		token    Token
		clientID string
		device   *device
	}
	var revoke []credential
	err := p.update(ctx, func(b *profile) error {
		revoke = nil
		t, clientID, account := b.token("account_token"), b.clientID(), b.cloudID()
		parked := func(b *profile) {
			if v := b.pending(); v != nil && !v.token.IsZero() {
				revoke = append(revoke, credential{v.token, v.clientID, v.device})
			}
		}
		parked(b)
		if !t.IsZero() && !b.rejected() {
			revoke = append(revoke, credential{t, clientID, b.life().device})
		}
		for _, other := range b.others() {
			if other.sameCredential(account, clientID) || other.token("account_token").Equal(t) {
				parked(other)
				other.disconnect()
			}
		}
		b.disconnect()
		return nil
	})
	if err != nil {
		return p.statusNow(ctx, err)
	}
	p.info(ctx, "signed out")
	err = p.endWaiting(ctx)
	for _, c := range revoke {
		revokeErr := p.client.revoke(ctx, c.token, c.clientID)
		if errors.Is(revokeErr, ErrTokenExpired) && c.device != nil { // it takes a good one to end them all
			if c.token, revokeErr = p.exchange(ctx, c.device, nil); revokeErr == nil {
				revokeErr = p.client.revoke(ctx, c.token, c.clientID)
			}
			if errors.Is(revokeErr, ErrTokenRejected) {
				revokeErr = nil
			}
		}
		if revokeErr != nil {
			err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the token may live on at plex.tv: %w", revokeErr))
		}
	}
	return p.statusNow(ctx, err)
}

// newClientID makes 24 hex digits, the form that CrossWatch uses.
func newClientID() string {
	b := make([]byte, 12)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// The log speaks as CrossWatch's provider does.
func (p *PlexAuth) info(ctx context.Context, what string) { p.logf(ctx, slog.LevelInfo, what) }

func (p *PlexAuth) logf(ctx context.Context, level slog.Level, what string, attrs ...slog.Attr) {
	p.log.LogAttrs(ctx, level, "Plex["+p.instance+"]: "+what, attrs...)
}
