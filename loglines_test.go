package plexauth_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

var logLine = regexp.MustCompile(`level=(\S+) msg="?Plex\[([^]]*)\]: ([^"\n]*)`)

// fromNowLogged returns a function that lists what has been logged since, each record as its
// level and its text. Records of another profile than the default one have its name.
func (w *world) fromNowLogged() func() []string {
	n := len(w.log.String())
	return func() (said []string) {
		for _, m := range logLine.FindAllStringSubmatch(w.log.String()[n:], -1) {
			line := m[1] + " " + m[3]
			if m[2] != "default" {
				line = m[1] + " " + m[2] + ": " + m[3]
			}
			said = append(said, line)
		}
		return said
	}
}

// startAndApprove begins a login with o over the one that is there, which u approves.
func (w *world) startAndApprove(t *testing.T, p *plexauth.PlexAuth, u *plextest.User, o plexauth.PinOptions) {
	t.Helper()
	pin, err := p.Start(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, u))
}

// startOverHooks begins a login of a program whose calls of the store can be changed from now
// on. logged is that of fromNowLogged.
func (w *world) startOverHooks(t *testing.T) (store *hookedStore, p *plexauth.PlexAuth, logged func() []string) {
	t.Helper()
	store = w.hooked(hooks{})
	p = w.open(t, withStore(store))
	require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
	return store, p, w.fromNowLogged()
}

// waitFor waits for the login of p for that long.
func waitFor(t *testing.T, p *plexauth.PlexAuth, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return errOf(p.Wait(ctx))
}

// Faults of the requests that follow an approval.
var (
	outageOfAccounts = plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1}
	refusedAccount   = plextest.Fault{Path: "/api/v2/user", Code: 1009, Times: -1}
	noRevocation     = plextest.Fault{Method: http.MethodDelete, Path: "/api/v2/users/signout", Status: 503, Times: -1}
)

// approvedTooLate waits for a login that another process cancels before it is approved. What
// happens to its token meets h and faults.
func (w *world) approvedTooLate(t *testing.T, h hooks, faults ...plextest.Fault) (logged func() []string) {
	t.Helper()
	w.replicas = true
	store := w.hooked(hooks{})
	p := w.open(t, withStore(store), noRetries)
	pin, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	logged = w.fromNowLogged()
	var wg sync.WaitGroup
	wg.Go(func() { assert.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrNoPendingPin) })
	time.Sleep(1200 * time.Millisecond) // the store was just read
	require.NoError(t, w.open(t).Cancel(t.Context()))
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	for _, f := range faults {
		w.plex.Inject(f)
	}
	store.set(h)
	wg.Wait()
	return logged
}

