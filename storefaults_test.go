package plexauth_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
)

type edit = func(jsonRaw) (jsonRaw, error)

// storeFault is one way in which an Update of a store can fail.
type storeFault struct {
	name   string
	once   bool // the next one goes well
	wrote  bool // what was to be saved is saved all the same
	hangs  bool // until its context ends
	good   bool // nothing is wrong with it, it only looks so
	slow   time.Duration
	err    error // that the caller can match
	update func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error
}

var errDisk = &fs.PathError{Op: "write", Path: "config.json", Err: syscall.ENOSPC}

// unwritten runs the edit, as a store does that fails afterwards, and returns
// what was not written.
func unwritten(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) (jsonRaw, error) {
	current, err := s.Load(ctx, ns)
	if err != nil {
		return nil, err
	}
	return edit(current)
}

var storeFaults = []storeFault{
	{name: "the disk is full", err: syscall.ENOSPC, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if _, err := unwritten(s, ctx, ns, edit); err != nil {
			return err
		}
		return errDisk
	}},
	{name: "the disk is full for a moment", once: true, err: syscall.ENOSPC, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if _, err := unwritten(s, ctx, ns, edit); err != nil {
			return err
		}
		return errDisk
	}},
	{name: "read-only", err: syscall.EROFS, update: func(plexauth.ConfigStore, context.Context, string, edit) error {
		return fmt.Errorf("open config.json: %w", syscall.EROFS)
	}},
	{name: "the error quotes all", update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		next, err := unwritten(s, ctx, ns, edit)
		if err != nil {
			return err
		}
		return fmt.Errorf("cannot write %s", next)
	}},
	{name: "corrupt", err: plexauth.ErrCorruptConfig, update: func(plexauth.ConfigStore, context.Context, string, edit) error {
		return fmt.Errorf("config.json: line 3: %w", plexauth.ErrCorruptConfig)
	}},
	{name: "hangs", hangs: true, update: func(_ plexauth.ConfigStore, ctx context.Context, _ string, _ edit) error {
		<-ctx.Done()
		return ctx.Err()
	}},
	{name: "written, and then an error", once: true, wrote: true, err: syscall.EIO, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if err := s.Update(ctx, ns, edit); err != nil {
			return err
		}
		return syscall.EIO
	}},
	{name: "the edit runs twice", good: true, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		if _, err := unwritten(s, ctx, ns, edit); err != nil {
			return err
		}
		return s.Update(ctx, ns, edit)
	}},
	{name: "takes two seconds", good: true, slow: 2 * time.Second, update: func(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) error {
		select {
		case <-time.After(2 * time.Second):
			return s.Update(ctx, ns, edit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}},
}

// failing is a store that fails from one of its Updates on.
type failing struct {
	plexauth.ConfigStore
	fault  *storeFault // nil: it works
	good   atomic.Int64
	failed atomic.Int64
}

func (s *failing) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.fault == nil || s.good.Add(-1) >= 0 || s.fault.once && s.failed.Load() > 0 {
		return s.ConfigStore.Update(ctx, ns, edit)
	}
	s.failed.Add(1)
	return s.fault.update(s.ConfigStore, ctx, ns, edit)
}

// saving is an operation and the moment at which it saves.
type saving struct {
	name   string
	call   string
	good   int64         // Updates that go well before
	held   time.Duration // for how long it is tried again, as what is to be saved exists nowhere else; 0: not at all
	also   error         // why it is saved: what the error is as well
	asked  int           // requests until then
	after  int           // requests after it
	rested int           // Updates after it
	done   holding
	given  bool // the result is returned all the same
	begin  func(*testing.T) (*world, saveCall)
}

type saveCall = func(context.Context, *plexauth.PlexAuth) (any, error)

func finish(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Finish(ctx) }
func renew(ctx context.Context, p *plexauth.PlexAuth) (any, error)  { return p.Refresh(ctx) }

