package signin

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"math"
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
// strangers. The log says the rest. p tells how the visitor may go on.
func (h *Handler) showError(w http.ResponseWriter, err error, p page) {
	p.Start, p.Again = true, true
	switch {
	case errors.Is(err, plexauth.ErrRateLimited):
		h.slowDown(w, h.counter.pause(), p)
	case errors.Is(err, plexauth.ErrUnavailable):
		p.Title, p.Text = "Plex does not answer", "Plex cannot be reached just now. Nothing is wrong with your account. Try again in a little while."
		h.show(w, http.StatusBadGateway, p)
	default:
		p.Title, p.Text = "Not possible now", "Something is wrong with this app, not with your account. Try again in a little while. If it goes on, tell the person who runs this app."
		h.show(w, http.StatusServiceUnavailable, p)
	}
}

// slowDown refuses a sign-in for now.
func (h *Handler) slowDown(w http.ResponseWriter, wait time.Duration, p page) {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	in := fmt.Sprintf("%d s", seconds)
	if seconds > 90 {
		in = fmt.Sprintf("%d min", (seconds+59)/60)
	}
	p.Title, p.Text, p.Start, p.Again = "One moment", "There were too many sign-ins in a short time. Try again in "+in+".", true, true
	h.show(w, http.StatusTooManyRequests, p)
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
