package plexauth

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"time"

	"github.com/plexauth/plexauth/internal/plain"
)

//go:embed internal/panel/assets
var panelFiles embed.FS

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
func HTML() string { return panelFile("panel.html") }

func panelFile(name string) string {
	b, err := panelFiles.ReadFile("internal/panel/assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(b)
}

// panelPage is the fragment as a page of its own.
func panelPage(product string) string {
	return fmt.Sprintf(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Plex · %[1]s</title>
<link rel="stylesheet" href="panel.css">
<script type="module" src="panel.js"></script>
</head>
<body class="plexauth-page">
<main>
<h1 class="plexauth-product">%[1]s</h1>
%[2]s</main>
<noscript><p class="plexauth-noscript">This page needs JavaScript. Without it, sign in from the program's command line.</p></noscript>
</body>
</html>
`, html.EscapeString(plain.Header(product)), HTML())
}

// panelAsset serves one of the embedded files.
func panelAsset(name, contentType string) func(http.ResponseWriter, *http.Request) {
	b := []byte(panelFile(name))
	sum := sha256.Sum256(b)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:9]) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache") // ask whether it is still this one
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
	}
}
