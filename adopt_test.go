package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
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

// elsewhere is the client identifier of another program.
const elsewhere = "other-program"

// foreignIdentifier is what the fake reports where a program does not know the identifier
// of the token that it adopts.
const foreignIdentifier = "a token is used with another client identifier than it was made for"

// issued returns a token that another program has got for u.
func (w *world) issued(u *plextest.User, clientID string) plexauth.Token {
	return plexauth.NewToken(w.plex.IssueToken(u, clientID))
}

// adopt makes p adopt a token, which must succeed.
func adopt(t *testing.T, p *plexauth.PlexAuth, token plexauth.Token, clientID string) plexauth.Status {
	t.Helper()
	s, err := p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: clientID})
	require.NoError(t, err)
	assert.True(t, s.Connected)
	return s
}

// hasToken asserts that p is signed in with this token, and that it works.
func hasToken(t *testing.T, p *plexauth.PlexAuth, want plexauth.Token) {
	t.Helper()
	s, err := p.Verify(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Connected)
	assert.True(t, mustSettings(t, p).AccountToken.Equal(want))
}

// G29: a login that another program made is taken over after one request, with account and
// identifier in one Update, and is a login like any other.
func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.issued(w.alice, elsewhere)
		var docs []string
		p := w.open(t, withStore(w.hooked(hooks{refuse: func(next jsonRaw) error {
			docs = append(docs, string(next))
			return nil
		}})))
		s := adopt(t, p, token, elsewhere)
		assert.Equal(t, "alice", s.User)
		assert.False(t, s.NeedsLogin)
		assert.Equal(t, 1, w.count("GET", "/api/v2/user"))
		assert.Len(t, w.plex.Requests(), 1)

		first := slices.IndexFunc(docs, func(doc string) bool { return strings.Contains(doc, token.Secret()) })
		require.GreaterOrEqual(t, first, 0)
		for _, member := range []string{`"client_id":"` + elsewhere, fmt.Sprintf(`"account_id":%d`, w.alice.ID), `"username":"alice"`} {
			assert.Contains(t, docs[first], member, "in the same Update as the token")
		}
		v := mustSettings(t, p)
		assert.Equal(t, elsewhere, v.ClientID)
		assert.Equal(t, fmt.Sprint(w.alice.ID), v.CloudAccountID)
		hasToken(t, p, token)
		assert.Equal(t, http.StatusOK, w.status(t, request(t, "GET", "https://plex.tv/api/v2/user", nil)))

		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		v = mustSettings(t, p)
		assert.Equal(t, elsewhere, v.ClientID, "a relink has the same device in the person's list")
		assert.False(t, v.AccountToken.Equal(token))
	})
}

// G29, G13: a token that no request can carry is an error before any request, and so is a
// bad identifier. No error shows the token.
func TestAdoptRefusesBadArguments(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{
		"empty": "", "a space": "FAKE token", "a line break": "FAKE_token\n", "NUL": "FAKE\x00token", "DEL": "FAKE\x7f",
		"beyond ASCII": "FAKE_tökén", "no UTF-8": "FAKE_\xff", "too long": strings.Repeat("x", 4097),
	} {
		_, err := w.Adopt(t.Context(), plexauth.NewToken(text), plexauth.AdoptOptions{})
		require.Error(t, err, name)
		if text == "" {
			assert.ErrorContains(t, err, "the token is empty")
		} else {
			assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err)+w.log.String(), text, name)
		}
	}
	for name, id := range map[string]string{"a line break": "a\nb", "space": " a", "too long": strings.Repeat("x", 256), "no UTF-8": "\xff"} {
		_, err := w.Adopt(t.Context(), plexauth.NewToken("FAKE_token"), plexauth.AdoptOptions{ClientID: id})
		assert.ErrorContains(t, err, "ClientID", name)
	}
	_, err := w.Namespace("a\nb").Adopt(t.Context(), plexauth.NewToken("FAKE_token"), plexauth.AdoptOptions{})
	assert.ErrorContains(t, err, "Namespace")
	assert.Empty(t, w.plex.Requests())
	raw, err := w.store.Load(t.Context(), plexauth.Namespace)
	require.NoError(t, err)
	assert.Nil(t, raw, "nothing was stored")
}

