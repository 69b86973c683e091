package panel

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/mount"
	"github.com/plexauth/plexauth/internal/words"
)

// Document has the profiles that a list of profiles shows. Its methods are safe for
// concurrent use.
type Document interface {
	// Profiles reads the profiles from the store, the default one first.
	Profiles(ctx context.Context) ([]*State, *Problem)
	// Profile returns the profile with that id, which need not exist yet. Its work in the
	// background ends with ctx.
	Profile(ctx context.Context, id string) Host
}

// Profiles serves the list of a document's profiles, and the panel of each one below
// profile/{id}/. It is safe for concurrent use.
//
// A panel is made when it is first asked for, or when the list shows a pending login. Only
// a profile of the document has one, and the profile that may be added next.
type Profiles struct {
	*site
	document Document

	list   atomic.Pointer[profileList] // what was read last; nil: nothing, or it is out of date
	gate   gate.Gate                   // lets one request at a time read the store
	panels map[string]openPanel        // by id, guarded by gate
}

// profileList is a document at one time.
type profileList struct {
	readAt   time.Time
	profiles []*State
	next     string // the id of the profile that may be added; empty: none
}

// openPanel is the panel of a profile, and the end of its work.
type openPanel struct {
	*Panel
	stop context.CancelFunc
}

// NewProfiles returns the list of a document's profiles. It answers every request with 503
// once ctx has ended.
func NewProfiles(ctx context.Context, document Document, config Config) *Profiles {
	p := &Profiles{site: newSite(ctx, config), document: document, panels: map[string]openPanel{}}
	maps.Copy(p.routes, map[string]route{
		"":         {http.MethodGet, p.servePage},
		"profiles": {http.MethodGet, p.sameOriginOnly(p.serveList)},
	})
	return p
}

// ServeHTTP implements [http.Handler].
func (p *Profiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, ok := profileOf(r)
	if !ok || isAsset(mount.Name(r)) {
		p.site.ServeHTTP(w, r)
	} else if p.admit(w, r) {
		p.serveProfile(w, r, id)
	}
}

// serveProfile answers a request for a profile's panel. If there is no panel, its page says
// why.
func (p *Profiles) serveProfile(w http.ResponseWriter, r *http.Request, id string) {
	panel, problem := p.panel(r.Context(), id)
	switch {
	case problem == nil:
		panel.ServeHTTP(w, r)
		if r.Method == http.MethodPost {
			p.list.Store(nil)
		}
	case (mount.Name(r) == "" || mount.Name(r) == returnName) && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		p.writePage(w, r, problem.Status, panelPage(p.configOf(id)))
	default:
		p.refuse(w, r, problem)
	}
}

// configOf returns the config of a profile's panel.
func (p *Profiles) configOf(id string) Config {
	c := p.config
	c.Profile = id
	return c
}

// panel returns the panel of a profile.
func (p *Profiles) panel(ctx context.Context, id string) (*Panel, *Problem) {
	leave, err := p.gate.Enter(ctx)
	if err != nil {
		return nil, interrupted(err)
	}
	defer leave()
	if l := p.list.Load(); l != nil && !l.allows(id) { // another replica may have added it since
		p.list.Store(nil)
	}
	list, problem := p.current(ctx)
	switch {
	case problem != nil:
		return nil, problem
	case !list.allows(id):
		return nil, noProfile()
	}
	return p.open(id), nil
}

// current returns a list that is at most viewMaxAge old. The caller must be inside the gate.
func (p *Profiles) current(ctx context.Context) (*profileList, *Problem) {
	if l := p.list.Load(); l != nil && time.Since(l.readAt) < viewMaxAge {
		return l, nil
	}
	readAt := time.Now()
	profiles, problem := p.document.Profiles(ctx)
	if problem != nil {
		return nil, problem
	}
	l := &profileList{readAt, profiles, nextID(profiles)}
	p.list.Store(l)
	p.keepPanels(l)
	return l, nil
}

// keepPanels ends the panels of profiles that are gone, so that their number stays bounded.
// It opens those of pending logins, whose workers wait for the approval.
func (p *Profiles) keepPanels(l *profileList) {
	for id, panel := range p.panels {
		if !l.allows(id) {
			panel.stop()
			delete(p.panels, id)
		}
	}
	for _, s := range l.profiles {
		if s.Pending.isShown() {
			p.open(s.Status.Instance)
		}
	}
}

// open returns the panel of a profile, and makes it if there is none. The caller must be
// inside the gate.
func (p *Profiles) open(id string) *Panel {
	if panel, ok := p.panels[id]; ok {
		return panel.Panel
	}
	ctx, stop := context.WithCancel(p.ctx)
	panel := New(ctx, p.document.Profile(ctx, id), p.configOf(id))
	go panel.Run()
	p.panels[id] = openPanel{panel, stop}
	return panel
}

