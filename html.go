package plexauth

import "github.com/plexauth/plexauth/internal/panel"

// HTML returns the panel as a fragment for a host's own settings page: sign-in,
// server and user, with the ids that hosts of CrossWatch's kind look for. It
// has no script and no style. Bring it to life with the panel's own module,
// which finds the routes of [PlexAuth.Handler] by where it comes from, and
// loads its style sheet:
//
//	<script type="module" src="/plex/panel.js"></script>
//
// The fragment may also be put into the page later: the module waits for it. A host
// that brings it to life with a script of its own shows and hides what has an id by
// the class "hidden".
func HTML() string { return panel.HTML() }
