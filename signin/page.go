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

// page is the data of pages/page.html.
type page struct {
	Product, Title, Text string
	Account              string // the name of the account that was refused
	Start                bool   // has the button that goes to Plex
	Again                bool   // this button says that it is not the first time
	Return               string // where the visitor goes after the sign-in
	Finish               bool   // has the button that asks plex.tv for the approval
	Auto                 bool   // signin.js presses this button at once
}

func (h *Handler) show(w http.ResponseWriter, status int, p page) {
	p.Product = h.o.Product
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
func (h *Handler) showError(w http.ResponseWriter, err error, p page) {
	p.Start, p.Again = true, true
	switch {
	case errors.Is(err, plexauth.ErrRateLimited):
		h.askToWait(w, h.pause.left(), p)
	case errors.Is(err, plexauth.ErrUnavailable):
		p.Title, p.Text = "Could not connect to Plex", "Plex does not answer at the moment. Nothing is wrong with your account. Try again in a few minutes."
		h.show(w, http.StatusBadGateway, p)
	default:
		p.Title, p.Text = "Could not sign you in", "Something is wrong with this app, not with your account. Try again in a few minutes. If it happens again, tell the person who runs this app."
		h.show(w, http.StatusServiceUnavailable, p)
	}
}

// askToWait asks a visitor to try again after wait. The fields of p other than Title and
// Text say how the visitor can go on.
func (h *Handler) askToWait(w http.ResponseWriter, wait time.Duration, p page) {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	in := fmt.Sprintf("%d s", seconds)
	if seconds > 90 {
		in = fmt.Sprintf("%d min", (seconds+59)/60)
	}
	p.Title, p.Text, p.Start, p.Again = "Too many sign-ins", "There were too many sign-ins in a short time. Try again in "+in+".", true, true
	h.show(w, http.StatusTooManyRequests, p)
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
