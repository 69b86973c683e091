package plexauth

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

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
// in the base block where there is none. want is the program's own, or "".
func (b *profile) ensureClientID(want string) string {
	base := b.document.profile(defaultInstance)
	id := base.text("client_id")
	unfit := func(id string) bool { return !usableID(id) || b.movedOver(id) }
	if unfit(id) {
		if id = want; id == "" {
			id = b.text("client_id")
		}
		if unfit(id) {
			id = newClientID()
		}
		base.setClientID(id)
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
			if old != id && usableID(old) && other.text("client_id") == "" && other.text("account_token") != "" {
				other.setText("client_id", old)
			}
		}
	}
	b.setText("client_id", id)
}

func usableID(id string) bool { return id != "" && headerSafe(id) == id }

// cloudID is plex.tv's number of the linked account, 0 where none is known.
func (b *profile) cloudID() int64 {
	if b.block == nil {
		return 0
	}
	if cloud, err := ordered.Parse(b.block.Get("_cloud")); err == nil {
		return integer(cloud.Get("account_id"))
	}
	return 0
}

func (b *profile) setCloudID(id int64) {
	cloud, err := ordered.Parse(b.block.Get("_cloud"))
	if err != nil {
		cloud = &ordered.Object{}
	}
	cloud.Set("account_id", ordered.Int(id))
	b.set("_cloud", cloud.Bytes())
}

// rejected reports whether plex.tv is known to have rejected the very token
// that is stored now.
func (b *profile) rejected() bool {
	mark := b.text("_rejected")
	return mark != "" && mark == fingerprint(b.token("account_token"))
}

func (b *profile) setRejected() { b.setText("_rejected", fingerprint(b.token("account_token"))) }

// fingerprint recognizes a token without giving it away.
func fingerprint(t Token) string {
	if t.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte("plexauth rejected " + t.Secret()))
	return hex.EncodeToString(sum[:16])
}

// signIn replaces the profile's account token.
func (b *profile) signIn(t Token, clientID string) {
	b.setClientID(clientID)
	b.setText("account_token", t.Secret())
	b.remove("_pending_pin", "_cancelled_pin", "_rejected")
}

// forgetAccount empties what belongs to the account. The server choice stays.
func (b *profile) forgetAccount() {
	for _, key := range []string{"username", "account_id", "pms_token", "home_pin"} {
		b.setText(key, "")
	}
	b.remove("_cloud", "_was_account", "pms_token_server", "_jwt_server")
}

// doubt notes that a new token may be another account's than what is stored of
// the old one. adopt decides.
func (b *profile) doubt() {
	if id := b.cloudID(); id != 0 {
		b.set("_was_account", ordered.Int(id))
		b.remove("_cloud")
	}
}

// isAnothers reports whether what is stored is not a's. Where only a name is
// known, it is the name.
func (b *profile) isAnothers(a *Account) bool {
	id := b.cloudID()
	if id == 0 {
		id = integer(b.block.Get("_was_account"))
	}
	if id != 0 {
		return id != a.ID
	}
	name := b.text("username")
	return name != "" && !slices.ContainsFunc([]string{a.Username, a.Title, a.FriendlyName, a.Email}, func(s string) bool { return strings.EqualFold(s, name) })
}

// adopt notes whose token the profile holds, and gives the token to every
// other profile of that account and identifier: theirs was retired by it.
func (b *profile) adopt(a *Account) {
	if b.isAnothers(a) {
		b.forgetAccount()
	}
	b.remove("_was_account")
	if b.text("username") == "" {
		b.setText("username", a.name())
	}
	b.setCloudID(a.ID)
	b.remove("_rejected")
	if b.life().renewable() { // a JWT retires nobody's token, and is nobody else's
		return
	}
	for _, other := range b.others() {
		if other.sameCredential(a.ID, b.clientID()) {
			other.succeed(b.token("account_token"))
		}
	}
}

// succeed puts the successor of the account's token in its place, also where it
// serves as the server's: plex.tv may give it for a server of one's own.
func (b *profile) succeed(t Token) {
	if b.token("pms_token").Equal(b.token("account_token")) {
		b.setText("pms_token", t.Secret())
	}
	b.setText("account_token", t.Secret())
	b.remove("_rejected")
}

// sameCredential reports whether the profile lives on the account's token
// under that identifier. A device's token is its own, whatever the account does.
func (b *profile) sameCredential(accountID int64, clientID string) bool {
	if b.life().renewable() {
		return false
	}
	return accountID != 0 && b.cloudID() == accountID && b.clientID() == clientID && b.text("account_token") != ""
}
