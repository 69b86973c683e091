package panel

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"time"
)

//go:embed assets
var assets embed.FS

// HTML returns the panel as a fragment of a page.
func HTML() string { return string(readAsset("panel.html")) }

func readAsset(name string) []byte {
	content, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return content
}

// assetTypes are the files that a browser may load, with the type of each.
var assetTypes = map[string]string{
	"panel.js":    "text/javascript; charset=utf-8",
	"view.js":     "text/javascript; charset=utf-8",
	"request.js":  "text/javascript; charset=utf-8",
	"profiles.js": "text/javascript; charset=utf-8",
	"panel.css":   "text/css; charset=utf-8",
}

// asset returns a handler for one of the embedded files. Browsers may keep the file, and
// ask each time whether it has changed.
func asset(name, contentType string) http.HandlerFunc {
	content := readAsset(name)
	sum := sha256.Sum256(content)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:9]) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}
}

// servePage answers with the page. If the store cannot be read, the page says so, and
// the status is that of the problem.
func (p *Panel) servePage(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if _, problem := p.currentView(r.Context()); problem != nil {
		status = problem.Status
	}
	writePage(w, status, panelPage(p.config))
}

// writePage answers with a page.
func writePage(w http.ResponseWriter, status int, page string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, page) // the browser may have gone
}

// panelPage returns the fragment as a page of its own.
func panelPage(c Config) string {
	title, above := "Plex · "+c.Product, ""
	if c.Profile != "" {
		title = profileName(c.Profile) + " · " + title
		above = "<nav class=\"plexauth-above\"><a href=\"../../\">All profiles</a></nav>\n"
	}
	return page(title, c.Product, "panel.js", above+HTML())
}

// page returns a page whose script is one of the assets.
func page(title, product, script, content string) string {
	return fmt.Sprintf(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%[1]s</title>
<link rel="stylesheet" href="panel.css">
<script type="module" src="%[3]s"></script>
</head>
<body class="plexauth-page">
<main>
<h1 class="plexauth-product">%[2]s</h1>
%[4]s</main>
<noscript><p class="plexauth-noscript">This page needs JavaScript. Without it, sign in from the program's command line.</p></noscript>
</body>
</html>
`, html.EscapeString(title), html.EscapeString(product), script, content)
}

// serveQRCode answers GET qr.svg.
func (p *Panel) serveQRCode(w http.ResponseWriter, r *http.Request) {
	v, problem := p.currentView(r.Context())
	switch {
	case problem != nil:
		replyProblem(w, problem)
		return
	case v.pending == nil:
		replyProblem(w, noQRCode)
		return
	}
	svg, err := v.pending.QRCode()
	if err != nil {
		replyProblem(w, internal(err))
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = w.Write(svg)
}
