package profile

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/secret"
)

// AccountToken is the token for plex.tv, zero where there is none.
func (b *Profile) AccountToken() secret.Value { return b.token("account_token") }

// Username is the name to show, "" where none is known for the present token.
func (b *Profile) Username() string {
	if b.Disowned() {
		return ""
	}
	return b.text("username")
}

// ClientID is the identifier that the profile's token was made under: the
// device's own, if it is a device's token.
func (b *Profile) ClientID() string {
	if o := b.deviceBlock(); o != nil && b.bound(o) && plain.IsHeader(lax.Text(o.Get("client_id"))) {
		return lax.Text(o.Get("client_id"))
	}
	return b.longLivedID()
}

// longLivedID is the identifier of the profile's long-lived tokens.
func (b *Profile) longLivedID() string {
	if id := b.text("client_id"); plain.IsHeader(id) {
		return id
	}
	if id := b.document.Profile(DefaultInstance).text("client_id"); plain.IsHeader(id) {
		return id
	}
	return ""
}

// EnsureClientID returns the identifier for the next PIN, made and remembered
// in the base block where there is none. want is the program's own, or "". An
// identifier that another profile's device key has taken over is replaced, also the
// program's own. Where the default profile's long-lived token lives under it, it stays
// there, and the next one stands beside it. That includes a token that is being moved
// over to a device key, because plex.tv may still refuse the move.
func (b *Profile) EnsureClientID(want string) string {
	if b.movedOver(want) {
		want = ""
	}
	base := b.document.Profile(DefaultInstance)
	id := base.text("client_id")
	unfit := func(id string) bool { return !plain.IsHeader(id) || b.movedOver(id) }
	if unfit(id) {
		next := want
		for _, other := range []string{base.text("_next_client_id"), b.text("client_id"), NewClientID()} {
			if want == "" && unfit(next) {
				next = other
			}
		}
		if unfit(next) {
			next = NewClientID()
		}
		if t := base.AccountToken(); plain.IsHeader(id) && !t.IsZero() && !(base.Life().Renewable() && devicekey.IsJWT(t.Secret())) {
			base.setText("_next_client_id", next)
		} else {
			base.setClientID(next)
		}
		id = next
	}
	if want != "" {
		return want
	}
	return id
}

// setClientID notes the identifier of the profile's new token. Profiles that
// went by the base's old one get a copy of it first.
func (b *Profile) setClientID(id string) {
	if b.Id == DefaultInstance {
		old := b.text("client_id")
		for _, other := range b.Others() {
			if old != id && plain.IsHeader(old) && other.text("client_id") == "" && !other.AccountToken().IsZero() {
				other.setText("client_id", old)
			}
		}
	}
	b.setText("client_id", id)
	if b.Id == DefaultInstance {
		b.remove("_next_client_id")
	}
}

// CloudID is plex.tv's number of the linked account, 0 where none is known.
//
// The stored number names by a hash the token that it was found out for, so that
// it is not believed of a token that another program has put in its place. A
// number without this note, as CrossWatch and older versions write it, is to be
// asked for again; it counts where plex.tv cannot be asked, because the token is
// gone or dead.
func (b *Profile) CloudID() int64 {
	id, boundTo := b.notedAccount()
	t := b.AccountToken()
	if id == 0 || t.IsZero() || boundTo == secret.Fingerprint(t) {
		return id
	}
	if c, _ := devicekey.ReadClaims(t); c.Account.Id != 0 { // a JWT names its account itself
		if c.Account.Id != id {
			return 0
		}
		return id
	}
	if boundTo == "" && b.Rejected() {
		return id
	}
	return 0
}

// notedAccount returns the stored number as it is, and the fingerprint of the
// token that it was found out for.
func (b *Profile) notedAccount() (id int64, boundTo string) {
	if b.block == nil {
		return 0, ""
	}
	cloud, err := ordered.Parse(b.block.Get("_cloud"))
	if err != nil {
		return 0, ""
	}
	return lax.Int(cloud.Get("account_id")), lax.Text(cloud.Get("bound_to"))
}

// ClaimedID is the stored number where nothing speaks against it, 0 where it is
// another token's.
func (b *Profile) ClaimedID() int64 {
	if b.Disowned() {
		return 0
	}
	id, _ := b.notedAccount()
	return id
}

// Disowned reports whether what is stored of the account is about another token
// than the one that is there now: another program has replaced it.
func (b *Profile) Disowned() bool {
	id, boundTo := b.notedAccount()
	if id == 0 || b.CloudID() != 0 {
		return false
	}
	c, _ := devicekey.ReadClaims(b.AccountToken())
	return boundTo != "" || c.Account.Id != 0
}

