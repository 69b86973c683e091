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
// everything. It returns at once if the profile is signed in already. A program that
// cannot wait (a web request, a CrossWatch-style provider) calls [PlexAuth.Start] and
// later [PlexAuth.Finish], which checks the PIN once. For a settings page,
// [PlexAuth.Handler] is a complete panel, and [HTML] a fragment for a page of your own.
// [PlexAuth.ProfilesHandler] is one page for several profiles.
// The package signin is "Sign in with Plex" for a web app's visitors.
//
// A program that has a token already, from an environment variable or an older config,
// calls [PlexAuth.Adopt].
//
// Afterwards [PlexAuth.Transport] puts the token on requests, and [PlexAuth.Token]
// returns it. [PlexAuth.Verify] asks plex.tv whether it is still valid. A program that
// runs for long calls [PlexAuth.Watch] beside its work: that keeps the login alive, and
// says when it has changed or ended.
// [PlexAuth.Inspect] finds the media server, its address and its token;
// [PlexAuth.UseServer] chooses one of several. [PlexAuth.HomeUsers] and
// [PlexAuth.SwitchHomeUser] are for Plex Home. [PlexAuth.Disconnect] removes the login
// from the store, and [PlexAuth.SignOut] also ends it at plex.tv. [PlexAuth.Instance]
// is another profile in the same document, and [PlexAuth.Namespace] another document in
// the same store, for a web app with many people.
//
// With [Options].DeviceKey the token is not a long-lived one but a JWT of seven days,
// which plexauth renews. This is for programs that only talk to plex.tv, because media
// servers refuse a JWT. See docs/device-keys.md.
//
// # What is kept where
//
// All state is in the store, under one key: "plex", or [Options].Namespace. A login that was begun before a
// restart, or on another replica, is finished by any PlexAuth over the same store.
// [NewFileStore] shares one JSON file with other programs. [NewMemoryStore] is for
// tests and for logins that may be lost. The package crosswatch opens the config of a
// running CrossWatch, sqlstore keeps a login in PostgreSQL or SQLite, and storetest
// checks a store of your own. The package plextest, a fake plex.tv, is for the tests of
// a program.
//
// # Errors
//
// Use errors.Is and errors.As to tell failures apart: see [Error] and the Err
// variables. Every method may also return the error of a context that has ended, or of
// an id that [PlexAuth.Instance] does not accept. These match no Err variable.
//
// A network that is down never ends a login or a session. [Status].NeedsLogin is set
// only if plex.tv itself has rejected the token, or if the store has a damaged device
// key or an expired JWT that cannot be renewed.
//
// # What it does not do
//
// It takes no password: people sign in at Plex. Its panel does not authenticate its
// users; the program around it must. It reads no library, plays nothing and opens no
// browser. Each goroutine that it starts ends with the call, or at most a second after the
// context that it was given. It prints nothing, except with [NewLogHandler] without a function.
package plexauth

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/plexauth/plexauth/internal/pervisitor"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/registry"
)

// PlexAuth signs one profile of a store in to Plex. It is safe for concurrent use. New
// and [PlexAuth.Instance] return one.
type PlexAuth struct {
	logins
}

// New returns a PlexAuth for the profile o.Instance. It makes no request and does not
// use the store. The error names every option that is wrong.
func New(o Options) (*PlexAuth, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	store := o.Store
	if store == nil {
		store = NewMemoryStore()
	}
	o.Namespace = cmp.Or(o.Namespace, Namespace)
	return newPlexAuth(o, store, plextv.New(o.clientConfig()), o.Instance), nil
}

func newPlexAuth(o Options, store ConfigStore, client *plextv.Client, instance string) *PlexAuth {
	profileStore := profileStore{store: callerOf(store), namespace: o.Namespace, instance: profile.NormalizeInstance(instance), inUse: &registry.Map[inUse]{}, log: o.logger()}
	return &PlexAuth{logins{session{profileStore, &shared{options: o, client: client}}}}
}

func init() {
	pervisitor.WithStore = func(p, store any) any {
		return newPlexAuth(p.(*PlexAuth).options, store.(ConfigStore), p.(*PlexAuth).client, profile.DefaultInstance)
	}
	pervisitor.AdoptOver = func(id string, old any) any { t := old.(Token); return AdoptOptions{ClientID: id, over: &t} }
}

// Namespace returns a PlexAuth for the default profile of another document in the store,
// with the same client. In a web app with many people, each has a document of their own:
//
//	auth.Namespace("plex/" + userID).Start(ctx, plexauth.PinOptions{})
//
// A document has its own client identifier, profiles and logins, so two people with the
// same Plex account do not end each other's token. [Options].ClientID is for the document
// of [Options].Namespace alone. The document need not exist; Start creates it. Documents
// share the connections to plex.tv and what plex.tv has said about the rate of requests.
// A PlexAuth is small and keeps nothing: call Namespace for each use.
//
// name is any text in UTF-8 without control characters, of at most 200 bytes; "" is
// "plex". With any other name every method that can fail returns an error. A
// crosswatch.Store has the document "plex" alone.
func (p *PlexAuth) Namespace(name string) *PlexAuth {
	other := &PlexAuth{*p.logins.on(profile.DefaultInstance)}
	other.namespace = cmp.Or(name, Namespace)
	other.invalid = checkNamespace(name)
	return other
}

// checkNamespace returns an error if name cannot be a document's.
func checkNamespace(name string) error {
	if len(name) > maxNamespace || !isText(name) {
		return fmt.Errorf("plexauth: Namespace %q must be text without control characters, of at most %d bytes", plain.Short(name), maxNamespace)
	}
	return nil
}

// maxNamespace bounds the length of a namespace, in bytes, so that it fits into the index
// of a database.
const maxNamespace = 200

// Instance returns a PlexAuth for another profile of the document, with the same client.
// id is normalized as CrossWatch does it: space around it and a suffix such as ":3" are
// removed, and "" is "default". The profile need not exist; Start creates it. If id has
// a control character, every method that can fail returns an error.
func (p *PlexAuth) Instance(id string) *PlexAuth {
	other := &PlexAuth{*p.logins.on(profile.NormalizeInstance(id))}
	other.invalid = cmp.Or(checkNamespace(p.namespace), checkInstance(id))
	return other
}

// Instances returns the ids of the profiles in the document. "default" is always there and
// first. Its errors match [ErrStore].
func (p *PlexAuth) Instances(ctx context.Context) ([]string, error) {
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	return b.IDs(), nil
}

// checkInstance returns an error if id does not fit into a line of a log.
func checkInstance(id string) error {
	if !isText(id) {
		return fmt.Errorf("plexauth: Instance %q must be text without control characters", id)
	}
	return nil
}

// isText reports whether s is UTF-8 without control characters.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// Manifest describes the provider to a host program, with CrossWatch's fields.
type Manifest struct {
	Name      string           `json:"name"`
	Label     string           `json:"label"`
	Flow      string           `json:"flow"`
	Fields    []map[string]any `json:"fields"`  // what a host must ask for before a login: nothing
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