// G29, G22: another account than the linked one is refused, also where only plex.tv knows
// whose the linked login is, and the other program keeps its token. SwitchAccount accepts
// it.
func TestAdoptAnotherAccount(t *testing.T) {
	for name, forget := range map[string]bool{"known": false, "not stored": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				alices := plexauth.NewToken(tokenOf(t, w.PlexAuth))
				pin := start(t, w)
				if forget {
					w.forgetAccount(t, nil)
				}
				bobs, asked := w.issued(w.bob, elsewhere), w.fromNow()
				s, err := w.Adopt(t.Context(), bobs, plexauth.AdoptOptions{ClientID: elsewhere})
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				assert.ErrorContains(t, err, "bob")
				assert.Equal(t, "alice", s.User)
				require.NotNil(t, s.Pending)
				assert.Equal(t, pin.Code, s.Pending.Code, "the pending login goes on")
				asksForAccounts := 1
				if forget {
					asksForAccounts = 2 // whose the linked login is, too
				}
				assert.Len(t, only(asked(), "GET", "/api/v2/user"), asksForAccounts)
				assert.Empty(t, only(asked(), "GET", "/api/v2/pins/{id}"))
				hasToken(t, w.PlexAuth, alices)
				assert.NotEmpty(t, w.plex.Token(w.bob, elsewhere))

				s, err = w.Adopt(t.Context(), bobs, plexauth.AdoptOptions{ClientID: elsewhere, SwitchAccount: true})
				require.NoError(t, err)
				assert.Equal(t, "bob", s.User)
				assert.Nil(t, s.Pending)
				hasToken(t, w.PlexAuth, bobs)
			})
		})
	}
}

// G29, G22: a token of the same account replaces the one before like a relink: the server
// stays, and nothing is revoked.
func TestAdoptSameAccount(t *testing.T) {
	w := served(t, true)
	before := mustSettings(t, w.PlexAuth)
	token := w.issued(w.alice, elsewhere)
	adopt(t, w.PlexAuth, token, elsewhere)
	after := mustSettings(t, w.PlexAuth)
	assert.Equal(t, elsewhere, after.ClientID)
	assert.Equal(t, before.AccountToken.Secret(), w.plex.Token(w.alice, before.ClientID), "the old token works elsewhere")
	assert.True(t, after.AccountToken.Equal(token))
	assert.Equal(t, before.ServerToken.Secret(), after.ServerToken.Secret())
	after.ClientID, before.ClientID = "", ""
	after.AccountToken, before.AccountToken = plexauth.Token{}, plexauth.Token{}
	after.ServerToken, before.ServerToken = plexauth.Token{}, plexauth.Token{}
	assert.Equal(t, before, after)
	assert.Zero(t, w.count("DELETE", "/api/v2/users/signout"))
}

// G29: the token that is stored already is a success without a request, and changes
// nothing, also while plex.tv is down and for a login that is pending.
func TestAdoptStoredToken(t *testing.T) {
	w := signedIn(t)
	pin := start(t, w)
	token, doc, id := plexauth.NewToken(tokenOf(t, w.PlexAuth)), w.doc(t), mustSettings(t, w.PlexAuth).ClientID
	asked := w.fromNow()
	for _, clientID := range []string{"", id, elsewhere} {
		s := adopt(t, w.PlexAuth, token, clientID)
		assert.Equal(t, pin.Code, s.Pending.Code)
	}
	assert.Equal(t, doc, w.doc(t))
	assert.Empty(t, asked())
}

// G29, G10: a stored token that plex.tv has rejected is not tried again.
func TestAdoptRejectedToken(t *testing.T) {
	w := signedIn(t)
	token := plexauth.NewToken(tokenOf(t, w.PlexAuth))
	w.plex.Revoke(w.alice)
	require.ErrorIs(t, errOf(w.Verify(t.Context())), plexauth.ErrTokenRejected)
	asked := w.fromNow()
	s, err := w.Adopt(t.Context(), token, plexauth.AdoptOptions{})
	require.ErrorIs(t, err, plexauth.ErrTokenRejected)
	assert.True(t, s.NeedsLogin)
	assert.Empty(t, asked())

	adopt(t, w.PlexAuth, w.issued(w.alice, elsewhere), elsewhere)
}