// setCloudID notes whose the profile's token is.
func (b *Profile) setCloudID(id int64) {
	cloud, err := ordered.Parse(b.block.Get("_cloud"))
	if err != nil {
		cloud = &ordered.Object{}
	}
	cloud.Set("account_id", ordered.Int(id))
	cloud.Set("bound_to", ordered.String(secret.Fingerprint(b.AccountToken())))
	b.set("_cloud", cloud.Bytes())
}

// Linked reports whether an account is linked: a login that works, as far as known,
// or the number of one.
func (b *Profile) Linked() bool {
	return b.CloudID() != 0 || !b.AccountToken().IsZero() && !b.Rejected()
}

// Siblings is a hash of the other profiles' tokens. It changes when somebody signs
// in.
func (b *Profile) Siblings() uint64 {
	var h maphash.Hash
	h.SetSeed(ProcessSeed)
	for _, other := range b.Others() {
		h.WriteString(other.Id)
		h.WriteString(" ")
		h.WriteString(other.text("account_token"))
		h.WriteString(" ")
	}
	return h.Sum64()
}

// Successor is the token of another profile that lives on the account and
// identifier, zero where none has another one than t.
func (b *Profile) Successor(accountID int64, clientID string, t secret.Value) secret.Value {
	for _, other := range b.Others() {
		if next := other.AccountToken(); other.SameCredential(accountID, clientID) && !next.Equal(t) && !other.Rejected() {
			return next
		}
	}
	return secret.Value{}
}

// UnknownLogin is a stored token of which it is not known whose it is: the account
// could not be read, or another program has written the token.
type UnknownLogin struct {
	Instance string
	Token    secret.Value
	ClientID string
}

// UnknownLogins lists what of that a new login of this profile under that identifier
// replaces, here or at plex.tv.
func (b *Profile) UnknownLogins(retires string) (unknown []UnknownLogin) {
	for _, other := range append([]*Profile{b}, b.Others()...) {
		u := UnknownLogin{other.Id, other.AccountToken(), other.ClientID()}
		if !u.Token.IsZero() && u.ClientID != "" && other.CloudID() == 0 && !other.Rejected() && (other == b || u.ClientID == retires) {
			unknown = append(unknown, u)
		}
	}
	return unknown
}

// Retires reports whether an approval under that identifier may end a token that this
// profile or another one lives on, or has ended it: that may be why plex.tv rejects it.
func (b *Profile) Retires(clientID string) bool {
	for _, other := range append(b.Others(), b) {
		if !other.AccountToken().IsZero() && (other == b || !other.Life().Renewable() && other.ClientID() == clientID) {
			return true
		}
	}
	return false
}

// Rejected reports whether the token that is stored now is known to be no good:
// plex.tv has rejected it, or no request can carry it.
func (b *Profile) Rejected() bool {
	mark := b.text("_rejected")
	return mark != "" && mark == secret.Fingerprint(b.AccountToken()) || b.damaged()
}

// damaged reports whether no request can carry the token that is stored.
func (b *Profile) damaged() bool {
	t := b.AccountToken()
	return !t.IsZero() && !secret.UsableToken(t.Secret())
}

// Unusable returns why the profile's token is not to be sent, nil where it may be.
func (b *Profile) Unusable() error {
	switch {
	case b.AccountToken().IsZero():
		return fault.ErrNotConnected
	case b.damaged():
		return errDamagedToken
	case b.Rejected():
		return fault.ErrTokenRejected
	}
	return nil
}

func (b *Profile) SetRejected() { b.setText("_rejected", secret.Fingerprint(b.AccountToken())) }

// putToken is the only way in for an account token. What is known of the token
// before ends with it, but for its account where t is a successor.
func (b *Profile) putToken(t secret.Value, successor bool) {
	account := b.CloudID() // by what is known of the token before
	b.setText("account_token", t.Secret())
	b.remove("_rejected")
	if successor && account != 0 && b.CloudID() != account {
		b.setCloudID(account)
	}
}

// SignIn replaces the profile's account token and its identifier by those of a
// login that has just been approved.
func (b *Profile) SignIn(t secret.Value, clientID string) {
	b.setClientID(clientID)
	b.putToken(t, false)
	b.endPending()
}

// accountFields are those that belong to the account, and not to the profile.
var accountFields = []string{"username", "account_id", "pms_token", "home_pin"}