var savings = []saving{
	{name: "the new PIN", call: "Start", good: 1, asked: 1, done: pinPending, begin: func(t *testing.T) (*world, saveCall) {
		return signedIn(t), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) {
			return p.Start(ctx, plexauth.PinOptions{})
		}
	}},
	{name: "the token", call: "Finish", held: 5 * time.Minute, asked: 1, after: 1, rested: 1, done: connected, begin: func(t *testing.T) (*world, saveCall) {
		return approved(t, newWorld(t)), finish
	}},
	{name: "the token, linked already", call: "Finish", held: 5 * time.Minute, asked: 1, after: 1, rested: 1, done: connected, begin: func(t *testing.T) (*world, saveCall) {
		return approved(t, signedIn(t)), finish
	}},
	{name: "the token, once its account is known", call: "Finish", good: 1, held: 5 * time.Minute, asked: 2, done: connected, begin: func(t *testing.T) (*world, saveCall) {
		return approved(t, signedIn(t)), finish
	}},
	{name: "the account", call: "Account", asked: 1, done: accountKnown, begin: func(t *testing.T) (*world, saveCall) {
		w := approved(t, newWorld(t))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1042, Status: 403})
		_, err := w.Finish(t.Context())
		require.NoError(t, err)
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Account(ctx) }
	}},
	{name: "the rejection", call: "Verify", also: plexauth.ErrTokenRejected, asked: 1, done: marked, begin: func(t *testing.T) (*world, saveCall) {
		w := signedIn(t)
		w.plex.Revoke(w.alice)
		w.forgive = "after plex.tv rejected it" // what could not be noted is asked again
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Verify(ctx) }
	}},
	{name: "the server", call: "Inspect", asked: 2, done: serverSaved, begin: func(t *testing.T) (*world, saveCall) {
		return served(t, false), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Inspect(ctx) }
	}},
	{name: "a Home user's token", call: "SwitchHomeUser", held: 5 * time.Minute, asked: 1, done: passedOn, given: true, begin: func(t *testing.T) (*world, saveCall) {
		w, _, carol := home(t)
		u := user(t, w, carol)
		w.signIn(t, w.Instance("PLEX-P01"), carol, plexauth.PinOptions{})
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) {
			return p.SwitchHomeUser(ctx, u, carol.HomePIN)
		}
	}},
	{name: "that a JWT is being renewed", call: "Refresh", asked: 0, after: 3, rested: 1, done: renewed, begin: func(t *testing.T) (*world, saveCall) { return newDeviceWorld(t), renew }},
	{name: "the next JWT", call: "Refresh", good: 1, held: 3 * time.Second, asked: 3, done: renewed, begin: func(t *testing.T) (*world, saveCall) { return newDeviceWorld(t), renew }},
	{name: "that all is forgotten, before it is revoked", call: "SignOut", asked: 0, after: 1, done: signedOut, begin: func(t *testing.T) (*world, saveCall) {
		return signedIn(t), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.SignOut(ctx) }
	}},
	{name: "that all is forgotten", call: "Disconnect", done: signedOut, begin: func(t *testing.T) (*world, saveCall) {
		return signedIn(t), func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return p.Disconnect(ctx) }
	}},
	{name: "that a login is over", call: "Cancel", done: pinGone, begin: func(t *testing.T) (*world, saveCall) {
		w := newWorld(t)
		start(t, w)
		return w, func(ctx context.Context, p *plexauth.PlexAuth) (any, error) { return nil, p.Cancel(ctx) }
	}},
}

// patience is how long the caller of a save waits: longer than we do.
const patience = 10 * time.Minute

// expect derives what must come of a save, as operation.expect does.
func (s saving) expect(f storeFault) outcome {
	x := outcome{store: s.done, least: s.asked + s.after, most: s.asked + s.after}
	if s.also != nil {
		x.fails, x.is = true, []error{s.also}
	}
	switch {
	case f.good:
		x.took = f.slow * time.Duration(1+s.rested)
		x.within = x.took
		return x
	case f.wrote && s.call == "SignOut": // what is gone can be revoked only now
		return x
	case f.once && s.held > 0: // again, after a moment
		x.took, x.within = 100*time.Millisecond, 100*time.Millisecond
		return x
	}
	x = outcome{fails: true, is: append(x.is, plexauth.ErrStore), store: unchanged, least: s.asked, most: s.asked}
	if errors.Is(f.err, plexauth.ErrCorruptConfig) {
		x.is = append(x.is, plexauth.ErrCorruptConfig)
	}
	switch {
	case f.wrote:
		x.store = s.done
		if s.name == "that a JWT is being renewed" {
			x.store = leased
		}
	case s.name == "the next JWT":
		x.store, x.within = leased, time.Second // for giving the lease back, in vain
	case s.name == "the token, once its account is known":
		x.store = parked
	}
	switch {
	case s.held > 0:
		x.took, x.within = s.held, s.held+x.within
	case f.hangs: // the store has a limit of its own, whatever the caller's patience
		x.took, x.within = 30*time.Second, 30*time.Second
	}
	return x
}

