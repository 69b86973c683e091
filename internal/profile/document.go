// Package profile reads and edits the document that a store keeps: its profiles, and the
// rules of who owns which token. It makes no request and touches no store.
//
// Each profile of a [Document] is decoded into a [State]. Methods of [Profile] read and
// change it, and [Document.Stored] returns the changed document.
package profile

import (
	"encoding/json"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// DefaultInstance is the id of the profile that CrossWatch stores at the top level.
const DefaultInstance = "default"

// Document is the namespace's object while it is read or edited. It is not safe for
// concurrent use, nor are its profiles.
type Document struct {
	stored   *Stored
	base     *ordered.Object     // with {} in place of the other profiles
	blocks   []block             // of the other profiles
	main     *Profile            // the default one; nil until it is decoded
	profiles map[string]*Profile // the others that were decoded
	decoded  []int               // the indexes in blocks of profiles
	changed  bool
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

// block returns the object of a profile, nil if there is none.
func (d *Document) block(id string) *ordered.Object {
	if id == DefaultInstance {
		return d.base
	}
	i := findBlock(d.blocks, id)
	if i < 0 {
		return nil
	}
	d.decoded = append(d.decoded, i)
	if block, err := ordered.View(d.blocks[i].value()); err == nil {
		return block
	}
	return nil
}

// Profile returns the profile with that id. If there is none, the result is empty, and is
// stored only once [Profile.Create] has made it.
func (d *Document) Profile(id string) *Profile {
	if p := d.known(id); p != nil {
		return p
	}
	p := &Profile{Document: d, ID: id, block: d.block(id)}
	if p.block != nil {
		decode(p.block, &p.State)
	}
	switch {
	case id == DefaultInstance:
		d.main = p
	case d.profiles == nil:
		d.profiles = map[string]*Profile{id: p}
	default:
		d.profiles[id] = p
	}
	return p
}

// known returns the profile with that id if it was decoded, else nil.
func (d *Document) known(id string) *Profile {
	if id == DefaultInstance {
		return d.main
	}
	return d.profiles[id]
}

// IDs returns the ids of the profiles. The default one is first, and always there. An
// empty object does not count as another profile, as with CrossWatch, and neither does a
// key that [NormalizeInstance] would change.
func (d *Document) IDs() []string {
	ids := []string{DefaultInstance}
	for i := range d.blocks {
		if d.isProfile(i) {
			ids = append(ids, d.blocks[i].id)
		}
	}
	return ids
}

// isProfile reports whether a block is a profile with any member.
func (d *Document) isProfile(i int) bool {
	b := d.blocks[i]
	if b.isNormal && slices.Contains(d.decoded, i) {
		return d.Profile(b.id).exists()
	}
	return b.isNormal && !b.facts().isEmpty
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

// others returns the other profiles that [Document.IDs] names.
func (p *Profile) others() []*Profile {
	return slices.Collect(p.othersThat(func(*facts) bool { return true }))
}

// othersThat yields the other profiles that exist and may be what the caller looks for. It
// leaves out a profile only if mayBe returns false for what is stored, and the profile was
// not decoded: a decoded one may have been edited. So the caller must check each profile
// itself.
func (p *Profile) othersThat(mayBe func(*facts) bool) iter.Seq[*Profile] {
	return func(yield func(*Profile) bool) {
		if p.ID != DefaultInstance && !yield(p.base()) {
			return
		}
		for i, b := range p.blocks {
			if !mayBe(b.facts()) && !slices.Contains(p.decoded, i) {
				continue
			}
			if p.isProfile(i) && b.id != p.ID && !yield(p.Document.Profile(b.id)) {
				return
			}
		}
	}
}

// othersOf yields the other profiles whose token may be this account's.
func (p *Profile) othersOf(accountID int64) iter.Seq[*Profile] {
	return p.othersThat(func(f *facts) bool { return f.account == accountID })
}

// Changed reports whether the document differs from what was parsed.
func (d *Document) Changed() bool {
	if d.main != nil {
		d.main.encode()
	}
	for _, p := range d.profiles {
		p.encode()
	}
	return d.changed
}

// Stored returns the edited document. changed reports whether it differs from what was
// parsed.
func (d *Document) Stored() (s *Stored, changed bool) {
	if !d.Changed() {
		return d.stored, false
	}
	s = &Stored{version: versions.Add(1)}
	if d.stored != nil {
		s.others, s.blocks, s.hasOthers = d.stored.others, d.stored.blocks, d.stored.hasOthers
	}
	var edited []*Profile
	for _, p := range d.profiles {
		if p.isDirty {
			edited = append(edited, p)
		}
	}
	if len(edited) > 0 {
		slices.SortFunc(edited, func(a, b *Profile) int { return strings.Compare(a.ID, b.ID) })
		if !s.hasOthers {
			d.base.Set(keyInstances, json.RawMessage(`{}`))
		}
		s.others, s.blocks, s.hasOthers = nil, withBlocks(s.blocks, edited), true
	}
	s.base = d.base.Bytes()
	return s, true
}

// withBlocks returns a copy of blocks with those of edited profiles.
func withBlocks(blocks []block, edited []*Profile) []block {
	blocks = append(make([]block, 0, len(blocks)+len(edited)), blocks...)
	for _, p := range edited {
		if i := findBlock(blocks, p.ID); i >= 0 {
			blocks[i] = newBlock(p.ID, blocks[i].key(), p.block.Bytes())
		} else {
			blocks = append(blocks, newBlock(p.ID, ordered.String(p.ID), p.block.Bytes()))
		}
	}
	return blocks
}

// encode writes the state into the block.
func (p *Profile) encode() {
	if p.block != nil && encode(p.block, &p.State) {
		p.isDirty, p.Document.changed = true, true
	}
}

// NormalizeInstance returns the one id that CrossWatch means by the spellings of id.
func NormalizeInstance(id string) string {
	id = strings.TrimSpace(id)
	if strings.Contains(id, ":") { // else the expression need not be tried
		if m := portSuffix.FindStringSubmatch(id); m != nil {
			id = strings.TrimSpace(m[1])
		}
	}
	if id == "" || strings.EqualFold(id, DefaultInstance) {
		return DefaultInstance
	}
	return id
}

// portSuffix matches what CrossWatch's lists of profiles append to an id.
var portSuffix = regexp.MustCompile(`^(?s)(.+):\p{Nd}+$`)