// G29, G22: if it is not known whose the linked login is, plex.tv's answer decides. A linked
// token that has ended, or whose account plex.tv refuses to tell, can be replaced by one of the
// same name. If plex.tv cannot be asked, nothing changes. SwitchAccount does not ask.
func TestAdoptOverALoginOfUnknownAccount(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		change bool // SwitchAccount
		want   error
		asked  int // how often plex.tv is asked for the account of the linked token
	}{
		"ended":                  {401, `{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`, false, nil, 1},
		"refused":                {422, `{"errors":[{"code":1234,"message":"Refused","status":422}]}`, false, plexauth.ErrAccountMismatch, 1},
		"not asked":              {422, `{"errors":[{"code":1234,"message":"Refused","status":422}]}`, true, nil, 0},
		"down":                   {503, `{}`, false, plexauth.ErrUnavailable, 1},
		"not asked, though down": {503, `{}`, true, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.forgetAccount(t, map[string]any{"username": ""})
				doc, token := w.doc(t), w.issued(w.alice, elsewhere)
				answers := &verdict{RoundTripper: w.plex.Client().Transport, token: mustSettings(t, w.PlexAuth).AccountToken.Secret(), status: test.status, body: test.body}
				p := w.open(t, withTransport(answers), noRetries)
				s, err := p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: elsewhere, SwitchAccount: test.change})
				assert.Equal(t, test.asked, answers.asked)
				if test.want != nil {
					require.ErrorIs(t, err, test.want)
					assert.Equal(t, doc, w.doc(t))
					return
				}
				require.NoError(t, err)
				assert.True(t, s.Connected)
				hasToken(t, w.PlexAuth, token)
			})
		})
	}
}

// G29, G22: Adopt refuses another account also if it is linked while the token is saved.
func TestAdoptBesideAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		alices := mustSettings(t, w.PlexAuth).AccountToken
		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: once(func() {
			cloud := w.stored(t)["_cloud"].(map[string]any)
			cloud["account_id"] = w.bob.ID
			w.edit(t, map[string]any{"_cloud": cloud})
		})})))
		_, err := p.Adopt(t.Context(), w.issued(w.alice, elsewhere), plexauth.AdoptOptions{ClientID: elsewhere})
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.Equal(alices))
		assert.NotContains(t, w.log.String(), "taken over")
	})
}

// G29, G16: those who wait for a login learn that it has succeeded, if another process finishes it
// before Adopt can save a token, which is another account's.
func TestAdoptBesideALoginThatIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		var waits sync.WaitGroup
		waits.Go(func() { assert.NoError(t, errOf(p.Wait(t.Context()))) })
		time.Sleep(5500 * time.Millisecond)
		finished := false
		store.set(hooks{beforeUpdate: once(func() {
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			require.NoError(t, errOf(w.open(t).Finish(t.Context())))
			finished = true
		})})
		_, err = p.Adopt(t.Context(), w.issued(w.bob, elsewhere), plexauth.AdoptOptions{ClientID: elsewhere})
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.True(t, finished)
		waits.Wait()
	})
}

// G29: a login that Adopt does not replace goes on for those who wait for it: the token cannot
// be saved, or another process saves it first.
func TestAdoptLeavesALogin(t *testing.T) {
	for name, c := range map[string]struct {
		during func(t *testing.T, w *world, token plexauth.Token) hook
		want   error
	}{
		"not saved": {func(*testing.T, *world, plexauth.Token) hook { return fails(errDisk) }, plexauth.ErrStore},
		"saved elsewhere": {func(t *testing.T, w *world, token plexauth.Token) hook {
			return once(func() { w.edit(t, map[string]any{"account_token": token.Secret(), "client_id": elsewhere}) })
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				var waits sync.WaitGroup
				waits.Go(func() { assert.NoError(t, errOf(p.Wait(t.Context()))) })
				time.Sleep(5500 * time.Millisecond)
				token := w.issued(w.alice, elsewhere)
				store.set(hooks{beforeUpdate: c.during(t, w, token)})
				_, err = p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: elsewhere})
				require.ErrorIs(t, err, c.want)
				store.set(hooks{})
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				waits.Wait()
			})
		})
	}
}

