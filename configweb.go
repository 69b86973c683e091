package plexauth

import (
	"time"

	"github.com/plexauth/plexauth/internal/ordered"
)

// panelPIN is the field with the date of the PIN that a panel had made last. Its
// name dates from when only a cancelled login left one.
const panelPIN = "_cancelled_pin"

// notePanelPIN keeps the date of a PIN that the panel had made. It stays however
// the login ends, so that all replicas keep the pace of starts (G12).
func (b *profile) notePanelPIN(made time.Time) {
	if b.exists() {
		b.set(panelPIN, ordered.Int(made.Unix()))
	}
}

// endPending removes the PIN that waits, however its login ended, and with it a
// date that paces no start any more.
func (b *profile) endPending() {
	if time.Since(b.panelPIN()) >= startPause {
		b.remove(panelPIN)
	}
	b.remove("_pending_pin")
}

// panelPIN returns the date that notePanelPIN keeps, or zero.
func (b *profile) panelPIN() time.Time {
	if b.block == nil {
		return time.Time{}
	}
	if s := integer(b.block.Get(panelPIN)); s > 0 {
		return time.Unix(s, 0)
	}
	return time.Time{}
}

// lastPIN returns when the last PIN was made that the store knows of.
func (b *profile) lastPIN() time.Time {
	made := b.panelPIN()
	if v := b.pending(); v != nil && v.created.After(made) {
		return v.created
	}
	return made
}
