package signin

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/words"
)

//go:embed pages
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "pages/page.html"))

// Page is one page of a [Handler], in the language of the visitor: see [Options].Page. It
// has no token, no PIN and nothing that is secret.
type Page struct {
	Name     string // which page it is, such as "start" or "refused": see docs/web.md
	Language string // of all texts, as in <html lang>: "en"
	Product  string // Options.Product
	Title    string // the heading
	Text     string // what has happened, and what the visitor can do
	Account  string // the name of the account that the page is about; often empty
	Detail   string // what the owner of the app's media server can do about it; empty for everyone else
	Forms    []Form // what the visitor can do
	Help     string // a question about Plex's page; empty if no form leads there
	HelpText string // its answer, which warns of phishing: show it beside the forms
	// Content is all of the above as HTML, in the element <div class="plexauth-signin">.
	// signin.css styles it.
	Content template.HTML
}

// Form is a form of a [Page]. It is sent by POST to Action.
type Form struct {
	Action   string // "start", "finish" or "member": an address beside that of the page
	Label    string // of its button
	Primary  bool   // it is the one that most visitors need
	Auto     bool   // signin.js sends it at once
	Return   string // value of the field "return"; empty: leave the field out
	Member   string // value of the field "member"; empty: leave the field out
	PIN      string // label of a field "pin" for a Home PIN; empty: leave the field out
	PINError string // what is wrong with the PIN that was sent: show it below the field; often empty
}

// view is what the Handler wants to show. It becomes a Page.
type view struct {
	Title, Text string              // keys of package words
	N           int                 // the number in Text or PINError
	Account     string              // the name of the account that the page is about
	Owner       []string            // keys of what only the owner of the app's media server reads
	Error       string              // in a text of Owner
	Number      int64               // of the account, in a text of Owner
	Start       bool                // has the button that goes to Plex
	Again       bool                // this button says that it is not the first time
	Return      string              // where the visitor goes after the sign-in
	Finish      bool                // has the button that asks plex.tv for the approval
	Auto        bool                // signin.js presses this button at once
	Members     []plexauth.HomeUser // has buttons for them
	Member      string              // UUID of the one whose Home PIN is not accepted
	PINError    string              // key of what is wrong with this PIN
}

// speaker says texts in the language of a visitor.
type speaker struct {
	language *words.Language
	n        int // the number in the texts
	params   []string
}

// say returns the text of key. more are parameters beside those of the page.
func (s speaker) say(key string, more ...string) string {
	return s.language.Text(s.language.Number(key, s.n), append(more, s.params...)...)
}

// speaker returns the speaker for v, and sets Vary if the language depends on the request.
func (h *Handler) speaker(w http.ResponseWriter, r *http.Request, v view) speaker {
	language := words.Find(h.o.Language)
	if language == nil {
		language = words.Match(r.Header)
		w.Header().Add("Vary", "Accept-Language")
	}
	at := ""
	if h.external != nil {
		at = h.external.String()
	}
	return speaker{language, v.N, []string{"product", h.o.Product, "url", at, "n", strconv.Itoa(v.N), "error", v.Error, "account", strconv.FormatInt(v.Number, 10)}}
}

// page returns v as a visitor reads it.
func (v view) page(s speaker, product string) Page {
	p := Page{
		Name: pageName(v.Title), Language: s.language.Tag, Product: product,
		Title: s.say(v.Title), Text: s.say(v.Text), Account: v.Account,
	}
	for _, u := range v.Members {
		f := Form{Action: "member", Label: nameOf(u), Member: u.UUID}
		if u.Protected {
			f.PIN = s.say("signin.members_pin", "name", f.Label)
		}
		if v.PINError != "" && u.UUID == v.Member {
			f.PINError = s.say(v.PINError, "name", f.Label)
		}
		p.Forms = append(p.Forms, f)
	}
	var detail []string
	for _, key := range v.Owner {
		detail = append(detail, s.say(key))
	}
	p.Detail = strings.Join(detail, " ")
	if v.Finish {
		p.Forms = append(p.Forms, Form{Action: "finish", Label: s.say("signin.continue"), Primary: true, Auto: v.Auto})
	}
	if v.Start {
		label := "signin.sign_in"
		switch {
		case v.Members != nil:
			label = "signin.members_other"
		case v.Finish || v.Again:
			label = "signin.sign_in_again"
		}
		p.Forms = append(p.Forms, Form{Action: "start", Label: s.say(label), Primary: len(p.Forms) == 0, Return: v.Return})
		p.Help, p.HelpText = s.say("signin.alert"), s.say("signin.alert_text")
	}
	return p
}

// pageName returns the name of the page with a title: "refused" for "signin.refused_title".
func pageName(title string) string {
	return strings.TrimSuffix(strings.TrimPrefix(title, "signin."), "_title")
}

// show writes v as the app's own page or, if there is none or it fails, as the built-in one.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, status int, v view) {
	p := v.page(h.speaker(w, r, v), h.o.Product)
	var content, whole bytes.Buffer
	err := pageTemplate.ExecuteTemplate(&content, "content", p)
	p.Content = template.HTML(content.String())
	if err == nil {
		err = h.write(&whole, r, p)
	}
	if err != nil {
		http.Error(w, "signin: could not render the page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(whole.Bytes()) // fails only if the visitor has left
}

// write writes p as the app's own page or, if there is none or it fails, as the built-in one.
func (h *Handler) write(b *bytes.Buffer, r *http.Request, p Page) error {
	if h.o.Page != nil {
		err := h.o.Page(b, r, p)
		if err == nil {
			return nil
		}
		h.log.ErrorContext(r.Context(), "the app's own page failed: showing the built-in one", "page", p.Name, "error", err)
		b.Reset()
	}
	return pageTemplate.Execute(b, p)
}

// showError tells a visitor what to do about err. It does not show err, which is for the
// log only. The fields of v other than Title and Text say how the visitor can go on.
func (h *Handler) showError(w http.ResponseWriter, r *http.Request, err error, v view) {
	v.Start, v.Again = true, true
	switch {
	case errors.Is(err, plexauth.ErrRateLimited):
		h.askToWait(w, r, h.pause.left(), v)
	case errors.Is(err, plexauth.ErrUnavailable):
		v.Title, v.Text = "signin.unavailable_title", "signin.unavailable_text"
		h.show(w, r, http.StatusBadGateway, v)
	default:
		v.Title, v.Text = "signin.failed_title", "signin.failed_text"
		h.show(w, r, http.StatusServiceUnavailable, v)
	}
}

// askToWait asks a visitor to try again after wait. The fields of v other than Title, Text
// and N say how the visitor can go on.
func (h *Handler) askToWait(w http.ResponseWriter, r *http.Request, wait time.Duration, v view) {
	setRetryAfter(w, wait)
	v.Title, v.Text, v.N = "signin.too_many_title", "signin.wait_seconds", inSeconds(wait)
	if v.N > maxSeconds {
		v.Text, v.N = "signin.wait_minutes", inMinutes(v.N)
	}
	v.Start, v.Again = true, true
	h.show(w, r, http.StatusTooManyRequests, v)
}

// maxSeconds is the longest wait that a page names in seconds.
const maxSeconds = 90

func inSeconds(wait time.Duration) int { return max(1, int(math.Ceil(wait.Seconds()))) }

func inMinutes(seconds int) int { return (seconds + 59) / 60 }

func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(inSeconds(wait)))
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
