package profile

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// minRemembered is the length in bytes from which on a document is remembered.
	minRemembered = 16 << 10
	// maxRemembered is how many documents are remembered.
	maxRemembered = 8
	// rememberedFor is how long a document is remembered after it was last read. The next
	// garbage collection then frees it; there is one at least every two minutes.
	rememberedFor = time.Minute
)

// parsed has the marks of the documents that this process has read lately.
var parsed parseCache

type parseCache struct {
	mu        sync.Mutex
	documents []*rememberedDocument // the last to be read is the last
	isWatched bool                  // forget runs after the next garbage collection
}

// rememberedDocument does not change.
type rememberedDocument struct {
	marks []*mark
	read  time.Time
}

// find returns an earlier reading of the document whose other profiles are at raw[at], or nil.
func (m *parseCache) find(raw []byte, at int) *rememberedDocument {
	m.mu.Lock()
	documents := slices.Clone(m.documents)
	m.mu.Unlock()
	for _, d := range slices.Backward(documents) {
		if d.resembles(raw, at) {
			return d
		}
	}
	return nil
}

// resembles reports whether the first or the second block is the one of the object at raw[at].
func (d *rememberedDocument) resembles(raw []byte, at int) bool {
	if len(d.marks) == 0 {
		return false
	}
	if d.marks[0].isAt(raw, at+1) {
		return true
	}
	first, ok := scanBlock(raw, at+1, true)
	return ok && len(d.marks) > 1 && d.marks[1].isAt(raw, at+1+first.size)
}

// put remembers a reading of a document, in place of the earlier one that find has returned.
func (m *parseCache) put(earlier *rememberedDocument, blocks []block) {
	now := &rememberedDocument{make([]*mark, len(blocks)), time.Now()}
	for i, b := range blocks {
		now.marks[i] = b.mark
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.documents = slices.DeleteFunc(m.documents, func(d *rememberedDocument) bool { return d == earlier })
	m.documents = append(m.documents, now)
	m.documents = m.documents[max(0, len(m.documents)-maxRemembered):]
	if !m.isWatched {
		m.isWatched = true
		m.watch()
	}
}

// watch makes forget run after the next garbage collection. A timer would not do: it would keep
// what it refers to, and a test with a clock of its own could not share it.
func (m *parseCache) watch() {
	garbage := &struct{ self *parseCache }{m}
	runtime.AddCleanup(garbage, (*parseCache).forget, m)
}

// forget drops the documents that were not read lately.
func (m *parseCache) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.documents = slices.DeleteFunc(m.documents, func(d *rememberedDocument) bool { return time.Since(d.read) > rememberedFor })
	m.isWatched = len(m.documents) > 0
	if m.isWatched {
		m.watch()
	}
}
