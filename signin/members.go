package signin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/profile"
)

// choice is the member of a Plex Home that a visitor has chosen by UUID, and the Home PIN
// that they typed. The zero choice means that they have not chosen yet.
type choice struct{ member, pin string }

// visitorLogin is the login of a visitor.
type visitorLogin struct {
	*plexauth.PlexAuth
	approved *plexauth.PlexAuth // the login that Plex approved: the same one, or that of the Home's admin
	member   int64              // account ID of the member that the admin has chosen; 0 if they are the same
}

// question asks a visitor which member of their Plex Home they are.
type question struct {
	status int
	wait   time.Duration // until an answer can be given
	view   view
}

// errNoSuchMember means that a visitor has chosen someone whom they may not choose.
var errNoSuchMember = errors.New("signin: the chosen member is not in the visitor's Plex Home, or has a login of their own")

// errOtherMember means that plex.tv's token is for another account than the chosen member's.
var errOtherMember = errors.New("signin: plex.tv gave the token of another account than the chosen member's")

// member serves the answer to a question.
func (h *Handler) member(w http.ResponseWriter, r *http.Request) {
	// Only the body counts: a PIN in a URL would be logged by others.
	h.conclude(w, r, choice{r.PostFormValue("member"), strings.TrimSpace(r.PostFormValue("pin"))})
}

// identify returns the login with which a sign-in goes on: approved or, with
// Options.HomeMembers, that of the member whom c names. If the visitor has to choose
// first, it returns a question instead.
//
// The admin's token is not kept while they choose: plex.tv gives it again for the PIN.
func (h *Handler) identify(ctx context.Context, approved *plexauth.PlexAuth, c choice) (visitorLogin, *question, error) {
	own := visitorLogin{approved, approved, 0}
	if !h.o.HomeMembers {
		return own, nil, nil
	}
	// A switch that is interrupted would leave a token that is not known.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), decisionLimit)
	defer cancel()
	admin, members, err := household(ctx, approved)
	if err != nil {
		return own, nil, err
	}
	i := slices.IndexFunc(members, func(u plexauth.HomeUser) bool { return u.UUID == c.member })
	switch {
	case i >= 0:
		return h.become(ctx, own, admin, members, i, c.pin)
	case c.member != "":
		return own, nil, errNoSuchMember
	case len(members) > 0:
		return own, ask(members, http.StatusOK, view{}), nil
	}
	return own, nil, nil
}

// household returns the account of p, and whom it may choose from if it is the admin of a
// Plex Home: itself, and the members who have no login of their own. Everyone else must
// sign in themselves.
func household(ctx context.Context, p *plexauth.PlexAuth) (*plexauth.Account, []plexauth.HomeUser, error) {
	account, err := p.Account(ctx)
	if err != nil || !account.HomeAdmin {
		return account, nil, err
	}
	users, err := p.HomeUsers(ctx)
	if err != nil {
		return account, nil, err
	}
	isSelf := func(u plexauth.HomeUser) bool { return u.ID == account.ID }
	hasLogin := func(u plexauth.HomeUser) bool { return !isSelf(u) && (!u.Restricted || u.Username != "") }
	members := slices.DeleteFunc(users, hasLogin)
	if len(members) < 2 || !slices.ContainsFunc(members, isSelf) {
		return account, nil, nil
	}
	return account, members, nil
}

// become returns the login of members[i], whose Home PIN is pin. If the PIN is missing or
// wrong, it returns a question.
func (h *Handler) become(ctx context.Context, own visitorLogin, admin *plexauth.Account, members []plexauth.HomeUser, i int, pin string) (visitorLogin, *question, error) {
	u := &members[i]
	if u.ID == admin.ID && !u.Protected {
		return own, nil, nil
	}
	leave, err := h.pins.enter(ctx, u.UUID)
	if err != nil {
		return own, nil, err
	}
	defer leave()
	if wait := h.pins.wait(u.UUID); wait > 0 {
		return own, askLater(members, u, wait), nil
	}
	settings, err := own.Settings(ctx)
	if err != nil {
		return own, nil, err
	}
	token, err := own.SwitchHomeUser(ctx, *u, pin)
	if errors.Is(err, plexauth.ErrHomePin) {
		u.Protected = true // plex.tv does not always say so before
		if pin == "" {
			return own, ask(members, http.StatusOK, view{Member: u.UUID, PINError: "signin.members_pin_text"}), nil
		}
		h.log.InfoContext(ctx, "wrong Home PIN", "account", u.ID, "approved_by", admin.ID)
		h.pins.note(u.UUID)
		return own, ask(members, http.StatusForbidden, view{Member: u.UUID, PINError: "signin.members_wrong_text"}), nil
	}
	if err != nil {
		return own, nil, err
	}
	h.pins.forget(u.UUID)
	if u.ID == admin.ID {
		return own, nil, nil
	}
	h.log.InfoContext(ctx, "member of a Plex Home chosen", "account", u.ID, "approved_by", admin.ID)
	return visitorLogin{h.visitor(storeOf(token, settings.ClientID)), own.approved, u.ID}, nil, nil
}

// storeOf returns a new store that holds a token, and the identifier that it was made under.
func storeOf(t plexauth.Token, clientID string) plexauth.ConfigStore {
	doc, _ := json.Marshal(map[string]string{"client_id": clientID, "account_token": t.Secret()}) // two strings are always JSON
	return (&attempt{Doc: doc}).store()
}

// ask returns the question which of members the visitor is.
func ask(members []plexauth.HomeUser, status int, v view) *question {
	v.Title, v.Text, v.Members, v.Start = "signin.members_title", "signin.members_text", members, true
	return &question{status: status, view: v}
}

// askLater is ask after too many wrong PINs of u, who is one of members.
func askLater(members []plexauth.HomeUser, u *plexauth.HomeUser, wait time.Duration) *question {
	u.Protected = true // plex.tv does not always say so before
	v := view{N: inSeconds(wait), Member: u.UUID, PINError: "signin.members_wait_seconds"}
	if v.N > maxSeconds {
		v.PINError, v.N = "signin.members_wait_minutes", inMinutes(v.N)
	}
	q := ask(members, http.StatusTooManyRequests, v)
	q.wait = wait
	return q
}

// nameOf returns the name by which a person knows u.
func nameOf(u plexauth.HomeUser) string {
	return cmp.Or(u.Title, u.Username, strconv.FormatInt(u.ID, 10))
}

// pinTries bounds how fast the Home PIN of a user is tried in this process, whoever tries.
// The zero pinTries is ready to use.
type pinTries struct {
	gates gate.Map // by UUID, so that a try waits for the verdict on the one before

	mu    sync.Mutex // guards wrong
	wrong map[string]profile.WrongPINs
}

// enter waits until no one else tries the PIN of the user with that UUID. The caller must
// call leave.
func (p *pinTries) enter(ctx context.Context, uuid string) (leave func(), err error) {
	return p.gates.Enter(ctx, uuid)
}

// wait returns how long to wait before the PIN may be tried.
func (p *pinTries) wait(uuid string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong[uuid].Pause(time.Now())
}

// note counts a wrong PIN.
func (p *pinTries) note(uuid string) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wrong == nil {
		p.wrong = map[string]profile.WrongPINs{}
	}
	for other, w := range p.wrong {
		if w.Count(now) == 0 {
			delete(p.wrong, other)
		}
	}
	p.wrong[uuid] = p.wrong[uuid].Another(now)
}

// forget ends the count: the PIN was right.
func (p *pinTries) forget(uuid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.wrong, uuid)
}
