package signin

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/plexauth/plexauth"
)

//go:embed pages
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "pages/page.html"))

// page is what pages/page.html shows.
type page struct {
	Product, Title, Text string
	Name                 string // of the account that was refused
	Start                bool   // the button that goes to Plex
	Again                bool   // it is not the first time
	Return               string
	Finish               bool // the button that looks for the approval
	Auto                 bool // it is pressed by itself
}

func (h *Handler) show(w http.ResponseWriter, status int, p page) {
	p.Product = h.o.Product
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		http.Error(w, "signin: the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a visitor who has gone is no trouble
}

// showError says what to do about a failure, and no more: visitors are
// strangers. The log says the rest. to is where the visitor wants to go.
func (h *Handler) showError(w http.ResponseWriter, err error, to string) {
	switch {
	case errors.Is(err, plexauth.ErrRateLimited):
		h.slowDown(w, time.Minute, to)
	case errors.Is(err, plexauth.ErrUnavailable):
		h.show(w, http.StatusBadGateway, page{Title: "Plex does not answer", Text: "Plex cannot be reached just now. Nothing is wrong with your account. Try again in a little while.", Start: true, Again: true, Return: to})
	default:
		h.show(w, http.StatusServiceUnavailable, page{Title: "Not possible now", Text: "You could not be signed in, for a reason that is not yours. Try again in a little while; if it stays so, tell whoever runs this app.", Start: true, Again: true, Return: to})
	}
}

// slowDown refuses a sign-in for now.
func (h *Handler) slowDown(w http.ResponseWriter, wait time.Duration, to string) {
	seconds := int(wait/time.Second) + 1
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	text := "There were too many sign-ins in a short time. Try again in a few minutes."
	if seconds <= 90 {
		text = "There were too many sign-ins in a short time. Try again in a minute."
	}
	h.show(w, http.StatusTooManyRequests, page{Title: "One moment", Text: text, Start: true, Again: true, Return: to})
}

// asset serves one of the embedded files.
func asset(name, contentType string) http.HandlerFunc {
	b, err := files.ReadFile("pages/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(b)
	}
}
