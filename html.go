package plexauth

import _ "embed"

//go:embed panel/panel.html
var panelHTML string

// HTML returns the panel as a fragment for a host's own settings page: what
// the login is for, connect, the code with copy button and countdown, cancel
// and delete. It has no script and no style, and the ids that hosts of
// CrossWatch's kind look for.
func HTML() string { return panelHTML }