// allows reports whether the profile with that id has a panel.
func (l *profileList) allows(id string) bool { return id == l.next || contains(l.profiles, id) }

// contains reports whether one of the profiles has that id.
func contains(profiles []*State, id string) bool {
	return slices.ContainsFunc(profiles, func(s *State) bool { return s.Status.Instance == id })
}

// mostAdded bounds the ids that nextID returns. CrossWatch makes no more either.
const mostAdded = 9

// nextID returns the first of CrossWatch's ids that no profile has: PLEX-P01 and so on. It
// is "" if all are in use.
func nextID(profiles []*State) string {
	for n := 1; n <= mostAdded; n++ {
		if id := fmt.Sprintf("PLEX-P%02d", n); !contains(profiles, id) {
			return id
		}
	}
	return ""
}

// profileOf returns the id of the profile whose panel r asks for. Like [mount.Name], it looks
// at the end of the path alone, because a router need not say where the list is mounted.
func profileOf(r *http.Request) (id string, ok bool) {
	elements := strings.Split(r.URL.Path, "/")
	n := len(elements)
	if n < 3 || elements[n-3] != "profile" || elements[n-2] == "" {
		return "", false
	}
	return parseElement(elements[n-2]), true
}

// elementPrefix marks an id that would not survive as an element of a path.
const elementPrefix = "~"

var plainID = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// profilePath returns the path of a profile's panel, relative to the list. Browsers and
// proxies rewrite paths with a dot or an encoded slash, so such an id is in base64.
func profilePath(id string) string {
	if !plainID.MatchString(id) {
		id = elementPrefix + base64.RawURLEncoding.EncodeToString([]byte(id))
	}
	return "profile/" + id + "/"
}

// parseElement returns the id that an element of a path stands for.
func parseElement(element string) string {
	if encoded, ok := strings.CutPrefix(element, elementPrefix); ok {
		if id, err := base64.RawURLEncoding.DecodeString(encoded); err == nil {
			return string(id)
		}
	}
	return element
}

// defaultProfile is the id of the profile that a document has without adding one.
const defaultProfile = "default"

// profileName returns what people call a profile.
func profileName(l *words.Language, id string) string {
	if id == defaultProfile {
		return l.Text("profiles.default")
	}
	return id
}

// servePage answers with the page of the list. If the store cannot be read, the page says
// so, and the status is that of the problem.
func (p *Profiles) servePage(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if _, problem := p.read(r.Context()); problem != nil {
		status = problem.Status
	}
	p.writePage(w, r, status, page{script: "profiles.js", fragment: "profiles.html"})
}

// read returns the list for a request.
func (p *Profiles) read(ctx context.Context) (*profileList, *Problem) {
	leave, err := p.gate.Enter(ctx)
	if err != nil {
		return nil, interrupted(err)
	}
	defer leave()
	return p.current(ctx)
}

// lackServer returns the ids of the profiles whose panels report that their server cannot be
// used.
func (p *Profiles) lackServer(ctx context.Context) (map[string]bool, *Problem) {
	leave, err := p.gate.Enter(ctx)
	if err != nil {
		return nil, interrupted(err)
	}
	defer leave()
	ids := map[string]bool{}
	for id, panel := range p.panels {
		if problem := panel.worker.snapshot().problem; problem != nil && serverProblems[problem.Kind] {
			ids[id] = true
		}
	}
	return ids, nil
}

// profileJSON is one profile of the list. The code of its pending login is only in its
// panel.
type profileJSON struct {
	Status
	Name     string   `json:"name"`
	Path     string   `json:"path"` // of its panel, relative to the list
	Pending  bool     `json:"pending"`
	Settings Settings `json:"settings"`
	// ServerProblem is true if the last search of this process has failed at the server.
	ServerProblem bool `json:"server_problem"`
}

// nextJSON is the profile that may be added.
type nextJSON struct {
	Instance string `json:"instance"`
	Path     string `json:"path"`
}

// serveList answers GET profiles.
func (p *Profiles) serveList(w http.ResponseWriter, r *http.Request) {
	list, problem := p.read(r.Context())
	if problem != nil {
		replyProblem(w, problem)
		return
	}
	lacking, problem := p.lackServer(r.Context())
	if problem != nil {
		replyProblem(w, problem)
		return
	}
	answer := struct {
		Profiles []profileJSON `json:"profiles"`
		Next     *nextJSON     `json:"next"`
		Product  string        `json:"product"`
	}{Product: p.config.Product}
	for _, s := range list.profiles {
		id := s.Status.Instance
		answer.Profiles = append(answer.Profiles, profileJSON{s.Status, profileName(words.English, id), profilePath(id), s.Pending.isShown(), s.Settings, lacking[id]})
	}
	if list.next != "" {
		answer.Next = &nextJSON{list.next, profilePath(list.next)}
	}
	replyJSON(w, answer)
}