// G8, G9, G11, G13: every operation that saves, with every fault of a store at
// that very moment.
func TestStoreFaults(t *testing.T) {
	for _, s := range savings {
		t.Run(s.name, func(t *testing.T) {
			for _, f := range storeFaults {
				t.Run(f.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { s.meets(t, f) }) })
			}
		})
	}
}

func (s saving) meets(t *testing.T, f storeFault) {
	x := s.expect(f)
	w, run := s.begin(t)
	c := canary.New()
	c.Learn([]byte(w.doc(t)))
	before := w.stored(t)
	asked := len(w.plex.Requests())
	store := &failing{ConfigStore: w.store}
	p := w.open(t, func(o *plexauth.Options) { o.Store = store })
	store.fault = &f
	store.good.Store(s.good)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	v, err := run(ctx, p)
	took := time.Since(began)
	require.NotZero(t, store.failed.Load(), "the moment was met")

	x.checkSave(t, f, err)
	if s.given {
		token, _ := v.(plexauth.Token)
		assert.False(t, token.IsZero())
	}
	requests := len(w.plex.Requests()) - asked
	assert.GreaterOrEqual(t, requests, x.least, "requests")
	assert.LessOrEqual(t, requests, x.most, "requests")
	assert.GreaterOrEqual(t, took, x.took, "time")
	assert.LessOrEqual(t, took, x.within, "time")
	x.store.check(t, before, w.stored(t))
	w.hides(t, c, err)

	if !x.fails || f.wrote || f.good {
		return
	}
	store.fault = nil
	time.Sleep(leaseOver)
	before = w.stored(t)
	_, err = run(t.Context(), p)
	if s.also != nil {
		require.ErrorIs(t, err, s.also)
	} else {
		require.NoError(t, err, "nothing was lost")
	}
	s.done.check(t, before, w.stored(t))
}

// leaseOver is when another may renew a JWT where one has died over it.
const leaseOver = 31 * time.Second

func (x outcome) checkSave(t *testing.T, f storeFault, err error) {
	t.Helper()
	if !x.fails {
		require.NoError(t, err)
		return
	}
	require.Error(t, err)
	for _, k := range kinds {
		want := false
		for _, is := range x.is {
			want = want || k.is == is
		}
		assert.Equal(t, want, errors.Is(err, k.is), "%s: %v", k.name, err)
	}
	for _, is := range append(x.is, f.err) {
		assert.True(t, is == nil || errors.Is(err, is), "%v in %v", is, err)
	}
	assert.True(t, strings.HasPrefix(err.Error(), "plexauth: "), err)
}

// savesDocument prints the rules.
func savesDocument() string {
	var b strings.Builder
	for _, s := range savings {
		fmt.Fprintf(&b, "### %s\n\n`%s`.\n\n", strings.ToUpper(s.name[:1])+s.name[1:], s.call)
		var names, rows []string
		for _, f := range storeFaults {
			names, rows = append(names, f.name), append(rows, s.expect(f).row())
		}
		writeTable(&b, names, rows)
	}
	return b.String()
}

