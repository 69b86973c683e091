package profile

import (
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/secret"
)

// A document may have a thousand profiles, of which an edit concerns one. So their blocks are
// found without decoding them, and what rules must know of the others is remembered from the
// last time that the process read the document (parsecache.go).

// block is the member of "instances" for one profile.
type block struct {
	*mark
	text []byte // of the member, with what is between it and the one before
}

// mark is what may be remembered of a block. It has no text of it but the profile's id.
type mark struct {
	id                   string
	isNormal             bool   // the id is one that another profile than the default one can have
	hash                 uint64 // of the block's text
	size                 int    // of the block's text
	key, keyEnd, valueAt int    // indexes into the block's text
	known                atomic.Pointer[facts]
}

func (b block) key() []byte            { return b.text[b.mark.key:b.keyEnd] }
func (b block) value() json.RawMessage { return b.text[b.valueAt:] }

// facts returns the facts of a profile. It decodes the profile once.
func (b block) facts() *facts {
	f := b.known.Load()
	if f == nil {
		f = factsOf(b.id, b.value())
		b.known.Store(f)
	}
	return f
}

// facts are what rules need to know of a profile to find out that it does not concern them.
type facts struct {
	isEmpty   bool   // or not an object: there is no such profile
	account   int64  // as AccountID returns it
	token     uint64 // hash of the account token; 0 if there is none
	login     uint64 // hash of the id and the account token
	device    uint64 // hash of the identifier of the device that has the token; 0 if there is none
	isPending bool   // a PIN may be pending
}

func hashOf(text string) uint64 { return maphash.String(ProcessSeed, text) }

func hashOfToken(t secret.Value) uint64 {
	if t.IsZero() {
		return 0
	}
	return hashOf(t.Secret())
}

func hashOfLogin(id string, t secret.Value) uint64 {
	return hashOf(id + " " + t.Secret())
}

func factsOf(id string, value json.RawMessage) *facts {
	o, err := ordered.Parse(value)
	if err != nil || len(o.Members()) == 0 {
		return &facts{isEmpty: true}
	}
	s := decodeOwner(o)
	t := s.AccountToken()
	f := &facts{account: s.AccountID(), token: hashOfToken(t), login: hashOfLogin(id, t), isPending: o.Get(keyPendingPIN) != nil}
	if d := s.boundDevice(); d != nil {
		f.device = hashOf(d.ClientID)
	}
	return f
}

// findBlock returns the index of a profile's block, or -1. Of duplicates it returns the last.
func findBlock(blocks []block, id string) int {
	for i := len(blocks) - 1; i >= 0; i-- {
		if blocks[i].id == id {
			return i
		}
	}
	return -1
}

// newBlock returns a block that was not read.
func newBlock(id string, key, value []byte) block {
	text := slices.Concat(key, []byte(":"), value)
	return block{&mark{id: id, isNormal: isNormal(id), size: len(text), keyEnd: len(key), valueAt: len(key) + 1}, text}
}

func isNormal(id string) bool { return id != DefaultInstance && id == NormalizeInstance(id) }

// isAt reports whether the marked block is at raw[from]. A value that is a number may go on
// after the block's text.
func (m *mark) isAt(raw []byte, from int) bool {
	end := from + m.size
	return end < len(raw) && !isInNumber(raw[end]) && maphash.Bytes(ProcessSeed, raw[from:end]) == m.hash
}

func isInNumber(c byte) bool { return '0' <= c && c <= '9' || strings.IndexByte("+-.eE", c) >= 0 }

// scanBlock reads the block that follows raw[from], and checks it. There is a comma before all
// but the first.
func scanBlock(raw []byte, from int, isFirst bool) (b block, ok bool) {
	i := ordered.SkipSpace(raw, from)
	if !isFirst {
		if i == len(raw) || raw[i] != ',' {
			return block{}, false
		}
		i = ordered.SkipSpace(raw, i+1)
	}
	keyEnd, value := ordered.ScanKey(raw, i)
	if value == ordered.Invalid {
		return block{}, false
	}
	const depth = 2 // in "instances", which is in the document
	end := ordered.ScanValue(raw, value, depth)
	if end == ordered.Invalid {
		return block{}, false
	}
	id, _ := ordered.Unquote(raw[i:keyEnd])
	text := raw[from:end:end]
	return block{&mark{
		id: id, isNormal: isNormal(id), hash: maphash.Bytes(ProcessSeed, text), size: len(text),
		key: i - from, keyEnd: keyEnd - from, valueAt: value - from,
	}, text}, true
}

// readBlocks reads the object that begins at raw[at], and returns its blocks and its end. The
// end is ordered.Invalid if it is not valid.
func readBlocks(raw []byte, at int) (blocks []block, end int) {
	r := blockReader{raw: raw, i: at + 1}
	var earlier *rememberedDocument
	if len(raw) >= minRemembered {
		if earlier = parsed.find(raw, at); earlier != nil {
			r.marks = earlier.marks
			r.blocks = make([]block, 0, len(r.marks)+1)
		}
	}
	if end = r.read(); end == ordered.Invalid {
		return nil, end
	}
	if r.isAmbiguous && hideDuplicates(r.blocks) {
		return r.blocks, end
	}
	if len(raw) >= minRemembered {
		parsed.put(earlier, r.blocks)
	}
	return r.blocks, end
}

// hideDuplicates hides all but the last block of each id, and reports whether there are any.
func hideDuplicates(blocks []block) bool {
	last := make(map[string]int, len(blocks))
	for i, b := range blocks {
		last[b.id] = i
	}
	for i, b := range blocks {
		if last[b.id] != i {
			blocks[i] = block{&mark{id: b.id, size: b.size, key: b.mark.key, keyEnd: b.keyEnd, valueAt: b.valueAt}, b.text}
		}
	}
	return len(last) < len(blocks)
}

// blockReader reads the blocks of an object. It scans those that have no mark yet.
type blockReader struct {
	raw    []byte
	i      int // the end of the last block
	blocks []block
	marks  []*mark // without duplicates
	next   int     // the one in marks that is expected next

	scanned     int  // how many blocks were scanned
	isAmbiguous bool // two blocks may have the same id
}

// read reads the blocks, and returns the index after the object.
func (r *blockReader) read() (end int) {
	for {
		if r.follow() {
			continue
		}
		if i := ordered.SkipSpace(r.raw, r.i); i < len(r.raw) && r.raw[i] == '}' {
			return i + 1
		}
		b, ok := scanBlock(r.raw, r.i, len(r.blocks) == 0)
		if !ok {
			return ordered.Invalid
		}
		const few = 8 // more are compared in another way
		r.scanned++
		r.isAmbiguous = r.isAmbiguous || r.scanned > few || findBlock(r.blocks, b.id) >= 0
		if i := slices.IndexFunc(r.marks[r.next:], func(m *mark) bool { return m.id == b.id }); i >= 0 {
			r.next += i + 1
		}
		r.add(b)
	}
}

// follow reads the next block if it is the one that is expected. The first one in marks has no
// comma before it, so it can only be the first again.
func (r *blockReader) follow() bool {
	if r.next == len(r.marks) || (len(r.blocks) == 0) != (r.next == 0) {
		return false
	}
	m := r.marks[r.next]
	if !m.isAt(r.raw, r.i) {
		return false
	}
	end := r.i + m.size
	r.add(block{m, r.raw[r.i:end:end]})
	r.next++
	return true
}

func (r *blockReader) add(b block) {
	r.blocks = append(r.blocks, b)
	r.i += b.size
}