// G29: the stored token gets what is missing: its account, or its identifier.
func TestAdoptCompletes(t *testing.T) {
	t.Run("account", func(t *testing.T) {
		w := newWorld(t)
		put(t, w.store, fmt.Sprintf(`{"client_id":%q,"account_token":%q,"x":1.0}`, elsewhere, w.plex.IssueToken(w.alice, elsewhere)))
		s := adopt(t, w.PlexAuth, mustSettings(t, w.PlexAuth).AccountToken, "")
		assert.Equal(t, "alice", s.User)
		assert.Equal(t, elsewhere, mustSettings(t, w.PlexAuth).ClientID)
		assert.Contains(t, w.doc(t), `"x":1.0`)
	})
	t.Run("account, while a login is pending", func(t *testing.T) {
		w := signedIn(t)
		pin := start(t, w)
		w.forgetAccount(t, nil)
		asked := w.fromNow()
		s := adopt(t, w.PlexAuth, mustSettings(t, w.PlexAuth).AccountToken, "")
		assert.Equal(t, "alice", s.User)
		assert.Len(t, asked(), 1, "its account")
		require.NotNil(t, s.Pending)
		assert.Equal(t, pin.Code, s.Pending.Code)
	})
	t.Run("identifier", func(t *testing.T) {
		w := newWorld(t)
		w.forgive = foreignIdentifier
		token := w.issued(w.alice, elsewhere)
		adopt(t, w.PlexAuth, token, "")
		adopt(t, w.PlexAuth, token, elsewhere)
		assert.Equal(t, elsewhere, mustSettings(t, w.PlexAuth).ClientID)
		assert.NotContains(t, w.doc(t), "_foreign")
	})
}

// G29, G1: a token whose identifier is not known is used with the document's own, which is
// saved before the first request and stays.
func TestAdoptUnderUnknownIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.forgive = foreignIdentifier
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Reset: true, Times: -1})
		token := w.issued(w.alice, elsewhere)
		require.ErrorIs(t, errOf(w.Adopt(t.Context(), token, plexauth.AdoptOptions{})), plexauth.ErrUnavailable)
		id := mustSettings(t, w.PlexAuth).ClientID
		assert.Equal(t, fmt.Sprintf(`{"client_id":%q}`, id), w.doc(t))
		for _, r := range w.plex.Requests() {
			assert.Equal(t, id, r.Header.Get("X-Plex-Client-Identifier"))
		}
		w.plex.ResetFaults()
		adopt(t, w.PlexAuth, token, "")
		hasToken(t, w.PlexAuth, token)
		assert.Equal(t, id, mustSettings(t, w.PlexAuth).ClientID)
		require.ErrorContains(t, errOf(w.UseDeviceKey(t.Context())), "identifier")
		hasToken(t, w.PlexAuth, token)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		assert.Equal(t, id, mustSettings(t, w.PlexAuth).ClientID)
	})
}

// G29: the program's own identifier is the document's.
func TestAdoptUnderProgramsIdentifier(t *testing.T) {
	w := newWorld(t, func(o *plexauth.Options) { o.ClientID = "the-program" })
	w.forgive = foreignIdentifier
	adopt(t, w.PlexAuth, w.issued(w.alice, elsewhere), "")
	assert.Equal(t, "the-program", mustSettings(t, w.PlexAuth).ClientID)
}

// G29, G23: an adopted token leaves other profiles their own. If plex.tv has retired those
// by it, they get it; if not, they keep theirs, also when it is checked or signed out.
func TestAdoptBesideOtherProfiles(t *testing.T) {
	t.Run("under their identifier", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p1, p2 := w.Instance("PLEX-P01"), w.Instance("PLEX-P02")
			w.signIn(t, p1, w.alice, plexauth.PinOptions{})
			w.signIn(t, p2, w.bob, plexauth.PinOptions{})
			bobs, id := mustSettings(t, p2).AccountToken, mustSettings(t, p1).ClientID
			token := w.issued(w.alice, id)
			adopt(t, w.PlexAuth, token, id)
			hasToken(t, p1, token)
			hasToken(t, p2, bobs)
			hasToken(t, w.PlexAuth, token)
		})
	})
	for _, known := range []string{"", elsewhere} {
		t.Run(fmt.Sprintf("under %q", known), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if known == "" {
					w.forgive = foreignIdentifier
				}
				p1, p2 := w.Instance("PLEX-P01"), w.Instance("PLEX-P02")
				w.signIn(t, p1, w.alice, plexauth.PinOptions{})
				alices := mustSettings(t, p1).AccountToken
				token := w.issued(w.alice, elsewhere)
				for _, p := range []*plexauth.PlexAuth{w.PlexAuth, p2} {
					adopt(t, p, token, known)
					hasToken(t, p, token)
					hasToken(t, p1, alices)
				}
				require.NoError(t, errOf(w.SignOut(t.Context())))
				hasToken(t, p1, alices)
				s, err := p2.Status(t.Context())
				require.NoError(t, err)
				assert.False(t, s.Connected, "it had the same token")

				adopt(t, p2, w.issued(w.alice, elsewhere), known)
				require.NoError(t, errOf(p1.SignOut(t.Context())))
				s, err = p2.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}

// G29, G23: a token whose identifier was not known may have been made under the document's
// own all the same. The login of another profile then retires it, and gives it the next.
func TestAdoptedTokenIsRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
		p1, p2 := w.Instance("PLEX-P01"), w.Instance("PLEX-P02")
		adopt(t, p1, w.issued(w.alice, mustSettings(t, w.PlexAuth).ClientID), "")
		w.signIn(t, p2, w.alice, plexauth.PinOptions{})
		hasToken(t, p1, mustSettings(t, p2).AccountToken)
	})
}

