package plexauth

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// accountToken is the token for plex.tv, zero where there is none.
func (b *profile) accountToken() secretValue { return b.token("account_token") }

// username is the name to show, "" where none is known for the present token.
func (b *profile) username() string {
	if b.disowned() {
		return ""
	}
	return b.text("username")
}

// clientID is the identifier that the profile's token was made under: the
// device's own, if it is a device's token.
func (b *profile) clientID() string {
	if o := b.deviceBlock(); o != nil && b.bound(o) && usableID(text(o.Get("client_id"))) {
		return text(o.Get("client_id"))
	}
	return b.longLivedID()
}

// longLivedID is the identifier of the profile's long-lived tokens.
func (b *profile) longLivedID() string {
	if id := b.text("client_id"); usableID(id) {
		return id
	}
	if id := b.document.profile(defaultInstance).text("client_id"); usableID(id) {
		return id
	}
	return ""
}

// ensureClientID returns the identifier for the next PIN, made and remembered
// in the base block where there is none. want is the program's own, or "". An
// identifier that another profile's device key has taken over is replaced, also the
// program's own. Where the default profile's long-lived token lives under it, it stays
// there, and the next one stands beside it. That includes a token that is being moved
// over to a device key, because plex.tv may still refuse the move.
func (b *profile) ensureClientID(want string) string {
	if b.movedOver(want) {
		want = ""
	}
	base := b.document.profile(defaultInstance)
	id := base.text("client_id")
	unfit := func(id string) bool { return !usableID(id) || b.movedOver(id) }
	if unfit(id) {
		next := want
		for _, other := range []string{base.text("_next_client_id"), b.text("client_id"), newClientID()} {
			if want == "" && unfit(next) {
				next = other
			}
		}
		if unfit(next) {
			next = newClientID()
		}
		if t := base.accountToken(); usableID(id) && !t.IsZero() && !(base.life().renewable() && isJWT(t.Secret())) {
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
func (b *profile) setClientID(id string) {
	if b.id == defaultInstance {
		old := b.text("client_id")
		for _, other := range b.others() {
			if old != id && usableID(old) && other.text("client_id") == "" && !other.accountToken().IsZero() {
				other.setText("client_id", old)
			}
		}
	}
	b.setText("client_id", id)
	if b.id == defaultInstance {
		b.remove("_next_client_id")
	}
}

func usableID(id string) bool { return id != "" && headerSafe(id) == id }

// cloudID is plex.tv's number of the linked account, 0 where none is known.
//
// The stored number names by a hash the token that it was found out for, so that
// it is not believed of a token that another program has put in its place. A
// number without this note, as CrossWatch and older versions write it, is to be
// asked for again; it counts where plex.tv cannot be asked, because the token is
// gone or dead.
func (b *profile) cloudID() int64 {
	id, boundTo := b.notedAccount()
	t := b.accountToken()
	if id == 0 || t.IsZero() || boundTo == fingerprint(t) {
		return id
	}
	if c, _ := readClaims(t); c.account.ID != 0 { // a JWT names its account itself
		if c.account.ID != id {
			return 0
		}
		return id
	}
	if boundTo == "" && b.rejected() {
		return id
	}
	return 0
}

// notedAccount returns the stored number as it is, and the fingerprint of the
// token that it was found out for.
func (b *profile) notedAccount() (id int64, boundTo string) {
	if b.block == nil {
		return 0, ""
	}
	cloud, err := ordered.Parse(b.block.Get("_cloud"))
	if err != nil {
		return 0, ""
	}
	return integer(cloud.Get("account_id")), text(cloud.Get("bound_to"))
}

// claimedID is the stored number where nothing speaks against it, 0 where it is
// another token's.
func (b *profile) claimedID() int64 {
	if b.disowned() {
		return 0
	}
	id, _ := b.notedAccount()
	return id
}

// disowned reports whether what is stored of the account is about another token
// than the one that is there now: another program has replaced it.
func (b *profile) disowned() bool {
	id, boundTo := b.notedAccount()
	if id == 0 || b.cloudID() != 0 {
		return false
	}
	c, _ := readClaims(b.accountToken())
	return boundTo != "" || c.account.ID != 0
}

// setCloudID notes whose the profile's token is.
func (b *profile) setCloudID(id int64) {
	cloud, err := ordered.Parse(b.block.Get("_cloud"))
	if err != nil {
		cloud = &ordered.Object{}
	}
	cloud.Set("account_id", ordered.Int(id))
	cloud.Set("bound_to", ordered.String(fingerprint(b.accountToken())))
	b.set("_cloud", cloud.Bytes())
}

// linked reports whether an account is linked: a login that works, as far as known,
// or the number of one.
func (b *profile) linked() bool {
	return b.cloudID() != 0 || !b.accountToken().IsZero() && !b.rejected()
}

// siblings is a hash of the other profiles' tokens. It changes when somebody signs
// in.
func (b *profile) siblings() uint64 {
	var h maphash.Hash
	h.SetSeed(processSeed)
	for _, other := range b.others() {
		h.WriteString(other.id)
		h.WriteString(" ")
		h.WriteString(other.text("account_token"))
		h.WriteString(" ")
	}
	return h.Sum64()
}

// successor is the token of another profile that lives on the account and
// identifier, zero where none has another one than t.
func (b *profile) successor(accountID int64, clientID string, t secretValue) secretValue {
	for _, other := range b.others() {
		if next := other.accountToken(); other.sameCredential(accountID, clientID) && !next.Equal(t) && !other.rejected() {
			return next
		}
	}
	return secretValue{}
}

// unknownLogin is a stored token of which it is not known whose it is: the account
// could not be read, or another program has written the token.
type unknownLogin struct {
	instance string
	token    secretValue
	clientID string
}

// unknownLogins lists what of that a new login of this profile under that identifier
// replaces, here or at plex.tv.
func (b *profile) unknownLogins(retires string) (unknown []unknownLogin) {
	for _, other := range append([]*profile{b}, b.others()...) {
		u := unknownLogin{other.id, other.accountToken(), other.clientID()}
		if !u.token.IsZero() && u.clientID != "" && other.cloudID() == 0 && !other.rejected() && (other == b || u.clientID == retires) {
			unknown = append(unknown, u)
		}
	}
	return unknown
}

// retires reports whether an approval under that identifier may end a token that this
// profile or another one lives on, or has ended it: that may be why plex.tv rejects it.
func (b *profile) retires(clientID string) bool {
	for _, other := range append(b.others(), b) {
		if !other.accountToken().IsZero() && (other == b || !other.life().renewable() && other.clientID() == clientID) {
			return true
		}
	}
	return false
}

// rejected reports whether the token that is stored now is known to be no good:
// plex.tv has rejected it, or no request can carry it.
func (b *profile) rejected() bool {
	mark := b.text("_rejected")
	return mark != "" && mark == fingerprint(b.accountToken()) || b.damaged()
}

// damaged reports whether no request can carry the token that is stored.
func (b *profile) damaged() bool {
	t := b.accountToken()
	return !t.IsZero() && !usableToken(t.Secret())
}

// unusable returns why the profile's token is not to be sent, nil where it may be.
func (b *profile) unusable() error {
	switch {
	case b.accountToken().IsZero():
		return ErrNotConnected
	case b.damaged():
		return errDamagedToken
	case b.rejected():
		return ErrTokenRejected
	}
	return nil
}

func (b *profile) setRejected() { b.setText("_rejected", fingerprint(b.accountToken())) }

// fingerprint recognizes a token without giving it away.
func fingerprint(t secretValue) string {
	if t.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte("plexauth rejected " + t.Secret()))
	return hex.EncodeToString(sum[:16])
}

// putToken is the only way in for an account token. What is known of the token
// before ends with it, but for its account where t is a successor.
func (b *profile) putToken(t secretValue, successor bool) {
	account := b.cloudID() // by what is known of the token before
	b.setText("account_token", t.Secret())
	b.remove("_rejected")
	if successor && account != 0 && b.cloudID() != account {
		b.setCloudID(account)
	}
}

// signIn replaces the profile's account token and its identifier by those of a
// login that has just been approved.
func (b *profile) signIn(t secretValue, clientID string) {
	b.setClientID(clientID)
	b.putToken(t, false)
	b.endPending()
}

// accountFields are those that belong to the account, and not to the profile.
var accountFields = []string{"username", "account_id", "pms_token", "home_pin"}

// forgetAccount empties what belongs to the account. The server choice stays.
func (b *profile) forgetAccount() {
	for _, key := range accountFields {
		b.setText(key, "")
	}
	b.remove("_cloud", "_was", "_home_user", "pms_token_server", "_jwt_server")
}

// setAside puts what belongs to the account away before a new token is saved of
// which it is not known yet whose it is. adopt takes it out again, or drops it.
func (b *profile) setAside() {
	account, _ := b.notedAccount() // whose what is put away is, whatever the token
	if b.accountToken().IsZero() && account == 0 {
		return
	}
	was := &ordered.Object{}
	was.Set("cloud_account_id", ordered.Int(account))
	was.Set("pms_token_server", ordered.String(b.text("pms_token_server")))
	was.Set("retired", ordered.Bool(b.serverToken().Equal(b.accountToken())))
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

func (b *profile) aside() *ordered.Object {
	was, err := ordered.Parse(b.block.Get("_was"))
	if err != nil {
		return nil
	}
	return was
}

// takeBack puts back what setAside has put away, but for what has been found
// out since.
func (b *profile) takeBack(was *ordered.Object) {
	retired, _ := truth(was.Get("retired"))
	for _, key := range accountFields {
		value := was.Get(key)
		if value == nil || b.text(key) != "" {
			continue
		}
		if key == "pms_token" {
			if retired { // with the old account token, which it was as well
				value = ordered.String(b.text("account_token"))
			}
			if server := text(was.Get("pms_token_server")); server != "" {
				b.setText("pms_token_server", server)
			}
		}
		b.set(key, value)
	}
}

// wasMeant reports whether an account is the one that a profile was linked to. Of
// what other programs have written only the name may be known, which is one
// person's at a time; the names for display are anybody's.
func (a *user) wasMeant(id int64, username string) bool {
	if id != 0 {
		return id == a.ID
	}
	return username != "" && (strings.EqualFold(username, a.Username) || strings.EqualFold(username, a.Email))
}

// adopt notes whose token the profile holds, and gives the token to every
// other profile of that account and identifier: theirs was retired by it.
func (b *profile) adopt(a *user) {
	if id, _ := b.notedAccount(); id != 0 && id != a.ID {
		b.forgetAccount()
	}
	if was := b.aside(); was != nil {
		if a.wasMeant(integer(was.Get("cloud_account_id")), text(was.Get("username"))) {
			b.takeBack(was)
		}
		b.remove("_was")
	}
	if b.text("username") == "" {
		b.setText("username", a.name())
	}
	b.setCloudID(a.ID)
	b.setAccountName(a.name())
	b.remove("_rejected")
	if b.life().renewable() { // a JWT retires nobody's token, and is nobody else's
		return
	}
	for _, other := range b.others() {
		if other.sameCredential(a.ID, b.clientID()) {
			other.succeed(b.accountToken())
		}
	}
}

// succeed puts the successor of the account's token in its place, also where it
// serves as the server's: plex.tv may give it for a server of one's own.
func (b *profile) succeed(t secretValue) {
	if b.serverToken().Equal(b.accountToken()) {
		b.setText("pms_token", t.Secret())
	}
	b.putToken(t, true)
}

// sameCredential reports whether the profile lives on the account's token
// under that identifier. A device's token is its own, whatever the account does.
func (b *profile) sameCredential(accountID int64, clientID string) bool {
	if b.life().renewable() {
		return false
	}
	return accountID != 0 && b.cloudID() == accountID && b.clientID() == clientID && !b.accountToken().IsZero()
}
