// Package fault holds the sentinel errors that more than one package returns.
// Their documentation is in package plexauth, which exports them.
package fault

import "errors"

// See the variables of the same names in package plexauth.
var (
	ErrStore         = errors.New("plexauth: config store")
	ErrCorruptConfig = errors.New("plexauth: config is corrupt")
)
