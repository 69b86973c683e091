package plexauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	refresh       = time.Second // how old what a long poll goes by may be
	longestWait   = 30 * time.Second
	inspectAfter  = 45 * time.Second
	whileStarting = 50 * time.Second // until a server that was starting is looked for again
	keepList      = 15 * time.Second // for other tabs
	verdict       = 15 * time.Second // after a PIN's expiry: until then it is known how the login ended
	saveAlarm     = 2 * time.Second  // how long a save may take before the page tells
)

// panel is the HTTP side of one profile.
type panel struct {
	*PlexAuth
	ctx        context.Context
	protect    http.CrossOriginProtection
	routes     map[string]panelRoute
	wake       chan struct{} // tells the waiter that there may be a PIN
	starting   chan struct{} // holds whoever starts
	choosing   chan struct{} // held while a Home user is chosen
	serverList list[plextv.MediaServer]
	userList   list[plextv.HomeUser]
	reading    chan struct{} // holds whoever reads the store for all

	mu       sync.Mutex    // guards the rest, never held while waiting
	waiter   waiterState   // what the waiter is doing
	searches int           // for a new login's server, under way
	ended    *problem      // how the last login ended, or that search; nil: well, or not yet
	changed  chan struct{} // closed when there is news
	view     *view         // what was read last, nil: read again
}

// view is what the store said at one time.
type view struct {
	at       time.Time
	status   Status
	settings Settings
	finding  bool
	problem  *problem
}

// look returns what the store says, at most a second old, however many ask.
func (h *panel) look(ctx context.Context) (*view, <-chan struct{}, error) {
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	h.mu.Lock()
	v, changed, waiting := h.view, h.changed, h.waiter != idle
	h.mu.Unlock()
	if v != nil && time.Since(v.at) < refresh {
		return v, changed, nil
	}
	v, err := h.read(ctx)
	if err == nil && v.status.Pending == nil && waiting {
		// The login has just ended, and in a moment it is known how.
		moment := time.NewTimer(refresh)
		defer moment.Stop()
		select {
		case <-changed:
		case <-moment.C:
		case <-ctx.Done():
		}
		h.mu.Lock()
		changed = h.changed
		h.mu.Unlock()
		v, err = h.read(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if changed == h.changed {
		h.view = v
	}
	return v, changed, nil
}

func (h *panel) read(ctx context.Context) (*view, error) {
	at := time.Now()
	b, err := h.load(ctx)
	if err != nil {
		return nil, err
	}
	v := &view{at: at, status: h.PlexAuth.status(b), settings: settingsOf(b)}
	h.mu.Lock()
	v.finding, v.problem = h.searches > 0, h.ended
	attended := h.waiter == attending
	h.mu.Unlock()
	if attended && v.status.Connected && (v.settings.ServerURL == "" || v.settings.MachineID == "") && b.Pending() == nil {
		v.finding = true // the login has ended, and its search begins in a moment
	}
	if p := b.Pending(); p != nil {
		trouble := h.hindrance(p.Id)
		if trouble == notSaved || -h.left(p) < verdict { // the last look at it decides
			v.status.Pending = h.shown(p)
		}
		if v.status.Pending != nil {
			v.problem = trouble
			select {
			case h.wake <- struct{}{}: // it may be another replica's
			default:
			}
		}
	}
	return v, nil
}

// notSaved is what hinders a login that Plex has approved. What the store says
// of it is for the log.
var notSaved = &problem{Word: "store", Message: "Plex has approved the sign-in, but the program cannot save it. It keeps trying: nothing is to be done at Plex. Make sure that its settings can be written; its log says what is wrong."}

// hindrance is the trouble with a pending PIN: of saving what came of it, or of
// the last look at it. It is nil where there is none.
func (h *panel) hindrance(id int64) *problem {
	a := h.attemptFor(id)
	if a == nil {
		return nil
	}
	unsaved, err := a.hindrance()
	switch {
	case unsaved >= saveAlarm:
		return notSaved
	case err == nil:
		return nil
	}
	v := *problemOf(err)
	v.Message, _, _ = strings.Cut(v.Message, " Try again in ")
	v.Message += " The code stays good, and the program keeps trying."
	return &v
}

// seen names what a view shows, but for the seconds that pass.
func (v *view) seen() string {
	sum := sha256.New()
	s := v.status
	pending := ""
	if s.Pending != nil {
		pending = s.Pending.Code + s.Pending.ExpiresAt.UTC().Format(time.RFC3339)
	}
	trouble := "" // its detail differs from one look to the next
	if v.problem != nil {
		trouble = v.problem.Word
	}
	_ = json.NewEncoder(sum).Encode([]any{s.Connected, s.User, s.NeedsLogin, s.Scopes, s.ExpiresAt.Unix(), pending, v.settings, v.finding, trouble}) // a hash never fails
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:9])
}

