package sqlstore

import (
	"slices"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// maxRecent is how many large documents a Store keeps.
	maxRecent = 4
	// recentFor is how long a Store keeps a large document after its last use. Those who wait
	// for a login read its document every five seconds.
	recentFor = 10 * time.Second
)

// recentRows are the rows of the large documents that were read or written lately. Whether one
// is still the same in the database is asked each time.
type recentRows struct {
	mu    sync.Mutex
	rows  []recentRow // the last used is the last
	timer *time.Timer // runs forget; nil if rows is empty
}

type recentRow struct {
	namespace string
	row       func() row // hidden
	used      time.Time
}

// find returns the row of a namespace, and whether there is one.
func (c *recentRows) find(namespace string) (row, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.index(namespace)
	if i < 0 {
		return row{}, false
	}
	return c.rows[i].row(), true
}

func (c *recentRows) index(namespace string) int {
	return slices.IndexFunc(c.rows, func(r recentRow) bool { return r.namespace == namespace })
}

// put keeps the row of a namespace if its document is large and may be kept. It drops the one
// before.
func (c *recentRows) put(namespace string, r row, mayBeKept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.index(namespace); i >= 0 {
		c.rows = slices.Delete(c.rows, i, i+1)
	}
	if r.parsed == nil || !mayBeKept {
		return
	}
	if len(c.rows) == maxRecent {
		c.rows = slices.Delete(c.rows, 0, 1)
	}
	c.rows = append(c.rows, recentRow{namespace, secret.Hide(r), time.Now()})
	if c.timer == nil {
		c.timer = time.AfterFunc(recentFor, c.forget)
	}
}

// forget drops the rows that were not used lately.
func (c *recentRows) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows = slices.DeleteFunc(c.rows, func(r recentRow) bool { return time.Since(r.used) >= recentFor })
	if len(c.rows) == 0 {
		c.timer = nil
		return
	}
	c.timer.Reset(recentFor - time.Since(c.rows[0].used))
}
