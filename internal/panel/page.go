package panel

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/words"
)

//go:embed assets
var assets embed.FS

// HTML returns the panel as a fragment of a page, in English. The script puts it into the
// language of the page.
func HTML() string { return fill(readAsset("panel.html"), words.English) }

// marked matches an element that names the text in it, or that of its attribute alt.
var marked = regexp.MustCompile(`data-(text|alt)="([^"]+)"( alt="|[^>]*>)`)

// bold restores what the texts have in bold.
var bold = strings.NewReplacer("&lt;b&gt;", "<b>", "&lt;/b&gt;", "</b>")

// fill returns a fragment with its texts in the language l.
func fill(fragment []byte, l *words.Language) string {
	return marked.ReplaceAllStringFunc(string(fragment), func(tag string) string {
		key := marked.FindStringSubmatch(tag)[2]
		return tag + bold.Replace(html.EscapeString(l.Text(key)))
	})
}

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
	"words.js":    "text/javascript; charset=utf-8",
	"view.js":     "text/javascript; charset=utf-8",
	"request.js":  "text/javascript; charset=utf-8",
	"return.js":   "text/javascript; charset=utf-8",
	"profiles.js": "text/javascript; charset=utf-8",
	"panel.css":   "text/css; charset=utf-8",
}

// wordsFile is the name under which a browser loads the texts of the page's language.
const wordsFile = "words.json"

// isAsset reports whether name is that of a file which is the same for every profile.
func isAsset(name string) bool { return assetTypes[name] != "" || name == wordsFile }

// asset returns a handler for one of the embedded files.
func asset(name, contentType string) http.HandlerFunc {
	content := readAsset(name)
	return func(w http.ResponseWriter, r *http.Request) { serveFile(w, r, contentType, content) }
}

// serveFile answers with a file. Browsers may keep it, and ask each time whether it has
// changed.
func serveFile(w http.ResponseWriter, r *http.Request, contentType string, content []byte) {
	sum := sha256.Sum256(content)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:9])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// serveWords answers GET words.json: the texts in the language of the page that asks, which
// lang names. A page in another language gets those that its browser prefers.
func (s *site) serveWords(w http.ResponseWriter, r *http.Request) {
	l := s.language(w, r)
	if ofPage := words.Find(r.FormValue("lang")); ofPage != nil && s.config.Language == "" {
		l = ofPage
	}
	content, _ := json.Marshal(struct { // plain fields
		Language string            `json:"language"`
		Product  string            `json:"product"`
		Texts    map[string]string `json:"texts"`
	}{l.Tag, s.config.Product, l.Texts()})
	serveFile(w, r, "application/json", content)
}

// language returns the language of the answer to r, and notes what it depends on.
func (s *site) language(w http.ResponseWriter, r *http.Request) *words.Language {
	if l := words.Find(s.config.Language); l != nil {
		return l
	}
	w.Header().Add("Vary", "Accept-Language")
	return words.Match(r.Header)
}

// servePage answers with the page. If the store cannot be read, the page says so.
func (p *Panel) servePage(w http.ResponseWriter, r *http.Request) {
	p.writeCurrent(w, r, panelPage(p.config))
}

// writeCurrent answers with a page. If the store cannot be read, the status is that of the
// problem.
func (p *Panel) writeCurrent(w http.ResponseWriter, r *http.Request, page page) {
	status := http.StatusOK
	if _, problem := p.currentView(r.Context()); problem != nil {
		status = problem.Status
	}
	p.writePage(w, r, status, page)
}

// page is a page that shows a fragment.
type page struct {
	script   string // an asset
	fragment string // an asset
	profile  string // the profile below the list that it shows; empty: none
}

// panelPage returns the page of the panel.
func panelPage(c Config) page {
	return page{script: "panel.js", fragment: "panel.html", profile: c.Profile}
}

// writePage answers with a page.
func (s *site) writePage(w http.ResponseWriter, r *http.Request, status int, p page) {
	l := s.language(w, r)
	title, above := "Plex · "+s.config.Product, ""
	if p.profile != "" {
		title = profileName(l, p.profile) + " · " + title
		above = `<nav class="plexauth-above"><a href="../../">` + html.EscapeString(l.Text("profiles.all")) + "</a></nav>\n"
	}
	head := `<link rel="stylesheet" href="panel.css">
<script type="module" src="` + p.script + `"></script>`
	main := `<h1 class="plexauth-product">` + html.EscapeString(s.config.Product) + "</h1>\n" + above + fill(readAsset(p.fragment), l)
	writeHTML(w, status, l, title, head, main)
}

// writeHTML answers with HTML in the language l. title is text; head and main are HTML.
func writeHTML(w http.ResponseWriter, status int, l *words.Language, title, head, main string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	// The browser may have gone.
	_, _ = fmt.Fprintf(w, `<!doctype html>
<html lang="%s">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%s</title>
%s
</head>
<body class="plexauth-page">
<main>
%s</main>
</body>
</html>
`, l.Tag, html.EscapeString(title), head, main)
}

// serveQRCode answers GET qr.svg.
func (p *Panel) serveQRCode(w http.ResponseWriter, r *http.Request) {
	v, problem := p.currentView(r.Context())
	switch {
	case problem != nil:
		replyProblem(w, problem)
		return
	case v.pending == nil:
		replyProblem(w, noQRCode())
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