// G11: the log says once what goes wrong during a login, that it is over, and how the login
// has ended.
func TestLogLines(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, w *world) (logged func() []string)
		want []string
	}{
		"the store cannot be read, twice": {func(t *testing.T, w *world) func() []string {
			store, p, logged := w.startOverHooks(t)
			for _, from := range []time.Duration{10 * time.Second, 50 * time.Second} {
				time.AfterFunc(from, func() { store.set(hooks{beforeLoad: fails(errDisk)}) })
				time.AfterFunc(from+20*time.Second, func() { store.set(hooks{}) })
			}
			require.ErrorIs(t, waitFor(t, p, 2*time.Minute), context.DeadlineExceeded)
			return logged
		}, []string{
			"WARN cannot read the store; the login continues", "WARN cannot read the store; the login continues",
		}},
		"plex.tv fails, in two ways and again": {func(t *testing.T, w *world) func() []string {
			p := w.open(t, withStore(w.hooked(hooks{})))
			require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
			logged := w.fromNowLogged()
			for at, status := range map[time.Duration]int{10 * time.Second: 503, 40 * time.Second: 429, 2 * time.Minute: 503} {
				time.AfterFunc(at, func() {
					w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: status, Times: -1, For: 30 * time.Second})
				})
			}
			require.ErrorIs(t, waitFor(t, p, 4*time.Minute), context.DeadlineExceeded)
			return logged
		}, []string{
			"WARN cannot ask plex.tv about the PIN; the login continues", "WARN cannot ask plex.tv about the PIN; the login continues",
			"INFO plex.tv answers again", "WARN cannot ask plex.tv about the PIN; the login continues", "INFO plex.tv answers again",
		}},
		"the PIN expires": {func(t *testing.T, w *world) func() []string {
			start(t, w)
			logged := w.fromNowLogged()
			require.ErrorIs(t, errOf(w.Wait(t.Context())), plexauth.ErrPinExpired)
			return logged
		}, []string{"INFO login ended: the PIN expired"}},
		"plex.tv refuses": {func(t *testing.T, w *world) func() []string {
			start(t, w)
			logged := w.fromNowLogged()
			w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Code: 1004})
			var e *plexauth.Error
			require.ErrorAs(t, errOf(w.Wait(t.Context())), &e)
			assert.Equal(t, 1004, e.Code)
			return logged
		}, []string{"INFO login ended: plex.tv refused"}},
		"the PIN expires, and cannot be removed": {func(t *testing.T, w *world) func() []string {
			store, p, logged := w.startOverHooks(t)
			store.set(hooks{beforeUpdate: fails(errDisk)})
			require.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrPinExpired)
			return logged
		}, []string{"WARN could not remove the PIN of the ended login", "INFO login ended: the PIN expired"}},
		"a corrected expiry is not saved": {func(t *testing.T, w *world) func() []string {
			store, p, logged := w.startOverHooks(t)
			seconds := 300
			w.plex.SetQuirks(plextest.Quirks{ExpiresIn: &seconds})
			store.set(hooks{beforeUpdate: fails(errDisk)})
			require.ErrorIs(t, waitFor(t, p, 10*time.Second), context.DeadlineExceeded)
			return logged
		}, []string{"WARN the PIN's expiry was not saved"}},
		"a corrected expiry is not saved in time": {func(t *testing.T, w *world) func() []string {
			store, p, logged := w.startOverHooks(t)
			seconds := 300
			w.plex.SetQuirks(plextest.Quirks{ExpiresIn: &seconds})
			store.set(hooks{beforeUpdate: hang})
			require.ErrorIs(t, waitFor(t, p, 10*time.Second), context.DeadlineExceeded)
			return logged
		}, nil},
		"cancelled": {func(t *testing.T, w *world) func() []string {
			start(t, w)
			logged := w.fromNowLogged()
			require.NoError(t, w.Cancel(t.Context()))
			return logged
		}, []string{"INFO login cancelled"}},
		"not shown, and not cancelled": {func(t *testing.T, w *world) func() []string {
			store := w.hooked(hooks{})
			logged := w.fromNowLogged()
			_, err := w.open(t, withStore(store)).Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error {
				store.set(hooks{beforeUpdate: fails(errDisk)})
				return errors.New("no screen")
			})
			require.ErrorContains(t, err, "no screen")
			return logged
		}, []string{"INFO request PIN", "INFO+2 PIN issued", "WARN could not cancel the login"}},
		"not shown": {func(t *testing.T, w *world) func() []string {
			logged := w.fromNowLogged()
			_, err := w.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return errors.New("no screen") })
			require.ErrorContains(t, err, "no screen")
			return logged
		}, []string{"INFO request PIN", "INFO+2 PIN issued", "INFO login cancelled"}},
		"a first login without an account": {func(t *testing.T, w *world) func() []string {
			approved(t, w)
			logged := w.fromNowLogged()
			w.plex.Inject(outageOfAccounts)
			require.NoError(t, errOf(w.Wait(t.Context())))
			return logged
		}, []string{"INFO+2 token stored", "WARN signed in, but the account could not be read yet"}},
		"the same account again": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.startAndApprove(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			require.NoError(t, errOf(w.Wait(t.Context())))
			return logged
		}, []string{"INFO+2 token stored"}},
		"a token that plex.tv rejects": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.startAndApprove(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1001})
			require.ErrorIs(t, errOf(w.Wait(t.Context())), plexauth.ErrTokenRejected)
			return logged
		}, nil},
		"another account": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.startAndApprove(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			require.ErrorIs(t, errOf(w.Wait(t.Context())), plexauth.ErrAccountMismatch)
			return logged
		}, []string{"INFO login refused: approved by another account than the linked one"}},
		"another account, whose token stays": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.startAndApprove(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			w.plex.Inject(noRevocation)
			require.ErrorIs(t, errOf(w.Wait(t.Context())), plexauth.ErrAccountMismatch)
			return logged
		}, []string{
			"WARN the other account's token was dropped, but not revoked",
			"INFO login refused: approved by another account than the linked one",
		}},
		"another account, of another profile": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.signIn(t, w.Instance("second"), w.bob, plexauth.PinOptions{})
			w.startAndApprove(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			require.ErrorIs(t, errOf(w.Wait(t.Context())), plexauth.ErrAccountMismatch)
			require.NoError(t, errOf(w.Instance("second").Verify(t.Context())))
			return logged
		}, []string{
			"INFO the token went to the profile of that account",
			"INFO login refused: approved by another account than the linked one",
		}},
		"plex.tv does not tell whose the token is": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.startAndApprove(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
			w.plex.Inject(refusedAccount)
			require.Error(t, errOf(w.Finish(t.Context())))
			logged := w.fromNowLogged()
			require.NoError(t, errOf(w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})))
			return logged
		}, []string{
			"INFO login ended: plex.tv does not tell the account of the approved token", "INFO request PIN", "INFO+2 PIN issued",
		}},
		"plex.tv does not tell whose the token is, which stays": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			w.startAndApprove(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
			w.plex.Inject(refusedAccount)
			w.plex.Inject(noRevocation)
			logged := w.fromNowLogged()
			require.Error(t, waitFor(t, w.PlexAuth, 5*time.Second))
			require.NoError(t, errOf(w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})))
			return logged
		}, []string{
			"WARN cannot ask plex.tv about the PIN; the login continues",
			"WARN the approved token was dropped, but not revoked",
			"INFO login ended: plex.tv does not tell the account of the approved token", "INFO request PIN", "INFO+2 PIN issued",
		}},
		"approved after a Cancel elsewhere, and not revoked": {func(t *testing.T, w *world) func() []string {
			return w.approvedTooLate(t, hooks{}, noRevocation)
		}, []string{"INFO login cancelled", "WARN a token that was approved too late was dropped, but not revoked"}},
		"approved after a Cancel elsewhere, and of an unknown account": {func(t *testing.T, w *world) func() []string {
			return w.approvedTooLate(t, hooks{}, outageOfAccounts)
		}, []string{"INFO login cancelled", "WARN a token that was approved too late was dropped, but not revoked"}},
		"approved after a Cancel elsewhere, while the store fails": {func(t *testing.T, w *world) func() []string {
			return w.approvedTooLate(t, hooks{beforeLoad: calls(1, 1, fails(errDisk))})
		}, []string{"INFO login cancelled", "WARN a token that was approved too late was dropped, but not revoked"}},
		"approved after a Cancel elsewhere, while the store fails later": {func(t *testing.T, w *world) func() []string {
			return w.approvedTooLate(t, hooks{beforeUpdate: calls(2, 2, fails(errDisk))})
		}, []string{"INFO login cancelled", "WARN a token that was approved too late was dropped, but not revoked"}},
		"the previous token is rejected, which is not saved": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			store := w.hooked(hooks{})
			p := w.open(t, withStore(store))
			w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
			w.forgetAccount(t, nil)
			logged := w.fromNowLogged()
			store.set(hooks{beforeUpdate: calls(2, 2, fails(errDisk))}) // the first one saves the approved token
			require.NoError(t, errOf(p.Wait(t.Context())))
			return logged
		}, []string{"WARN could not record that the previous token was rejected", "INFO+2 token stored"}},
		"the device before stays": {func(t *testing.T, w *world) func() []string {
			p := w.open(t, deviceKey)
			w.signIn(t, p, w.alice, plexauth.PinOptions{})
			w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
			w.plex.Inject(noRevocation)
			logged := w.fromNowLogged()
			require.NoError(t, errOf(p.Wait(t.Context())))
			return logged
		}, []string{"INFO+2 token stored", "WARN the device that this login replaces was not signed out"}},
		"the account of a JWT": {func(t *testing.T, w *world) func() []string {
			p := w.open(t, deviceKey, scopes("username"))
			w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
			w.plex.Inject(outageOfAccounts)
			logged := w.fromNowLogged()
			require.NoError(t, errOf(p.Wait(t.Context())))
			return logged
		}, []string{"WARN could not read the account from plex.tv; using the account that the token names", "INFO+2 token stored"}},
		"a full disk after the save": {func(t *testing.T, w *world) func() []string {
			store := w.hooked(hooks{})
			p := w.open(t, withStore(store))
			w.startAndApprove(t, p, w.alice, plexauth.PinOptions{})
			store.set(hooks{beforeUpdate: calls(1, 20, fails(errDisk))})
			logged := w.fromNowLogged()
			require.NoError(t, errOf(p.Wait(t.Context())))
			return logged
		}, []string{"WARN the token could not be saved, trying again", "INFO+2 token stored"}},
		"signed out": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			require.NoError(t, errOf(w.SignOut(t.Context())))
			return logged
		}, []string{"INFO signed out"}},
		"signed out, although the store says no": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			p := w.open(t, withStore(w.hooked(hooks{afterUpdate: fails(errDisk)})))
			require.NoError(t, errOf(p.SignOut(t.Context())))
			return logged
		}, []string{"WARN the store has removed the login, although it reported an error", "INFO signed out"}},
		"adopted": {func(t *testing.T, w *world) func() []string {
			logged := w.fromNowLogged()
			token := plexauth.NewToken(w.plex.IssueToken(w.alice, "cli"))
			require.NoError(t, errOf(w.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: "cli"})))
			return logged
		}, []string{"INFO+2 login of another program taken over"}},
		"moved over": {func(t *testing.T, w *world) func() []string {
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			require.NoError(t, errOf(w.UseDeviceKey(t.Context())))
			return logged
		}, []string{"INFO moved over to a device key"}},
		"the profile of another login is unknown": {func(t *testing.T, w *world) func() []string {
			w.plex.Inject(outageOfAccounts)
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			logged := w.fromNowLogged()
			require.NoError(t, errOf(w.Instance("second").Start(t.Context(), plexauth.PinOptions{})))
			return logged
		}, []string{
			"WARN could not find out which account the stored login belongs to", "INFO second: request PIN", "INFO+2 second: PIN issued",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, noRetries)
				logged := c.do(t, w)
				assert.Equal(t, c.want, logged())
				assert.NotContains(t, strings.ToLower(w.log.String()), "fake_")
			})
		})
	}
}
