package plexauth

import "github.com/plexauth/plexauth/internal/panel"

// HTML returns the panel as a fragment for a host's own settings page: sign-in,
// server and user, with the ids that hosts like CrossWatch look for. It contains
// no script and no style. The panel's own module drives it. The module finds the
// routes of [PlexAuth.Handler] by its own URL, and loads the style sheet:
//
//	<script type="module" src="/plex/panel.js"></script>
//
// Its texts are in English. The module puts them into the language of the page, or the
// one of [Options].Language.
//
// The page may insert the fragment later: the module waits for it. A host that uses
// a script of its own instead shows and hides the elements with an id by the class
// "hidden".
func HTML() string { return panel.HTML() }
