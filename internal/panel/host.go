package panel

import (
	"context"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/words"
)

// Host is the profile that a panel shows and changes. Its methods are safe for
// concurrent use. They return nil instead of a problem if they succeed.
type Host interface {
	// State reads the profile from the store.
	State(ctx context.Context) (*State, *Problem)

	// PendingLogin returns the login that is pending in the store. The problem is
	// NoLogin if there is none.
	PendingLogin(ctx context.Context) (Login, *Problem)
	// NextLogin returns a channel that is closed when this process begins a login,
	// or takes one up. stop ends the subscription.
	NextLogin() (begun <-chan struct{}, stop func())
	// Start begins a login, or keeps the pending one if it is of the same kind. If the
	// pending one is approved at this moment, it is finished instead. The problem is
	// TooSoon if the profile's last PIN was made a moment ago.
	Start(ctx context.Context, o StartOptions) *Problem
	// Cancel ends the pending login, if there is one.
	Cancel(ctx context.Context) *Problem
	// Disconnect removes the profile's login. With revoke it also ends the token at
	// plex.tv; the problem is NotRevoked if only that failed.
	Disconnect(ctx context.Context, revoke bool) *Problem

	// Inspect completes what is known of the account and the media server.
	Inspect(ctx context.Context) *Problem
	// FindServer does the same for a login that has just ended well. It takes its time
	// if plex.tv asks to slow down. It returns nil if a person has to choose the server.
	FindServer(ctx context.Context) *Problem
	// UseServer chooses one of Servers.
	UseServer(ctx context.Context, machineID string) *Problem
	// UseAddress chooses the media server at an address that a person entered.
	UseAddress(ctx context.Context, address string) *Problem
	// Probe tests the media server at an address, or the saved one if address is empty.
	Probe(ctx context.Context, address string) (ProbeResult, *Problem)
	// CheckAccount asks plex.tv whether it still accepts the token.
	CheckAccount(ctx context.Context) *Problem

	// Servers asks plex.tv for the media servers that the account may use.
	Servers(ctx context.Context) ([]Server, *Problem)
	// Users asks plex.tv for the members of the account's Plex Home.
	Users(ctx context.Context) ([]User, *Problem)
	// ChooseUser makes a member of the Plex Home the user that the program works for,
	// after a check of the Home PIN. complete is false if the media server's own number
	// of that user is not known yet: Inspect finds it.
	ChooseUser(ctx context.Context, uuid, pin string) (complete bool, _ *Problem)
}

// StartOptions says what kind of login a Start begins.
type StartOptions struct {
	Strong     bool   // for Plex's web sign-in page, not for a code to type
	ForwardURL string // to which that page sends the browser; empty: nowhere

	// SwitchAccount lets another account than the present one approve. nil: as the
	// pending login does.
	SwitchAccount *bool
}

// Login is a pending login.
type Login interface {
	// Wait returns when the login has ended, or the end of ctx. It returns nil if the
	// token is saved.
	Wait(ctx context.Context) *Problem
	// Left returns how long the login's PIN is still valid, negative once it has expired.
	Left() time.Duration
	// Remove removes the login from the store.
	Remove(ctx context.Context) *Problem
}

// Problem is a failure as the HTTP API reports it. It holds no secret. What a Host reports
// is made by package problem.
type Problem struct {
	Status     int             `json:"-"`                     // of the HTTP answer
	Kind       Kind            `json:"error"`                 // for programs
	Message    string          `json:"message"`               // for people, in English: what happened, and what to do
	Words      words.Sentences `json:"words,omitempty"`       // the message as keys of package words; nil if only a program can cause the problem
	Detail     string          `json:"detail,omitempty"`      // the text of the error, for the people who run the program
	RetryAfter int             `json:"retry_after,omitempty"` // seconds
	Servers    []Server        `json:"servers,omitempty"`     // to choose from
}

// Say makes sentences the message.
func (p *Problem) Say(sentences words.Sentences) {
	p.Words, p.Message = sentences, words.English.Say(sentences)
}

// Kind names the kind of a problem. docs/web.md lists all of them.
type Kind string

// The kinds that the panel itself reports or acts on.
const (
	BadRequest   Kind = "bad_request"
	NoLogin      Kind = "no_login"      // no login is pending
	NotRevoked   Kind = "not_revoked"   // signed out, but the token may still be valid at plex.tv
	PinExpired   Kind = "pin_expired"   // the login ended because its PIN was not approved in time
	Stopped      Kind = "stopped"       // the context has ended
	Store        Kind = "store"         // the store cannot be read or written
	StoreCorrupt Kind = "store_corrupt" // what is stored cannot be understood
	Superseded   Kind = "superseded"    // the login ended because another one has replaced it
	TooSoon      Kind = "too_soon"      // the same request will succeed after RetryAfter
)

