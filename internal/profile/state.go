package profile

import (
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/secret"
)

// State holds what one profile stores, as it is stored. The methods of [Profile] decide
// whether a value counts, and for which token.
type State struct {
	ClientID       string // identifier of the profile's long-lived tokens, "" for the default profile's
	NextClientID   string // identifier of the next PIN while the token lives under ClientID; in the default profile only
	DeviceClientID string // identifier of the device key that was removed, for the next one

	Token        Field[Token]
	RejectedMark string    // fingerprint of a token that plex.tv has rejected
	Checked      time.Time // when a watching program last asked plex.tv about the token; zero if unknown
	ForeignMark  string    // fingerprint of a token that was not made under ClientID, as far as is known

	User         Field[string] // name of the user that the profile works for
	ServerUserID Field[string] // the media server's number of that user, as it is spelled
	HomePIN      Field[secret.Value]
	Account      *Account
	Stash        *Stash
	HomeUser     *HomeUser

	Server Server

	StoredPIN  *StoredPIN
	RefusedPIN string    // fingerprint of the last PIN that another account has approved
	PanelPIN   time.Time // when the panel last had a PIN made; zero if unknown

	Device *Device

	WrongPINs []WrongPINs // of all profiles; in the default profile only
}

// Field is a value that a profile may lack. CrossWatch takes a missing credential from
// the default profile, so a missing field differs from an empty one.
type Field[T any] struct {
	Value   T
	Present bool
}

// set stores value, also an empty one.
func (f *Field[T]) set(value T) { *f = Field[T]{value, true} }

// Token is an account token, with what it says about itself.
type Token struct {
	secret.Value
	fingerprint string           // "" if there is no token
	claims      devicekey.Claims // of a JWT, else zero
	isJWT       bool
	isUsable    bool // a request can carry it
}

func newToken(t secret.Value) Token {
	if t.IsZero() {
		return Token{}
	}
	text := t.Secret()
	token := Token{Value: t, fingerprint: secret.Fingerprint(t), isJWT: devicekey.IsJWT(text), isUsable: secret.UsableToken(text)}
	if token.isJWT {
		token.claims, _ = devicekey.ReadClaims(t)
	}
	return token
}

// isDamaged reports whether something is stored in place of a token that no request
// can carry.
func (t Token) isDamaged() bool { return !t.IsZero() && !t.isUsable }

// Account says who owns a token.
type Account struct {
	ID      int64  // plex.tv's number
	BoundTo string // fingerprint of the token that it was read with; "" if CrossWatch has written the number
	Name    string // display name of the account NameOf
	NameOf  int64
}

// Stash keeps the owner's fields of the token before, while the owner of the present
// token is unknown.
type Stash struct {
	Account      int64
	User         string
	ServerUserID string
	HomePIN      secret.Value
	ServerToken  secret.Value
	TokenServer  string // address of the server that ServerToken is for
	SameToken    bool   // the account token served as ServerToken
	isUnreadable bool
}

// HomeUser is a chosen member of the account's Plex Home.
type HomeUser struct {
	ID      int64
	Name    string // the choice ends when the profile's User differs
	Account int64  // under which it was made
}

// Server holds what is stored about the media server.
type Server struct {
	URL           Field[string]
	MachineID     Field[string]
	Found         Field[string] // the address that was found, not typed; empty if it was typed
	Token         Field[secret.Value]
	TokenServer   string // address of the server that Token is for
	Unverified    bool   // verify_ssl is false
	UnverifiedFor string // the only address that Unverified counts for; "" for the one that was typed
	Known         *KnownServer
	Certificate   *Certificate
	TakesJWT      *MachineAt // has accepted the account's JWT as its token
}

// KnownServer says for which account the server was chosen, and what answered.
type KnownServer struct {
	Account int64
	MachineAt
	Owner int64
}

// MachineAt is a media server at an address.
type MachineAt struct{ MachineID, URL string }

// Certificate is a plex.direct certificate that a server shows at another name.
type Certificate struct {
	Hash string
	MachineAt
}

// StoredPIN is a PIN as it is stored. Unlike a [PendingPIN], it may be damaged or
// no longer pending.
type StoredPIN struct {
	ID            int64
	Code          string
	Created       time.Time // zero if unknown
	Expires       time.Time // zero if unknown
	LifetimeKnown bool
	ClientID      string
	Options       PinOptions
	Kid           string
	Seed          secret.Value // of the device key; zero for a long-lived login
	Token         secret.Value // approved, and parked until its owner is known
	Replaces      string       // fingerprint of the profile's token when Token was parked
}

// Device is the profile's device key. Its token is State.Token if BoundTo says so: a
// token that another program has written is neither renewed with the key nor sent with
// its identifier.
type Device struct {
	ClientID     string
	Kid          string
	Seed         secret.Value
	Asked        bool   // a PIN was made with the key
	BoundTo      string // fingerprint of the key's token
	Scope        string // of that token, separated by commas
	Skew         time.Duration
	LeasedUntil  time.Time // when another process may renew; zero if none is renewing
	isUnreadable bool      // something else stands in its place

	key      *devicekey.Key // as read once
	err      error
	isParsed bool
}

// WrongPINs counts the wrong Home PINs of a user in a row.
type WrongPINs struct {
	UUID  string
	Wrong int64
	At    time.Time // of the last one
}