// G29: those who wait for a login that was pending are told, in the same process and
// after a restart, and its PIN is gone.
func TestAdoptSupersedesALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		var waits sync.WaitGroup
		for range 3 {
			waits.Go(func() {
				_, err := w.Wait(t.Context())
				assert.ErrorIs(t, err, plexauth.ErrPinSuperseded)
			})
		}
		time.Sleep(5500 * time.Millisecond)
		token := w.issued(w.alice, elsewhere)
		s := adopt(t, w.PlexAuth, token, elsewhere)
		assert.Nil(t, s.Pending)
		waits.Wait()
		asked := w.fromNow()
		time.Sleep(time.Minute)
		assert.Empty(t, asked(), "no one asks for the PIN any more")

		start(t, w)
		other := w.open(t)
		adopt(t, other, w.issued(w.alice, elsewhere), elsewhere)
		assert.NotContains(t, w.doc(t), "_pending_pin")
	})
}

// G29, G8: an approval of the pending login that no one has seen yet, and that has ended
// an older token, is not lost: it is finished first. The token is then adopted if it still
// works.
func TestAdoptKeepsAnApproval(t *testing.T) {
	t.Run("that ended the token of another profile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p1 := w.Instance("PLEX-P01")
			w.signIn(t, p1, w.alice, plexauth.PinOptions{})
			approved(t, w)
			token := w.issued(w.alice, elsewhere)
			adopt(t, w.PlexAuth, token, elsewhere)
			hasToken(t, w.PlexAuth, token)
			hasToken(t, p1, plexauth.NewToken(w.plex.Token(w.alice, mustSettings(t, p1).ClientID)))
		})
	})
	t.Run("that ended the token itself", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			id := mustSettings(t, w.PlexAuth).ClientID
			token := w.issued(w.alice, id)
			pin := start(t, w)
			time.Sleep(time.Minute)
			p := w.openInterrupted(t, "/api/v2/user", func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
			s, err := p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: id})
			require.ErrorIs(t, err, plexauth.ErrTokenRejected)
			assert.NotNil(t, s.Pending)
			_, err = p.Wait(t.Context())
			require.NoError(t, err)
			hasToken(t, p, plexauth.NewToken(w.plex.Token(w.alice, id)))
		})
	})
	t.Run("that ended it while it was adopted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			id := mustSettings(t, w.PlexAuth).ClientID
			token := w.issued(w.alice, id)
			pin := start(t, w)
			time.Sleep(time.Minute)
			p := w.openInterrupted(t, fmt.Sprint("/api/v2/pins/", pin.ID), func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
			s, err := p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: id})
			require.ErrorIs(t, err, plexauth.ErrTokenRejected)
			assert.True(t, s.Connected)
			hasToken(t, p, plexauth.NewToken(w.plex.Token(w.alice, id)))
		})
	})
}

// G29, G16: a login that another process finishes at the same time is not overwritten by a
// token that it has retired.
func TestAdoptBesideALoginElsewhere(t *testing.T) {
	for _, instance := range []string{"default", "PLEX-P01"} {
		t.Run(instance, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p1 := w.Instance(instance)
				w.signIn(t, p1, w.alice, plexauth.PinOptions{})
				id := mustSettings(t, p1).ClientID
				token := w.issued(w.alice, id)
				p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: once(func() {
					w.signIn(t, w.open(t).Instance(instance), w.alice, plexauth.PinOptions{})
				})})))
				_, err := p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: id})
				require.ErrorIs(t, err, plexauth.ErrTokenRejected)
				hasToken(t, p1, plexauth.NewToken(w.plex.Token(w.alice, id)))
			})
		})
	}
}