// isStore reports whether the store failed, and not plex.tv.
func (p *Problem) isStore() bool { return p.Kind == Store || p.Kind == StoreCorrupt }

// State is a profile as the store has it.
type State struct {
	Status   Status
	Settings Settings
	Pending  *Pending // nil if no login is pending
	TokenID  string   // changes with the account token; empty if no usable token is stored
}

// Pending is the PIN of a pending login.
type Pending struct {
	Code      string
	URL       string          // that a person opens to approve
	ExpiresAt time.Time       // by this machine's clock
	Ends      elapsed.Instant // the same, unaffected by a change of the clock
	QRCode    func() ([]byte, error)

	Approved bool     // a token is stored with the PIN, and its account is not known yet
	Unsaved  bool     // Plex has approved, and the token cannot be saved
	Problem  *Problem // that delays the login; nil if none
}

// Status is the JSON of plexauth.Status. A Host leaves Extra.Pending empty, because State
// has the pending PIN.
type Status struct {
	Connected bool     `json:"connected"`
	Label     string   `json:"label"`
	User      *string  `json:"user"`       // nil if unknown
	ExpiresAt *int64   `json:"expires_at"` // seconds since 1970; nil if unknown
	Scopes    []string `json:"scopes"`     // nil if there are none
	Extra     Extra    `json:"extra"`
	Instance  string   `json:"instance"`
}

// Extra is a part of [Status].
type Extra struct {
	Pending    *pendingJSON `json:"pending,omitempty"`
	NeedsLogin bool         `json:"needs_login"`
}

type pendingJSON struct {
	Code      string `json:"code"`
	URL       string `json:"url"`
	ExpiresIn int64  `json:"expires_in"` // seconds
}

// SetPending adds the pending PIN.
func (s *Status) SetPending(code, url string, left time.Duration) {
	s.Extra.Pending = &pendingJSON{code, url, elapsed.Countdown(left)}
}

// Settings is the JSON of plexauth.Settings.
type Settings struct {
	ClientID       string `json:"client_id"`
	ServerURL      string `json:"server_url"`
	MachineID      string `json:"machine_id"`
	Username       string `json:"username"`
	CloudAccountID string `json:"cloud_account_id"`
	AccountID      string `json:"account_id"`
	VerifySSL      bool   `json:"verify_ssl"`
}

// Server is the JSON of plexauth.Server.
type Server struct {
	Name                 string       `json:"name"`
	MachineID            string       `json:"machine_id"`
	Version              string       `json:"version"`
	Platform             string       `json:"platform"`
	Owned                bool         `json:"owned"`
	Home                 bool         `json:"home"`
	OwnerID              int64        `json:"owner_id"`
	Owner                string       `json:"owner"`
	Presence             bool         `json:"presence"`
	HTTPSRequired        bool         `json:"https_required"`
	Relay                bool         `json:"relay"`
	PublicAddressMatches bool         `json:"public_address_matches"`
	PublicAddress        string       `json:"public_address"`
	Connections          []Connection `json:"connections"`
}

// Connection is the JSON of plexauth.Connection.
type Connection struct {
	URI     string `json:"uri"`
	Address string `json:"address"`
	Port    int    `json:"port"`
	Local   bool   `json:"local"`
	Relay   bool   `json:"relay"`
	IPv6    bool   `json:"ipv6"`
}

// User is the JSON of plexauth.HomeUser.
type User struct {
	ID         int64  `json:"id"`
	UUID       string `json:"uuid"`
	Title      string `json:"title"`
	Username   string `json:"username"`
	Thumb      string `json:"thumb"`
	Admin      bool   `json:"admin"`
	Guest      bool   `json:"guest"`
	Restricted bool   `json:"restricted"`
	Protected  bool   `json:"protected"`
}

// ProbeResult is the JSON of plexauth.ProbeResult.
type ProbeResult struct {
	URL           string          `json:"url"`
	MachineID     string          `json:"machine_id"`
	Version       string          `json:"version"`
	Local         bool            `json:"local"`
	Relay         bool            `json:"relay"`
	TokenAccepted bool            `json:"token_accepted"`
	Addresses     []ProbedAddress `json:"addresses"`
}

// ProbedAddress is the JSON of plexauth.ProbedAddress.
type ProbedAddress struct {
	URL       string          `json:"url"`
	Local     bool            `json:"local"`
	Relay     bool            `json:"relay"`
	OK        bool            `json:"ok"`
	MachineID string          `json:"machine_id"`
	Took      time.Duration   `json:"took"`
	Finding   string          `json:"finding"`         // in English
	Words     words.Sentences `json:"words,omitempty"` // the finding as keys of package words
}