// G18: a store that cannot be read is an error everywhere, and never a first
// run.
func TestFailClosed(t *testing.T) {
	for name, doc := range map[string]string{"list": `[]`, "text": `"x"`, "cut": `{"account_token":"TEST_cut`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(t, func(o *plexauth.Options) { o.Store = rawStore(doc) })
			for op, err := range map[string]error{
				"Status":     second(p.Status(t.Context())),
				"Settings":   second(p.Settings(t.Context())),
				"Token":      second(p.Token(t.Context())),
				"Start":      second(p.Start(t.Context(), plexauth.PinOptions{})),
				"Finish":     second(p.Finish(t.Context())),
				"Wait":       second(p.Wait(t.Context())),
				"Verify":     second(p.Verify(t.Context())),
				"Disconnect": second(p.Disconnect(t.Context())),
				"SignOut":    second(p.SignOut(t.Context())),
				"Instances":  second(p.Instances(t.Context())),
			} {
				assert.ErrorIs(t, err, plexauth.ErrCorruptConfig, op)
				assert.ErrorIs(t, err, plexauth.ErrStore, op)
				assert.NotContains(t, err.Error(), "TEST_")
			}
			assert.Empty(t, w.plex.Requests())
		})
	}
}

// rawStore is a careless store: it hands out whatever it holds.
type rawStore string

func (s rawStore) Load(context.Context, string) (jsonRaw, error) { return jsonRaw(s), nil }
func (s rawStore) Update(_ context.Context, _ string, edit func(jsonRaw) (jsonRaw, error)) error {
	_, err := edit(jsonRaw(s))
	return err
}

// quotingStore cannot read, and quotes in its error what it found.
type quotingStore struct {
	plexauth.ConfigStore
	say func(raw jsonRaw) error
}

func (s quotingStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	raw, err := s.ConfigStore.Load(ctx, ns)
	if err != nil {
		return nil, err
	}
	return nil, s.say(raw)
}

func (s quotingStore) Check(ctx context.Context) error {
	_, err := s.Load(ctx, plexauth.Namespace)
	return err
}

// G13: a store that quotes what it holds is not passed on, whatever it was
// asked and however it quotes.
func TestStoreThatQuotes(t *testing.T) {
	const doc = `{"account_token":"TEST_account","pms_token": "TEST_server","home_pin":"TEST_home","_device":{"secret":"TEST_key"},"_pending_pin":{"id":471100815,"code":"TEST_code"}}`
	for name, say := range map[string]func(jsonRaw) error{
		"as it is": func(raw jsonRaw) error { return fmt.Errorf("cannot read %s", raw) },
		"quoted":   func(raw jsonRaw) error { return fmt.Errorf("cannot read %q", raw) },
		"twice":    func(raw jsonRaw) error { return fmt.Errorf("cannot read %q", fmt.Sprintf("%q", raw)) },
		"truncated": func(raw jsonRaw) error {
			return fmt.Errorf("unexpected end: %s", raw[:len(`{"account_token":"TEST_acco`)])
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := plexauth.NewMemoryStore()
			put(t, store, doc)
			p, err := plexauth.New(plexauth.Options{Product: "Test", Store: quotingStore{store, say}})
			require.NoError(t, err)
			for _, call := range []func() error{
				func() error { _, err := p.Status(t.Context()); return err },
				func() error { _, err := p.Start(t.Context(), plexauth.PinOptions{}); return err },
			} {
				err := call()
				require.ErrorIs(t, err, plexauth.ErrStore)
				for _, secret := range []string{"TEST_", "4711008"} {
					assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), secret)
				}
			}
		})
	}
}

// G17: what is to be done about a store that fails stands at the end of a text
// that names the path several times. It reaches whoever starts a login, and the
// panel, also where the path is as long as on many a NAS.
func TestStoreRemedyReachesThePerson(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volume1", "docker", "appdata", "plex-companion", "config")
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o700))
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	store := plexauth.NewFileStore(filepath.Join(dir, "a-rather-long-name-of-a-config.json"))
	want := store.Check(t.Context()).Error()
	require.Greater(t, len(want), 400)
	require.Contains(t, want, "see that "+dir+" is a directory")

	w := newWorld(t, func(o *plexauth.Options) { o.Store = store })
	_, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.Contains(t, err.Error(), strings.TrimPrefix(want, plexauth.ErrStore.Error()))
	rec := openPanel(t, w.PlexAuth).do(http.MethodPost, "/start", "{}")
	assert.Contains(t, rec.Body.String(), "see that "+dir+" is a directory")
}
