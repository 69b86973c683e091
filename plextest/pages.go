package plextest

import (
	"bytes"
	"embed"
	"html/template"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

//go:embed pages
var pageFiles embed.FS

var pageTemplate = template.Must(template.ParseFS(pageFiles, "pages/page.html"))

// A page has the values for the template pages/page.html.
type page struct {
	Title, Problem, Done       string
	Form, Auth, Home           bool
	Action                     string
	Code, ClientID, ForwardURL string
	User                       string // UUID of the selected user
	Users                      []*User
	Waiting                    []waitingPin
}

type waitingPin struct{ Code, Product string }

// answerPage serves the pages of plex.tv and app.plex.tv.
func (s *Server) answerPage(c *call) reply {
	path := "/" + strings.Trim(c.path, "/")
	get, post := c.method == http.MethodGet || c.method == http.MethodHead, c.method == http.MethodPost
	switch {
	case path == "/fake.css" && get:
		return asset("pages/fake.css", "text/css; charset=utf-8")
	case path == "/auth.js" && get:
		return asset("pages/auth.js", "text/javascript; charset=utf-8")
	case path == "/auth" && c.site != siteAPI && (get || post):
		return s.authPage(c, post)
	case (path == "/link" || path == "/pin") && c.site != siteApp && (get || post):
		return s.linkPage(c, post)
	case path == "/" && get:
		return s.render(http.StatusOK, page{Title: "Fake plex.tv", Home: c.site == siteAll})
	}
	return s.render(http.StatusNotFound, page{Title: "Not found"})
}

// linkPage serves the page on which a person types a short code.
func (s *Server) linkPage(c *call, post bool) reply {
	p := page{Title: "Link an app", Form: true, Action: "/link", Code: c.query.Get("pin")}
	if !post {
		return s.render(http.StatusOK, p)
	}
	p.Code, p.User = c.form.Get("code"), c.form.Get("user")
	s.mu.Lock()
	pin, user := s.pendingPin(p.Code), s.userByUUID(p.User)
	switch {
	case pin == nil || pin.strong: // the real page accepts only four characters
		p.Problem = "This code is not valid. Check it, or ask the app for a new one."
	case user == nil:
		p.Problem = "Choose a user."
	default:
		s.approveOn(&p, pin, user)
	}
	s.mu.Unlock()
	if p.Problem != "" {
		return s.render(http.StatusUnprocessableEntity, p)
	}
	return s.render(http.StatusOK, p)
}

// authPage serves the page to which an app sends a person with a strong code.
func (s *Server) authPage(c *call, post bool) reply {
	p := page{Title: "Sign in to an app", Form: true, Auth: true, Action: "/auth"}
	if !post {
		return s.render(http.StatusOK, p)
	}
	p.Code, p.ClientID, p.ForwardURL, p.User = c.form.Get("code"), c.form.Get("clientID"), c.form.Get("forwardUrl"), c.form.Get("user")
	forward, err := url.Parse(p.ForwardURL)
	s.mu.Lock()
	pin, user := s.pendingPin(p.Code), s.userByUUID(p.User)
	switch {
	case err != nil || p.ForwardURL != "" && forward.Scheme == "":
		p.Problem = "The app gave a forwardUrl that is not an absolute URL."
	case pin == nil:
		p.Problem = "This code is not valid, or it has expired."
	case !pin.strong:
		p.Problem = "This code is for plex.tv/link, not for this page."
	case pin.clientID != p.ClientID:
		p.Problem = "The clientID in the address is not the one that made this code."
	case user == nil:
		p.Problem = "Choose a user."
	default:
		s.approveOn(&p, pin, user)
	}
	s.mu.Unlock()
	switch {
	case p.Problem != "":
		return s.render(http.StatusUnprocessableEntity, p)
	case p.ForwardURL != "":
		r := s.render(http.StatusSeeOther, p)
		r.header.Set("Location", p.ForwardURL)
		return r
	}
	return s.render(http.StatusOK, p)
}

// approveOn approves a PIN and sets the message of p. s.mu must be held.
func (s *Server) approveOn(p *page, pin *pin, u *User) {
	s.approve(pin, u)
	p.Done, p.Form = pin.product+" is now signed in as "+u.Title+". You can close this page.", false
}

// userByUUID returns the user with a UUID, or nil. s.mu must be held.
func (s *Server) userByUUID(uuid string) *User {
	for _, u := range s.users {
		if u.UUID == uuid {
			return u
		}
	}
	return nil
}

// render returns p as an HTML page, with the users and the codes to choose from.
func (s *Server) render(status int, p page) reply {
	s.mu.Lock()
	for _, u := range s.users {
		shown := *u
		p.Users = append(p.Users, &shown)
	}
	if p.User == "" && len(p.Users) > 0 {
		p.User = p.Users[0].UUID
	}
	if !p.Auth && (p.Form || p.Home) {
		for _, pin := range s.pins {
			if !pin.strong && pin.pending(time.Now()) {
				p.Waiting = append(p.Waiting, waitingPin{pin.code, pin.product})
			}
		}
	}
	s.mu.Unlock()
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return newReply(http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("plextest: "+err.Error()))
	}
	r := newReply(status, "text/html; charset=utf-8", b.Bytes())
	r.header.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
	r.header.Set("Cache-Control", "no-store")
	return r
}

// asset returns an embedded file.
func asset(name, contentType string) reply {
	b, err := pageFiles.ReadFile(name)
	if err != nil {
		return newReply(http.StatusNotFound, "", nil)
	}
	return newReply(http.StatusOK, contentType, b)
}

// placeholderPNG returns a small image instead of a PIN's QR code.
var placeholderPNG = sync.OnceValue(func() []byte {
	img := image.NewGray(image.Rect(0, 0, 32, 32))
	for x := range 32 {
		for y := range 32 {
			if (x/4+y/4)%2 == 0 {
				img.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img) // a bytes.Buffer never fails
	return b.Bytes()
})
