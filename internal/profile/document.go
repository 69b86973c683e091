// Package profile reads and edits the document that a store keeps: its profiles, and the
// rules of who owns which token. It makes no request and touches no store.
package profile

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/secret"
)

// document is the namespace's object while it is read or edited. Only the
// config*.go files know its paths, each those of its noun; the names are
// CrossWatch's, those that begin with an underscore partly ours.
type document struct {
	base      *ordered.Object
	instances *ordered.Object
	blocks    map[string]*Profile // read so far
	Changed   bool
}

// Profile is one block of a document: the base for "default", else
// instances.<id>.
type Profile struct {
	*document
	Id    string
	block *ordered.Object // nil where the profile does not exist
	dirty bool
}

// The fields that hold a profile's credentials and identifiers. Where one is
// absent CrossWatch takes the default profile's, so a new profile has them
// all, empty.
var profileFields = []string{"server_url", "account_token", "pms_token", "machine_id", "username", "account_id", "home_pin"}

const DefaultInstance = "default"

func ParseDocument(raw json.RawMessage) (*document, error) {
	d := &document{base: &ordered.Object{}, instances: &ordered.Object{}, blocks: map[string]*Profile{}}
	if raw == nil {
		return d, nil
	}
	base, err := ordered.Parse(raw)
	if err != nil {
		return nil, err
	}
	d.base = base
	if instances, err := ordered.Parse(base.Get("instances")); err == nil {
		d.instances = instances // null, a list and the like count as none
	}
	return d, nil
}

// Profile returns the block of id; absent blocks are not created.
func (d *document) Profile(id string) *Profile {
	if b, ok := d.blocks[id]; ok {
		return b
	}
	b := &Profile{document: d, Id: id}
	if id == DefaultInstance {
		b.block = d.base
	} else if block, err := ordered.Parse(d.instances.Get(id)); err == nil {
		b.block = block
	}
	d.blocks[id] = b
	return b
}

// Ids lists the profiles that exist, the default one first. An empty block
// counts as none, as it does for CrossWatch.
func (d *document) Ids() []string {
	ids := []string{DefaultInstance}
	for _, m := range d.instances.Members() {
		if b := d.Profile(m.Key); m.Key != DefaultInstance && m.Key == NormalizeInstance(m.Key) && b.exists() {
			ids = append(ids, m.Key)
		}
	}
	return ids
}

// Bytes is the edited document.
func (d *document) Bytes() json.RawMessage {
	for id, b := range d.blocks {
		if b.dirty && id != DefaultInstance {
			d.instances.Set(id, b.block.Bytes())
			d.base.Set("instances", d.instances.Bytes())
		}
	}
	return d.base.Bytes()
}

// Absent reports whether the profile does not exist.
func (b *Profile) Absent() bool { return b.block == nil }

// exists reports whether the block has anything in it.
func (b *Profile) exists() bool { return b.block != nil && len(b.block.Members()) > 0 }

// Create makes the block where it does not exist.
func (b *Profile) Create() {
	if b.exists() || b.Id == DefaultInstance {
		return
	}
	b.block = &ordered.Object{}
	for _, key := range profileFields {
		b.set(key, ordered.String(""))
	}
}

// text returns a string (or a number, as text) of the block, "" for the rest.
// White space around it, left there by a hand, is none of it.
func (b *Profile) text(key string) string {
	if b.block == nil {
		return ""
	}
	return strings.TrimSpace(lax.Text(b.block.Get(key)))
}

func (b *Profile) token(key string) secret.Value { return secret.New(b.text(key)) }

// set gives key a value, at the place where CrossWatch would put it.
func (b *Profile) set(key string, value json.RawMessage) {
	if bytes.Equal(b.block.Get(key), value) {
		return
	}
	switch key {
	case "server_url":
		b.block.SetFirst(key, value)
	case "pms_token":
		b.block.SetAfter(key, value, "account_token")
	case "machine_id":
		b.block.SetAfter(key, value, "client_id", "pms_token")
	case "account_id":
		b.block.SetAfter(key, value, "client_id")
	case "username":
		b.block.SetAfter(key, value, "account_id", "client_id")
	default:
		b.block.Set(key, value)
	}
	b.dirty, b.Changed = true, true
}

func (b *Profile) setText(key, value string) {
	if b.block.Get(key) != nil && b.text(key) == value {
		return
	}
	b.set(key, ordered.String(value))
}

func (b *Profile) remove(keys ...string) {
	if b.block == nil {
		return
	}
	for _, key := range keys {
		if b.block.Delete(key) {
			b.dirty, b.Changed = true, true
		}
	}
}

// Sibling returns another profile of the document.
func (b *Profile) Sibling(id string) *Profile { return b.document.Profile(id) }

// Others are the other profiles that exist.
func (b *Profile) Others() []*Profile {
	var others []*Profile
	for _, id := range b.Ids() {
		if id != b.Id {
			others = append(others, b.document.Profile(id))
		}
	}
	return others
}

// Disconnect forgets the credentials and whose they were.
func (b *Profile) Disconnect() {
	if !b.exists() {
		return
	}
	b.putToken(secret.Value{}, false)
	b.forgetAccount()
	b.keepDeviceID()
	b.endPending()
	b.remove("_refused_pin", "_device", "_server_account")
}

// NormalizeInstance makes one id of the spellings that CrossWatch takes for
// the same.
func NormalizeInstance(id string) string {
	id = strings.TrimSpace(id)
	if m := portSuffix.FindStringSubmatch(id); m != nil {
		id = strings.TrimSpace(m[1])
	}
	if id == "" || strings.EqualFold(id, DefaultInstance) {
		return DefaultInstance
	}
	return id
}

// portSuffix is what lists of profiles append to an id.
var portSuffix = regexp.MustCompile(`^(?s)(.+):\p{Nd}+$`)
