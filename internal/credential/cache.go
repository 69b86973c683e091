package credential

import (
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/secret"
)

// MaxAge bounds how long a Cache keeps what was read from the store.
const MaxAge = 2 * time.Second

// Cache keeps the credential of one profile that sends requests. The zero Cache is empty.
// A Cache is safe for concurrent use.
type Cache struct {
	Reading gate.Gate // entered to read the store for all
	kept    atomic.Pointer[kept]
}

type kept struct {
	hidden func() *Credential
	writes int // of the document, when it was read
}

// Get returns the credential, nil if there is none, if it is older than MaxAge, or if the
// document has been written since: writes counts that.
func (c *Cache) Get(writes int) *Credential {
	if k := c.kept.Load(); k != nil && k.writes == writes {
		if v := k.hidden(); time.Since(v.Read) < MaxAge {
			return v
		}
	}
	return nil
}

// Put keeps v, which was read after that many writes of the document, for MaxAge.
func (c *Cache) Put(v *Credential, writes int) {
	k := &kept{secret.Hide(v), writes}
	c.kept.Store(k)
	time.AfterFunc(MaxAge, func() { c.kept.CompareAndSwap(k, nil) })
}
