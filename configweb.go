package plexauth

import (
	"time"

	"github.com/plexauth/plexauth/internal/ordered"
)

// noteCancelled keeps the date of the PIN that is about to be cancelled, for the
// pace at which the web, here and on other replicas, may start the next one.
func (b *profile) noteCancelled() {
	v := b.pending()
	switch {
	case v == nil:
	case time.Since(v.created) < startPause:
		b.set("_cancelled_pin", ordered.Int(v.created.Unix()))
	default:
		b.remove("_cancelled_pin")
	}
}

// lastPIN is when the last PIN was made that the store knows of, pending or
// cancelled.
func (b *profile) lastPIN() (made time.Time) {
	if b.block == nil {
		return made
	}
	if s := integer(b.block.Get("_cancelled_pin")); s > 0 {
		made = time.Unix(s, 0)
	}
	if v := b.pending(); v != nil && v.created.After(made) {
		made = v.created
	}
	return made
}
