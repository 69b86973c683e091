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
// it all. It returns at once if the profile is signed in already. A program that
// cannot wait (a web request, a CrossWatch-style provider) calls [PlexAuth.Start]
// and later [PlexAuth.Finish], which looks once. For a settings page, [PlexAuth.Handler] is a panel with all of it, and
// [HTML] its fragment for a page of your own. The package signin is "Sign in
// with Plex" for a web app's visitors.
//
// Afterwards [PlexAuth.Transport] puts the token on requests, and
// [PlexAuth.Token] gives it to those who need it in hand. [PlexAuth.Verify]
// asks plex.tv whether it still holds. [PlexAuth.Inspect] finds the media
// server, its address and its token; [PlexAuth.UseServer] chooses one of several.
// [PlexAuth.HomeUsers] and [PlexAuth.SwitchHomeUser] serve Plex Home.
// [PlexAuth.Disconnect] forgets the login here, [PlexAuth.SignOut] ends it at
// plex.tv, too. [PlexAuth.Instance] is another profile in the same store.
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
// [NewMemoryStore] is for tests and for logins that need not last. The package
// crosswatch opens the config of a running CrossWatch, sqlstore keeps a login in
// PostgreSQL or SQLite, and storetest checks a store of your own. For tests of a
// program there is plextest, a fake plex.tv.
//
// # Errors
//
// Failures are told apart with errors.Is and errors.As: see [Error] and the
// Err variables. Beside the errors that a method names it may return that of a
// context that has ended, or of an id that [PlexAuth.Instance] does not take;
// they match no Err variable.
//
// A network that is down never ends a login or a session. What sets
// [Status].NeedsLogin is plex.tv's own rejection of the token or, in the store, a
// damaged device key or a JWT past its life that nothing here can renew.
//
// # What it does not do
//
// It takes no password: people sign in at Plex. Its panel authenticates nobody:
// that is for the program it is part of. It reads no library and plays nothing,
// opens no browser, starts no goroutine that outlives the call or the context it
// was given, and prints nothing but the log, for who gives it [NewLogHandler]
// without a function.
package plexauth

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/sibling"
)

// PlexAuth signs one profile of a store in to Plex. It is safe for concurrent
// use, by New or through [PlexAuth.Instance].
type PlexAuth struct {
	session
	logins *slots // of all Instances
}

// New returns a PlexAuth for the profile Options.Instance. It makes no request
// and touches no store, and reports every bad option at once.
func New(o Options) (*PlexAuth, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	store := o.Store
	if store == nil {
		store = NewMemoryStore()
	}
	return newPlexAuth(o, store, plextv.New(o.clientConfig()), o.Instance), nil
}

func newPlexAuth(o Options, store ConfigStore, client *plextv.Client, instance string) *PlexAuth {
	profileStore := profileStore{store: store, instance: profile.NormalizeInstance(instance), cache: &credentialCache{}, log: o.logger()}
	return &PlexAuth{session{profileStore, &shared{options: o, client: client}}, &slots{}}
}

func init() {
	sibling.WithStore = func(p, store any) any { return p.(*PlexAuth).withStore(store.(ConfigStore)) }
}

// withStore returns a PlexAuth for the default profile of another store. It shares
// p's client.
func (p *PlexAuth) withStore(store ConfigStore) *PlexAuth {
	return newPlexAuth(p.options, store, p.client, profile.DefaultInstance)
}

// Instance returns the same client on another profile of the store. Ids are
// normalized as CrossWatch's: space around them and an appended ":3" do not
// count, and "" is "default". The profile need not exist; Start creates it.
// With a control character in id, every method that can fail says so.
func (p *PlexAuth) Instance(id string) *PlexAuth {
	other := &PlexAuth{*p.on(profile.NormalizeInstance(id)), p.logins}
	other.invalid = checkInstance(id)
	return other
}

// Instances lists the profiles that the store has, "default" always and first.
// Its errors match [ErrStore].
func (p *PlexAuth) Instances(ctx context.Context) ([]string, error) {
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	return b.Ids(), nil
}

// checkInstance refuses an id that does not fit into a line of a log.
func checkInstance(id string) error {
	if !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return fmt.Errorf("plexauth: Instance %q must be text without control characters", id)
	}
	return nil
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
