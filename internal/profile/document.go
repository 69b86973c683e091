// Package profile reads and edits the document that a store keeps: its profiles, and the
// rules of who owns which token. It makes no request and touches no store.
//
// Each profile of a [Document] is decoded into a [State]. Methods of [Profile] read and
// change it, and [Document.Encode] writes the changes back.
package profile

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// DefaultInstance is the id of the profile that CrossWatch stores at the top level.
const DefaultInstance = "default"

// Document is the namespace's object while it is read or edited. It is not safe for
// concurrent use, nor are its profiles.
type Document struct {
	base      *ordered.Object
	instances *ordered.Object
	profiles  map[string]*Profile // decoded so far
	changed   bool
}

// Profile is one profile of a document: the document itself for "default", else a
// member of its "instances".
type Profile struct {
	*Document
	State
	ID      string
	block   *ordered.Object // nil if nothing is stored for the profile
	isDirty bool
}

// ParseDocument reads the object of the namespace; nil is an empty one. The error is
// one of [ordered.Parse].
func ParseDocument(raw json.RawMessage) (*Document, error) {
	d := &Document{base: &ordered.Object{}, instances: &ordered.Object{}, profiles: map[string]*Profile{}}
	if raw == nil {
		return d, nil
	}
	base, err := ordered.Parse(raw)
	if err != nil {
		return nil, err
	}
	d.base, d.instances = base, object(base.Get(keyInstances))
	return d, nil
}

// block returns the object of a profile, nil if there is none.
func (d *Document) block(id string) *ordered.Object {
	if id == DefaultInstance {
		return d.base
	}
	if block, err := ordered.Parse(d.instances.Get(id)); err == nil {
		return block
	}
	return nil
}

// Profile returns the profile with that id. If there is none, the result is empty, and is
// stored only once [Profile.Create] has made it.
func (d *Document) Profile(id string) *Profile {
	if p, ok := d.profiles[id]; ok {
		return p
	}
	p := &Profile{Document: d, ID: id, block: d.block(id)}
	if p.block != nil {
		p.State = decode(p.block)
	}
	d.profiles[id] = p
	return p
}

// IDs returns the ids of the profiles. The default one is first, and always there. An
// empty object does not count as another profile, as with CrossWatch, and neither does a
// key that [NormalizeInstance] would change.
func (d *Document) IDs() []string {
	ids := []string{DefaultInstance}
	for _, m := range d.instances.Members() {
		if m.Key != DefaultInstance && m.Key == NormalizeInstance(m.Key) && d.Profile(m.Key).exists() {
			ids = append(ids, m.Key)
		}
	}
	return ids
}

// Absent reports whether nothing is stored for the profile. It is false for an empty
// object, and always for the default profile.
func (p *Profile) Absent() bool { return p.block == nil }

// exists reports whether the profile has any member: an empty object does not make one.
func (p *Profile) exists() bool { return p.block != nil && len(p.block.Members()) > 0 }

// Create makes the profile if it has no member yet. Its credentials are present and
// empty, because CrossWatch takes missing ones from the default profile. The default
// profile needs none.
func (p *Profile) Create() {
	if p.exists() || p.ID == DefaultInstance {
		return
	}
	p.block, p.State = &ordered.Object{}, State{}
	p.Token.set(Token{})
	p.State.Server.URL.set("")
	p.State.Server.MachineID.set("")
	p.clearOwner()
	p.encode()
}

// base returns the default profile.
func (p *Profile) base() *Profile { return p.Document.Profile(DefaultInstance) }

// Others returns the other profiles that [Document.IDs] names.
func (p *Profile) Others() []*Profile {
	var others []*Profile
	for _, id := range p.IDs() {
		if id != p.ID {
			others = append(others, p.Document.Profile(id))
		}
	}
	return others
}

// Changed reports whether the document differs from what was parsed.
func (d *Document) Changed() bool {
	for _, p := range d.profiles {
		p.encode()
		d.changed = d.changed || p.isDirty
	}
	return d.changed
}

// Encode returns the edited document. changed reports whether it differs from what was
// parsed.
func (d *Document) Encode() (raw json.RawMessage, changed bool) {
	changed = d.Changed()
	for id, p := range d.profiles {
		if p.isDirty && id != DefaultInstance {
			d.instances.Set(id, p.block.Bytes())
			d.base.Set(keyInstances, d.instances.Bytes())
		}
	}
	return d.base.Bytes(), changed
}

// encode writes the state into the block.
func (p *Profile) encode() {
	if p.block != nil && encode(p.block, &p.State) {
		p.isDirty = true
	}
}

// NormalizeInstance returns the one id that CrossWatch means by the spellings of id.
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

// portSuffix matches what CrossWatch's lists of profiles append to an id.
var portSuffix = regexp.MustCompile(`^(?s)(.+):\p{Nd}+$`)
