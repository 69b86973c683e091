package plexauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"testing"
	"testing/synctest"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// HomeUsers lists the members of the Plex Home with what plex.tv says of them.
func TestHomeUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, kid, carol := home(t)
		users, err := w.HomeUsers(t.Context())
		require.NoError(t, err)
		require.Len(t, users, 4)
		assert.Equal(t, plexauth.HomeUser{ID: w.alice.ID, UUID: w.alice.UUID, Title: "alice", Username: "alice", Thumb: w.alice.Thumb, Admin: true}, users[0])
		assert.Equal(t, plexauth.HomeUser{ID: kid.ID, UUID: kid.UUID, Title: "Kid", Thumb: kid.Thumb, Restricted: true}, users[1])
		assert.True(t, users[2].Protected)
		assert.Equal(t, carol.UUID, users[2].UUID)
		assert.True(t, users[3].Guest)
	})
}

// HomeUsers reads recorded answers, and answers with odd fields.
func TestHomeUsersPayload(t *testing.T) {
	p, mock := linkedMock(t)
	mock.RegisterResponder("GET", "https://plex.tv/api/v2/home/users", httpmock.NewStringResponder(200, payload(t, "home-users.json")))
	users, err := p.HomeUsers(t.Context())
	require.NoError(t, err)
	require.Len(t, users, 2)
	assert.Equal(t, "9a1b2c3d4e5f6071", users[1].UUID)
	assert.Empty(t, users[1].Username, "null for a managed user")
	for body, n := range map[string]int{
		`{"users":[]}`: 0,
		`{"users":[null,7,{},{"id":1},{"uuid":"u"},{"id":"5","uuid":"u","title":null,"friendlyName":"F","protected":"1","admin":null}]}`: 1,
		`{}`: -1, `[]`: -1, `null`: -1, ``: -1, `{"users":{}}`: -1, `<home/>`: -1,
	} {
		mock.RegisterResponder("GET", "https://plex.tv/api/v2/home/users", httpmock.NewStringResponder(200, body))
		users, err := p.HomeUsers(t.Context())
		if n < 0 {
			require.ErrorIs(t, err, plexauth.ErrUnavailable, body)
			continue
		}
		require.NoError(t, err, body)
		require.Len(t, users, n, body)
		if n == 1 {
			assert.Equal(t, plexauth.HomeUser{ID: 5, UUID: "u", Title: "F", Protected: true}, users[0])
		}
	}
}

// G23: the token of a Home user is returned to the caller. It replaces nothing that is
// stored.
func TestSwitchHomeUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, kid, carol := home(t)
		before := w.doc(t)
		for u, pin := range map[*plextest.User]string{kid: "", carol: "QXYZ"} {
			token, err := w.SwitchHomeUser(t.Context(), homeUser(t, w, u), pin)
			require.NoError(t, err)
			assert.Equal(t, w.plex.Token(u, mustSettings(t, w.PlexAuth).ClientID), token.Secret())
		}
		assert.Equal(t, before, w.doc(t))
		_, err := w.Verify(t.Context())
		require.NoError(t, err, "alice's own login goes on")
		assert.Equal(t, before, w.doc(t))
	})
}

// A missing and a wrong Home PIN are told apart. Neither is a rejected login.
func TestHomePIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, carol := home(t)
		u := homeUser(t, w, carol)
		asked := w.fromNow()
		_, err := w.SwitchHomeUser(t.Context(), u, "")
		require.ErrorIs(t, err, plexauth.ErrHomePin)
		assert.ErrorContains(t, err, "missing")
		assert.Empty(t, asked(), "plex.tv is not asked")

		u.Protected = false // the list can be wrong; plex.tv decides
		_, err = w.SwitchHomeUser(t.Context(), u, "")
		require.ErrorIs(t, err, plexauth.ErrHomePin)
		assert.ErrorContains(t, err, "missing")

		_, err = w.SwitchHomeUser(t.Context(), u, "0815")
		require.ErrorIs(t, err, plexauth.ErrHomePin)
		assert.ErrorContains(t, err, "wrong")
		assert.NotContains(t, err.Error(), "missing")
		var e *plexauth.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 1041, e.Code)

		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.False(t, s.NeedsLogin)
	})
}

// The words of plex.tv's older parts for a wrong Home PIN are understood.
func TestHomePINLegacy(t *testing.T) {
	p, mock := linkedMock(t)
	u := plexauth.HomeUser{ID: 7, UUID: "u7"}
	for body, want := range map[string]error{
		`<?xml version="1.0"?><Response code="401" status="Incorrect PIN"/>`: plexauth.ErrHomePin,
		payload(t, "error-1041-home-pin.json"):                               plexauth.ErrHomePin,
		payload(t, "error-1001-unauthenticated.json"):                        plexauth.ErrTokenRejected,
	} {
		mock.RegisterResponder("POST", "https://plex.tv/api/v2/home/users/u7/switch?pin=1234", jsonAnswer(401, body))
		_, err := p.SwitchHomeUser(t.Context(), u, "1234")
		require.ErrorIs(t, err, want)
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want == plexauth.ErrTokenRejected, s.NeedsLogin, body)
		p, mock = linkedMock(t)
	}
}