// forgetAccount empties what belongs to the account. The server choice stays.
func (b *Profile) forgetAccount() {
	for _, key := range accountFields {
		b.setText(key, "")
	}
	b.remove("_cloud", "_was", "_home_user", "pms_token_server", "_jwt_server")
}

// SetAside puts what belongs to the account away before a new token is saved of
// which it is not known yet whose it is. adopt takes it out again, or drops it.
func (b *Profile) SetAside() {
	account, _ := b.notedAccount() // whose what is put away is, whatever the token
	if b.AccountToken().IsZero() && account == 0 {
		return
	}
	was := &ordered.Object{}
	was.Set("cloud_account_id", ordered.Int(account))
	was.Set("pms_token_server", ordered.String(b.text("pms_token_server")))
	was.Set("retired", ordered.Bool(b.ServerToken().Equal(b.AccountToken())))
	for _, key := range accountFields {
		if b.text(key) != "" {
			was.Set(key, b.block.Get(key))
			b.setText(key, "")
		}
	}
	if b.aside() == nil { // else nobody has told yet whose the last token was
		b.set("_was", was.Bytes())
	}
	b.remove("_cloud", "pms_token_server", "_jwt_server")
}

func (b *Profile) aside() *ordered.Object {
	was, err := ordered.Parse(b.block.Get("_was"))
	if err != nil {
		return nil
	}
	return was
}

// takeBack puts back what setAside has put away, but for what has been found
// out since.
func (b *Profile) takeBack(was *ordered.Object) {
	retired, _ := lax.Bool(was.Get("retired"))
	for _, key := range accountFields {
		value := was.Get(key)
		if value == nil || b.text(key) != "" {
			continue
		}
		if key == "pms_token" {
			if retired { // with the old account token, which it was as well
				value = ordered.String(b.text("account_token"))
			}
			if server := lax.Text(was.Get("pms_token_server")); server != "" {
				b.setText("pms_token_server", server)
			}
		}
		b.set(key, value)
	}
}

// Owner is what a profile needs to know of an account.
type Owner struct {
	Id                    int64
	Name, Username, Email string // name is for display
}

// WasMeant reports whether an account is the one that a profile was linked to. Of
// what other programs have written only the name may be known, which is one
// person's at a time; the names for display are anybody's.
func (o Owner) WasMeant(id int64, username string) bool {
	if id != 0 {
		return id == o.Id
	}
	return username != "" && (strings.EqualFold(username, o.Username) || strings.EqualFold(username, o.Email))
}

// Adopt notes whose token the profile holds, and gives the token to every
// other profile of that account and identifier: theirs was retired by it.
func (b *Profile) Adopt(a Owner) {
	if id, _ := b.notedAccount(); id != 0 && id != a.Id {
		b.forgetAccount()
	}
	if was := b.aside(); was != nil {
		if a.WasMeant(lax.Int(was.Get("cloud_account_id")), lax.Text(was.Get("username"))) {
			b.takeBack(was)
		}
		b.remove("_was")
	}
	if b.text("username") == "" {
		b.setText("username", a.Name)
	}
	b.setCloudID(a.Id)
	b.setAccountName(a.Name)
	b.remove("_rejected")
	if b.Life().Renewable() { // a JWT retires nobody's token, and is nobody else's
		return
	}
	for _, other := range b.Others() {
		if other.SameCredential(a.Id, b.ClientID()) {
			other.Succeed(b.AccountToken())
		}
	}
}

// Succeed puts the successor of the account's token in its place, also where it
// serves as the server's: plex.tv may give it for a server of one's own.
func (b *Profile) Succeed(t secret.Value) {
	if b.ServerToken().Equal(b.AccountToken()) {
		b.setText("pms_token", t.Secret())
	}
	b.putToken(t, true)
}

// SameCredential reports whether the profile lives on the account's token
// under that identifier. A device's token is its own, whatever the account does.
func (b *Profile) SameCredential(accountID int64, clientID string) bool {
	if b.Life().Renewable() {
		return false
	}
	return accountID != 0 && b.CloudID() == accountID && b.ClientID() == clientID && !b.AccountToken().IsZero()
}

// errDamagedToken is ErrNotConnected for what stands in the place of a token.
var errDamagedToken = fmt.Errorf("%w: the stored token is damaged and no request can carry it", fault.ErrNotConnected)

// NewClientID makes 24 hex digits, the form that CrossWatch uses.
func NewClientID() string {
	b := make([]byte, 12)
	rand.Read(b)
	return hex.EncodeToString(b)
}