// G29: the save is tried again while the store fails, and outlives the caller's context.
func TestAdoptIsSaved(t *testing.T) {
	t.Run("the store fails for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			token := w.issued(w.alice, elsewhere)
			adopt(t, w.open(t, withStore(w.hooked(hooks{beforeUpdate: calls(1, 10, fails(errDisk))}))), token, elsewhere)
			hasToken(t, w.PlexAuth, token)
		})
	})
	t.Run("the store fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			token := w.issued(w.alice, elsewhere)
			_, err := w.open(t, withStore(w.hooked(hooks{refuse: quotes}))).Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: elsewhere})
			require.ErrorIs(t, err, plexauth.ErrStore)
			assert.NotContains(t, err.Error()+w.log.String(), token.Secret())
			raw, err := w.store.Load(t.Context(), plexauth.Namespace)
			require.NoError(t, err)
			assert.Nil(t, raw)
		})
	})
	t.Run("the context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			token := w.issued(w.alice, elsewhere)
			ctx, cancel := context.WithCancel(t.Context())
			p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: does(func() {
				cancel()
				time.Sleep(500 * time.Millisecond)
			})})))
			_, _ = p.Adopt(ctx, token, plexauth.AdoptOptions{ClientID: elsewhere})
			hasToken(t, w.PlexAuth, token)
		})
	})
	t.Run("it cannot be saved", func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, withStore(&checkedStore{w.store, errReadOnly}))
		require.ErrorIs(t, errOf(p.Adopt(t.Context(), w.issued(w.alice, elsewhere), plexauth.AdoptOptions{})), plexauth.ErrStore)
		assert.Empty(t, w.plex.Requests())
	})
}

// G29, G24: a JWT is adopted with the identifier that it names, which does not become that
// of long-lived tokens. It works until it ends, and then a login is needed.
func TestAdoptJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := w.open(t, deviceKey, withStore(plexauth.NewMemoryStore()))
		w.signIn(t, other, w.alice, plexauth.PinOptions{})
		token, theirID := plexauth.NewToken(tokenOf(t, other)), mustSettings(t, other).ClientID

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		p1 := w.Instance("PLEX-P01")
		w.signIn(t, p1, w.alice, plexauth.PinOptions{})
		id, alices := mustSettings(t, w.PlexAuth).ClientID, mustSettings(t, p1).AccountToken
		s := adopt(t, w.PlexAuth, token, "")
		assert.Equal(t, 7*day, time.Until(s.ExpiresAt).Round(day))
		assert.Equal(t, theirID, mustSettings(t, w.PlexAuth).ClientID)
		hasToken(t, w.PlexAuth, token)
		hasToken(t, p1, alices)

		require.Error(t, errOf(w.UseDeviceKey(t.Context())))
		time.Sleep(8 * day)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		assert.False(t, s.Connected)
		require.ErrorIs(t, errOf(w.Adopt(t.Context(), token, plexauth.AdoptOptions{})), plexauth.ErrTokenExpired)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		assert.Equal(t, id, mustSettings(t, w.PlexAuth).ClientID)
		s, err = other.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected, "the other program's device is as it was")
	})
}

// G29, G24: an older JWT of the profile's own device key does not take the key's place.
func TestAdoptOwnJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		old := plexauth.NewToken(tokenOf(t, w.PlexAuth))
		time.Sleep(day)
		require.NoError(t, errOf(w.Refresh(t.Context())))
		doc, asked := w.doc(t), w.fromNow()
		adopt(t, w.PlexAuth, old, "")
		assert.Equal(t, doc, w.doc(t))
		assert.Empty(t, asked())
	})
}

// G29: what calls do at the same time leaves one login that works.
func TestAdoptConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin := start(t, w)
		tokens := map[string]plexauth.Token{}
		for _, id := range []string{"a", "b", "c"} {
			tokens[id] = w.issued(w.alice, id)
		}
		var calls sync.WaitGroup
		for id, token := range tokens {
			for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.open(t)} {
				calls.Go(func() { assert.NoError(t, errOf(p.Adopt(t.Context(), token, plexauth.AdoptOptions{ClientID: id}))) })
			}
		}
		calls.Go(func() { _, _ = w.Wait(t.Context()) })
		calls.Go(func() {
			time.Sleep(2 * time.Second)
			_ = w.plex.Approve(pin.Code, w.alice)
		})
		calls.Wait()
		v := mustSettings(t, w.PlexAuth)
		hasToken(t, w.PlexAuth, v.AccountToken)
		assert.Equal(t, w.plex.Token(w.alice, v.ClientID), v.AccountToken.Secret())
	})
}