// G13: the Home PIN is in the one URL where plex.tv expects it, and nowhere else.
func TestHomePINStaysSecret(t *testing.T) {
	for name, f := range map[string]plextest.Fault{
		"broken": {Reset: true, Times: -1},
		"echoed": {Status: 500, Code: 1007, Message: "POST /switch?pin=TESTPIN+QXYZ failed", Times: -1},
		"named":  {Err: fmt.Errorf(`Post "https://plex.tv/switch?pin=TESTPIN+QXYZ": no`), Times: -1},
		"spaced": {Status: 400, Code: 1004, Message: "the PIN TESTPIN QXYZ is wrong", Times: -1},
		"wrong":  {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, carol := home(t)
				u := homeUser(t, w, carol)
				f.Path = "/api/v2/home/users/*/switch"
				w.plex.Inject(f)
				// No random identifier contains these letters.
				_, err := w.SwitchHomeUser(t.Context(), u, "TESTPIN QXYZ")
				require.Error(t, err)
				for _, out := range []string{err.Error(), fmt.Sprintf("%v %+v %#v", err, err, err), w.log.String(), w.doc(t)} {
					assert.NotContains(t, out, "TESTPIN")
					assert.NotContains(t, out, "QXYZ")
				}
			})
		})
	}
}

// plex.tv keeps one token for each account and client identifier. A profile whose
// token a switch has ended gets the new one, and no other profile does.
func TestSwitchRetiresToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, carol := home(t)
		theirs, bobs := w.Instance("carol"), w.Instance("bob")
		w.signIn(t, theirs, carol, plexauth.PinOptions{})
		w.signIn(t, bobs, w.bob, plexauth.PinOptions{})
		bob := mustSettings(t, bobs).AccountToken
		old := mustSettings(t, theirs).AccountToken
		token, err := w.SwitchHomeUser(t.Context(), homeUser(t, w, carol), "QXYZ")
		require.NoError(t, err)
		assert.NotEqual(t, old.Secret(), token.Secret())
		assert.Equal(t, token.Secret(), mustSettings(t, theirs).AccountToken.Secret())
		assert.Equal(t, bob.Secret(), mustSettings(t, bobs).AccountToken.Secret())
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, theirs, bobs} {
			_, err = p.Verify(t.Context())
			require.NoError(t, err)
		}
	})
}

// The UUID alone is enough to know whose token a switch has ended.
func TestSwitchByUUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, kid, _ := home(t)
		theirs := w.Instance("kid")
		w.signIn(t, theirs, kid, plexauth.PinOptions{})
		for _, uuid := range []string{kid.UUID, w.alice.UUID} { // the second is the login's own
			token, err := w.SwitchHomeUser(t.Context(), plexauth.HomeUser{UUID: uuid}, "")
			require.NoError(t, err)
			assert.False(t, token.IsZero())
		}
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, theirs} {
			_, err := p.Verify(t.Context())
			require.NoError(t, err)
		}
	})
}

// The error of a refusal for good does not say "try again later".
func TestSwitchRefused(t *testing.T) {
	for status, code := range map[int]int{403: 1009, 404: 1002} {
		p, mock := linkedMock(t)
		mock.RegisterResponder("POST", "https://plex.tv/api/v2/home/users/u7/switch", jsonAnswer(status, fmt.Sprintf(`{"errors":[{"code":%d,"message":"no","status":%d}]}`, code, status)))
		_, err := p.SwitchHomeUser(t.Context(), plexauth.HomeUser{ID: 7, UUID: "u7"}, "")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, fmt.Sprint("code ", code))
		assert.NotContains(t, err.Error(), "later")
	}
}

// An odd answer to a switch gives no token.
func TestSwitchOddAnswers(t *testing.T) {
	p, mock := linkedMock(t)
	_, err := p.SwitchHomeUser(t.Context(), plexauth.HomeUser{ID: 7}, "")
	require.ErrorContains(t, err, "UUID")
	u := plexauth.HomeUser{ID: 7, UUID: "u7"}
	const url = "https://plex.tv/api/v2/home/users/u7/switch"
	for _, body := range []string{``, `{}`, `null`, `[]`, `{"authToken":null}`, `{"authToken":""}`, `{"authToken":"a b"}`, `{"authToken":{}}`, `{"uuid":"u8","authToken":"TEST_other"}`, `{"id":8,"authToken":"TEST_other"}`, `<user authToken="TEST_x"/>`} {
		mock.RegisterResponder("POST", url, jsonAnswer(201, body))
		token, err := p.SwitchHomeUser(t.Context(), u, "")
		require.ErrorIs(t, err, plexauth.ErrUnavailable, body)
		assert.True(t, token.IsZero())
	}
	mock.RegisterResponder("POST", url, jsonAnswer(200, `{"id":"7","authToken":"TEST_seven"}`))
	token, err := p.SwitchHomeUser(t.Context(), u, "")
	require.NoError(t, err)
	assert.Equal(t, "TEST_seven", token.Secret())
	mock.RegisterResponder("POST", url, jsonAnswer(429, payload(t, "error-1003-rate-limit.json")))
	_, err = p.SwitchHomeUser(t.Context(), u, "")
	require.ErrorIs(t, err, plexauth.ErrRateLimited)
}

// This example gets the token of another member of the Plex Home, who has a PIN.
func ExamplePlexAuth_SwitchHomeUser() {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice"})
	plex.AddUser(plextest.User{Username: "carol", HomeAdmin: alice, HomePIN: "4711"})
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client()})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) })
	if err != nil {
		log.Fatal(err)
	}

	users, err := auth.HomeUsers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	carol := users[1]
	for _, pin := range []string{"", "0000", "4711"} {
		token, err := auth.SwitchHomeUser(ctx, carol, pin)
		switch {
		case errors.Is(err, plexauth.ErrHomePin) && pin == "":
			fmt.Println(carol.Title, "has a PIN: ask for it")
		case errors.Is(err, plexauth.ErrHomePin):
			fmt.Println("wrong, ask again")
		case err == nil:
			fmt.Println("a token for", carol.Title+":", token)
		}
	}
	// Output:
	// carol has a PIN: ask for it
	// wrong, ask again
	// a token for carol: [redacted]
}
