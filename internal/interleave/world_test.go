package interleave_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/interleave"
	"github.com/plexauth/plexauth/plextest"
)

// world is a store that several processes share, and a fake plex.tv with two accounts.
type world struct {
	plex      *plextest.Server
	alice     *plextest.User
	bob       *plextest.User
	store     *interleave.Store
	processes map[int]*plexauth.PlexAuth
	schedule  *interleave.Schedule
	deviceKey bool

	approvals []*approval
	ids       []string // client identifiers that the document has had
	had       []string // tokens that it has had
	changes   []string // of plex.tv's state
	shown     string   // code that a person has seen last
	polls     []poll
	pin       string // id of the PIN that was pending at the beginning

	mu      sync.Mutex
	results map[string]error // of the operations that have ended
}

// poll is a request about a PIN.
type poll struct{ actor, id string }

// approval is a PIN that a person has approved.
type approval struct {
	user     *plextest.User
	token    string // "" for a device key, which gets it later
	id       string // of the PIN
	clientID string // that the PIN was made under
	profile  string
	inTime   bool   // the PIN was pending in the document
	polled   []poll // until then
}

// foreignID is the identifier of another program's login.
const foreignID = "another-program"

func newWorld(s *interleave.Schedule, deviceKey bool) *world {
	w := &world{plex: plextest.NewServer(), processes: map[int]*plexauth.PlexAuth{}, schedule: s, deviceKey: deviceKey, results: map[string]error{}}
	w.alice = w.plex.AddUser(plextest.User{Username: "alice"})
	w.bob = w.plex.AddUser(plextest.User{Username: "bob"})
	w.plex.SetPinLifetime(5*time.Minute, 5*time.Minute)
	w.store = &interleave.Store{ConfigStore: plexauth.NewMemoryStore(), Wrote: w.note}
	s.State = func() string { return w.doc() + strings.Join(w.changes, " ") }
	s.Idle = func() {
		for _, code := range w.plex.PendingCodes() {
			_ = w.plex.Expire(code)
		}
	}
	return w
}

// process returns the PlexAuth of a process, which all its operations share.
func (w *world) process(n int) *plexauth.PlexAuth {
	if p := w.processes[n]; p != nil {
		return p
	}
	p, err := plexauth.New(plexauth.Options{
		Product: "My App", Store: w.store, MaxRetries: -1, DeviceKey: w.deviceKey,
		HTTPClient: &http.Client{Transport: interleave.Transport{RoundTripper: recorder{w, w.plex.Client().Transport}}},
	})
	if err != nil {
		panic(err)
	}
	w.processes[n] = p
	return p
}

// recorder notes the requests that change plex.tv's state.
type recorder struct {
	w *world
	http.RoundTripper
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		r.w.changes = append(r.w.changes, req.Method+req.URL.Path+req.Header.Get("X-Plex-Client-Identifier")+req.Header.Get("X-Plex-Token"))
	}
	if id, ok := strings.CutPrefix(req.URL.Path, "/api/v2/pins/"); ok {
		r.w.polls = append(r.w.polls, poll{interleave.ActorOf(req.Context()), id})
	}
	return r.RoundTripper.RoundTrip(req)
}