// write answers with a view of the program of that name.
func (v *view) write(w http.ResponseWriter, product string) {
	raw, err := json.Marshal(v.status)
	if err != nil {
		fail(w, problemOf(err))
		return
	}
	o, err := ordered.Parse(raw)
	if err != nil {
		fail(w, problemOf(err))
		return
	}
	settings, _ := json.Marshal(v.settings) // strings and a bool
	trouble, _ := json.Marshal(v.problem)
	o.Set("settings", settings)
	o.Set("finding", ordered.Bool(v.finding))
	o.Set("problem", trouble)
	o.Set("seen", ordered.String(v.seen()))
	o.Set("product", ordered.String(product))
	reply(w, http.StatusOK, o.Bytes())
}

// status answers at once, or when there is news.
func (h *panel) status(w http.ResponseWriter, r *http.Request) {
	wait, err := strconv.Atoi(r.FormValue("wait"))
	if r.FormValue("wait") != "" && (err != nil || wait < 0) {
		fail(w, badRequest("wait is a number of seconds."))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(time.Duration(min(wait, 3600))*time.Second, longestWait))
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	for {
		v, changed, err := h.look(r.Context())
		if err != nil {
			fail(w, problemOf(err))
			return
		}
		nothingNew := v.status.Pending != nil
		if seen := r.FormValue("seen"); seen != "" {
			nothingNew = seen == v.seen()
		}
		if !nothingNew || ctx.Err() != nil {
			if h.ctx.Err() != nil {
				fail(w, stopping)
			} else {
				v.write(w, plain.Header(h.options.Product))
			}
			return
		}
		pause := time.NewTimer(refresh)
		select {
		case <-changed:
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

func (h *panel) page(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if _, _, err := h.look(r.Context()); err != nil { // the page says what is wrong
		status = problemOf(err).status
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, panelPage(h.options.Product)) // a reader who has gone is no trouble
}

func (h *panel) qr(w http.ResponseWriter, r *http.Request) {
	v, _, err := h.look(r.Context())
	if err == nil && v.status.Pending == nil {
		none := problemOf(fault.ErrNoPendingPin)
		none.status = http.StatusNotFound
		fail(w, none)
		return
	}
	var svg []byte
	if err == nil {
		svg, err = v.status.Pending.QRCode()
	}
	if err != nil {
		fail(w, problemOf(err))
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = w.Write(svg)
}

// list is what plex.tv listed last, and for which token.
type list[T any] struct {
	asking chan struct{} // holds whoever asks plex.tv, and guards the rest
	at     time.Time
	token  string // its fingerprint
	kept   []T
}

// get asks plex.tv once for all tabs.
func (l *list[T]) get(ctx context.Context, h *panel, ask func(context.Context) ([]T, error)) ([]T, error) {
	select {
	case l.asking <- struct{}{}:
		defer func() { <-l.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t, err := h.Token(ctx)
	if err != nil {
		return nil, err
	}
	if l.token == secret.Fingerprint(t.v) && time.Since(l.at) < keepList {
		return l.kept, nil
	}
	found, err := ask(ctx)
	if err != nil {
		return nil, err
	}
	l.at, l.token, l.kept = time.Now(), secret.Fingerprint(t.v), append([]T{}, found...)
	return l.kept, nil
}

func (h *panel) servers(w http.ResponseWriter, r *http.Request) {
	servers, err := h.serverList.get(r.Context(), h, h.PlexAuth.servers)
	respond(w, map[string]any{"servers": publicServers(servers)}, err)
}

func (h *panel) users(w http.ResponseWriter, r *http.Request) {
	users, err := h.userList.get(r.Context(), h, h.homeUsers)
	respond(w, map[string]any{"users": publicHomeUsers(users)}, err)
}
