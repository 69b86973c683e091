package signin

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/words"
)

//go:embed pages
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "pages/page.html"))

// page is the data of pages/page.html.
type page struct {
	Title, Text string // keys of package words
	N           int    // the number in Text
	Account     string // the name of the account that was refused
	Start       bool   // has the button that goes to Plex
	Again       bool   // this button says that it is not the first time
	Return      string // where the visitor goes after the sign-in
	Finish      bool   // has the button that asks plex.tv for the approval
	Auto        bool   // signin.js presses this button at once

	Product string
	URL     string // of the handler, if it is known

	language *words.Language
}

// Language returns the tag of the page's language.
func (p page) Language() string { return p.language.Tag }

// Say returns the text of key, with what the page says about itself as parameters.
func (p page) Say(key string) string {
	return p.language.Text(key, "product", p.Product, "url", p.URL, "n", strconv.Itoa(p.N))
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request, status int, p page) {
	p.Product, p.language = h.o.Product, words.Find(h.o.Language)
	if h.external != nil {
		p.URL = h.external.String()
	}
	if p.language == nil {
		p.language = words.Match(r.Header)
		w.Header().Add("Vary", "Accept-Language")
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		http.Error(w, "signin: could not render the page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // fails only if the visitor has left
}

// showError tells a visitor what to do about err. It does not show err, which is for the
// log only. The fields of p other than Title and Text say how the visitor can go on.
func (h *Handler) showError(w http.ResponseWriter, r *http.Request, err error, p page) {
	p.Start, p.Again = true, true
	switch {
	case errors.Is(err, plexauth.ErrRateLimited):
		h.askToWait(w, r, h.pause.left(), p)
	case errors.Is(err, plexauth.ErrUnavailable):
		p.Title, p.Text = "signin.unavailable_title", "signin.unavailable_text"
		h.show(w, r, http.StatusBadGateway, p)
	default:
		p.Title, p.Text = "signin.failed_title", "signin.failed_text"
		h.show(w, r, http.StatusServiceUnavailable, p)
	}
}

// askToWait asks a visitor to try again after wait. The fields of p other than Title, Text
// and N say how the visitor can go on.
func (h *Handler) askToWait(w http.ResponseWriter, r *http.Request, wait time.Duration, p page) {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	p.Title, p.Text, p.N = "signin.wait_title", "signin.wait_seconds", seconds
	if seconds > 90 {
		p.Text, p.N = "signin.wait_minutes", (seconds+59)/60
	}
	p.Start, p.Again = true, true
	h.show(w, r, http.StatusTooManyRequests, p)
}

// asset serves the file pages/name.
func asset(name, contentType string) http.HandlerFunc {
	b, err := files.ReadFile("pages/" + name)
	if err != nil {
		panic(err) // impossible: the file is embedded
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(b)
	}
}