// returned notes the result of an operation.
func (w *world) returned(name string, err error) {
	w.schedule.Note("%s returns %v", name, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results[name] = err
}

// doc returns the stored document.
func (w *world) doc() string {
	raw, err := w.store.Load(context.Background(), plexauth.Namespace)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// profile is what the invariants read of a stored profile.
type profile struct {
	ClientID string `json:"client_id"`
	Token    string `json:"account_token"`
	Cloud    struct {
		ID int64 `json:"account_id"`
	} `json:"_cloud"`
	Pending *struct {
		ID       json.Number `json:"id"`
		Code     string      `json:"code"`
		Token    string      `json:"account_token"`
		ClientID string      `json:"client_id"`
	} `json:"_pending_pin"`
	Device struct {
		ClientID string `json:"client_id"`
	} `json:"_device"`
	Rejected  string             `json:"_rejected"`
	ServerURL string             `json:"server_url"`
	Foreign   int                `json:"foreign"`
	Instances map[string]profile `json:"instances"`
}

// stored returns the stored profiles by name.
func (w *world) stored() map[string]profile {
	var p profile
	if doc := w.doc(); doc != "" {
		if err := json.Unmarshal([]byte(doc), &p); err != nil {
			panic(fmt.Sprint(err, doc))
		}
	}
	all := map[string]profile{"default": p}
	for name, other := range p.Instances {
		all[name] = other
	}
	return all
}

// note keeps what the document has had.
func (w *world) note() {
	for _, p := range w.stored() {
		w.had = append(w.had, p.Token)
		if p.Pending != nil {
			w.had = append(w.had, p.Pending.Token)
		}
		if p.ClientID != "" && !slices.Contains(w.ids, p.ClientID) {
			w.ids = append(w.ids, p.ClientID)
		}
	}
}

// approve approves a PIN as u does who reads its code. It reports whether it was pending.
func (w *world) approve(code string, u *plextest.User) bool {
	if err := w.plex.Approve(code, u); err != nil {
		return false
	}
	a := &approval{user: u, polled: slices.Clone(w.polls)}
	for name, p := range w.stored() {
		if p.Pending != nil && p.Pending.Code == code {
			a.id, a.clientID, a.profile, a.inTime = p.Pending.ID.String(), p.Pending.ClientID, name, true
		}
	}
	for _, id := range w.ids {
		if t := w.plex.Token(u, id); t != "" && !slices.ContainsFunc(w.approvals, func(b *approval) bool { return b.token == t }) {
			a.token = t
		}
	}
	w.approvals = append(w.approvals, a)
	w.changes = append(w.changes, "approved "+code+u.Username)
	w.schedule.Note("%s approves %s", u.Username, code)
	return true
}

// pinOf returns the id of a profile's pending PIN, "" if there is none.
func (w *world) pinOf(name string) string {
	if p := w.stored()[name]; p.Pending != nil {
		return p.Pending.ID.String()
	}
	return ""
}

// code returns the code of a profile's pending PIN, "" if there is none.
func (w *world) code(name string) string {
	if p := w.stored()[name]; p.Pending != nil {
		return p.Pending.Code
	}
	return ""
}

// signIn signs u in to a profile.
func (w *world) signIn(name string, u *plextest.User) {
	p := w.process(-1).Instance(name)
	pin, err := p.Start(context.Background(), plexauth.PinOptions{})
	w.must(err)
	w.must(w.plex.Approve(pin.Code, u))
	_, err = p.Finish(context.Background())
	w.must(err)
}

// begin begins a login of a profile, whose code a person sees.
func (w *world) begin(name string) {
	_, err := w.process(-1).Instance(name).Start(context.Background(), plexauth.PinOptions{})
	w.must(err)
	w.shown = w.code(name)
}

// resume finishes what is pending in another process, as after a restart.
func (w *world) resume() {
	ctx := context.Background()
	for name := range w.stored() {
		p := w.process(99).Instance(name)
		for range 3 {
			time.Sleep(1100 * time.Millisecond)
			s, err := p.Finish(ctx)
			w.schedule.Note("after a restart: Finish returns %v", err)
			if s.Pending == nil {
				break
			}
		}
		s, err := p.Verify(ctx)
		w.schedule.Note("Verify returns connected %v, %v", s.Connected, err)
	}
}

func (w *world) must(err error) {
	if err != nil {
		panic(err)
	}
}

// set sets members of the stored document.
func (w *world) set(members map[string]any) {
	w.must(w.store.Update(context.Background(), plexauth.Namespace, edited(members)))
}

// becomes is an edit that replaces the document.
func becomes(doc json.RawMessage) func(json.RawMessage) (json.RawMessage, error) {
	return func(json.RawMessage) (json.RawMessage, error) { return doc, nil }
}

// edited is an edit that sets members of the document.
func edited(members map[string]any) func(json.RawMessage) (json.RawMessage, error) {
	return func(current json.RawMessage) (json.RawMessage, error) {
		doc := map[string]any{}
		if len(current) > 0 {
			d := json.NewDecoder(strings.NewReader(string(current)))
			d.UseNumber()
			if err := d.Decode(&doc); err != nil {
				return nil, err
			}
		}
		for k, v := range members {
			doc[k] = v
		}
		return json.Marshal(doc)
	}
}

// users returns all accounts.
func (w *world) users() []*plextest.User { return []*plextest.User{w.alice, w.bob} }

// owner returns whose valid token t is, and the identifier that it was made under. u is nil
// if it is not valid.
func (w *world) owner(t string) (u *plextest.User, id string) {
	if strings.HasPrefix(t, "eyJ") {
		return w.ownerOfJWT(t)
	}
	for _, u := range w.users() {
		for _, id := range append(w.ids, foreignID) {
			if t != "" && w.plex.Token(u, id) == t {
				return u, id
			}
		}
	}
	return nil, ""
}

// ownerOfJWT asks plex.tv whose JWT t is.
func (w *world) ownerOfJWT(t string) (u *plextest.User, id string) {
	var claims struct {
		Audience []string `json:"aud"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(t, ".")[1])
	w.must(err)
	w.must(json.Unmarshal(payload, &claims))
	req, err := http.NewRequest(http.MethodGet, "https://plex.tv/api/v2/user", nil)
	w.must(err)
	id = claims.Audience[len(claims.Audience)-1]
	req.Header = http.Header{"Accept": {"application/json"}, "X-Plex-Token": {t}, "X-Plex-Client-Identifier": {id}, "X-Plex-Product": {"My App"}}
	resp, err := w.plex.Client().Do(req)
	w.must(err)
	defer resp.Body.Close()
	var account struct {
		ID int64 `json:"id"`
	}
	if resp.StatusCode != http.StatusOK {
		return nil, ""
	}
	w.must(json.NewDecoder(resp.Body).Decode(&account))
	for _, u := range w.users() {
		if u.ID == account.ID {
			return u, id
		}
	}
	return nil, ""
}

// holds reports whether a profile has the token, also beside its PIN.
func (w *world) holds(t string) bool {
	for _, p := range w.stored() {
		if p.Token == t || p.Pending != nil && p.Pending.Token == t {
			return true
		}
	}
	return false
}

// isUnasked reports whether err says that plex.tv was not asked in time for an approval.
func isUnasked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "the login that was pending may have been approved")
}

// isKnownEnd reports whether err is one of the ends that a login may have.
func isKnownEnd(err error) bool {
	for _, known := range []error{
		nil, plexauth.ErrPinExpired, plexauth.ErrPinSuperseded, plexauth.ErrNoPendingPin, plexauth.ErrAccountMismatch,
		plexauth.ErrTokenRejected, plexauth.ErrNotConnected,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
