package homeuser_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/homeuser"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// What is stored: nothing but a token, no server, and a server whose owner is not known.
const (
	onlyToken = `{"account_token":"TEST_t"}`
	alone     = `{"account_token":"TEST_t","client_id":"app"}`
	unknown   = `{"account_token":"TEST_t","client_id":"app","machine_id":"BOX","server_url":"https://box.example:32400"}`
)

const rightPIN = "1234"

var (
	errOff    = &plextv.Failure{Op: "revoke", Where: "plex.tv", Sentinel: fault.ErrUnavailable, Temporary: true}
	errNever  = &plextv.Failure{Op: "revoke", Where: "plex.tv", StatusCode: 400, Sentinel: fault.ErrUnavailable}
	errList   = errors.New("no list")
	errReader = errors.New("no account")
	errStore  = errors.New("no store")
)

// login is the login of the account 7, in whose Home are Ben, who has a PIN, and Cleo.
type login struct {
	t         *testing.T
	mu        sync.Mutex // guards document, revoking, revoked and warnings
	document  string
	servers   []plextv.MediaServer
	storeDown time.Time // until then Load fails
	account   error     // of ReadAccount
	users     error     // of HomeUsers
	switching error     // of SwitchHomeUser, if the PIN is right
	revoking  []error   // of Revoke, in turn; then it succeeds
	readUsers func()    // is called by HomeUsers
	switched  func()    // is called by SwitchHomeUser
	onRevoke  func()    // is called by Revoke
	listed    int       // how often Servers was called
	revoked   []time.Duration
	warnings  int
	began     time.Time
}

// newLogin returns the login in document. Its account is known, and is not read again,
// unless only the token is stored.
func newLogin(t *testing.T, document string) *login {
	l := &login{t: t, document: document, began: time.Now()}
	if document != onlyToken {
		require.NoError(t, l.ReadAccount(t.Context()))
		l.account = errReader
	}
	return l
}

func (l *login) Load(context.Context) (*profile.Profile, error) {
	if time.Now().Before(l.storeDown) {
		return nil, errStore
	}
	return l.load(), nil
}

func (l *login) load() *profile.Profile {
	l.mu.Lock()
	defer l.mu.Unlock()
	stored, err := profile.Parse([]byte(l.document))
	require.NoError(l.t, err)
	return stored.Document().Profile(profile.DefaultInstance)
}

func (l *login) Update(_ context.Context, edit func(*profile.Profile) error, _ ...secret.Value) error {
	p := l.load()
	err := edit(p)
	if err == nil {
		stored, _ := p.Stored()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.document = string(stored.Bytes())
	}
	return err
}

func (l *login) ReadAccount(ctx context.Context) error {
	if l.account != nil {
		return l.account
	}
	return l.Update(ctx, func(p *profile.Profile) error {
		p.Adopt(profile.Owner{ID: 7, Name: "Anna", Username: "anna"})
		return nil
	})
}

func (l *login) HomeUsers(context.Context) ([]plextv.HomeUser, error) {
	if l.readUsers != nil {
		l.readUsers()
	}
	if l.users != nil {
		return nil, l.users
	}
	return []plextv.HomeUser{{ID: 7, UUID: "anna", Title: "Anna"}, {ID: 8, UUID: "ben", Title: "Ben", Protected: true}, {ID: 9, UUID: "cleo", Title: "Cleo"}}, nil
}

func (l *login) Servers(context.Context) ([]plextv.MediaServer, error) {
	l.listed++
	if l.servers == nil {
		return nil, errList
	}
	return l.servers, nil
}

func (l *login) SwitchHomeUser(_ context.Context, _ plextv.HomeUser, pin string) (secret.Value, string, error) {
	if pin != rightPIN {
		return secret.Value{}, "", fault.ErrHomePin
	}
	if l.switched != nil {
		l.switched()
	}
	if l.switching != nil {
		return secret.Value{}, "", l.switching
	}
	return secret.New("TEST_ben"), "app", nil
}

func (l *login) Revoke(_ context.Context, t secret.Value, clientID string) error {
	assert.Equal(l.t, "TEST_ben", t.Secret())
	assert.Equal(l.t, "app", clientID)
	if l.onRevoke != nil {
		l.onRevoke()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked = append(l.revoked, time.Since(l.began))
	if len(l.revoking) == 0 {
		return nil
	}
	err := l.revoking[0]
	l.revoking = l.revoking[1:]
	return err
}

func (l *login) Warn(context.Context, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warnings++
}

// The choice is saved with the server's own number of the user, if that can be known.
func TestChoose(t *testing.T) {
	own := []plextv.MediaServer{{MachineID: "BOX", Owned: true}}
	bens := []plextv.MediaServer{{MachineID: "BOX", OwnerID: 8}}
	for name, c := range map[string]struct {
		document  string
		servers   []plextv.MediaServer
		uuid, pin string
		complete  bool
		number    int64 // of the user at the server; 0: unknown
		err       error
	}{
		"no server":                   {alone, nil, "cleo", "", true, 9, nil},
		"the account's own server":    {unknown, own, "cleo", "", true, 9, nil},
		"back to the account":         {unknown, own, "anna", "", true, 1, nil},
		"the user's own server":       {unknown, bens, "ben", rightPIN, true, 1, nil},
		"plex.tv lists no server":     {unknown, nil, "cleo", "", false, 0, nil},
		"a wrong PIN":                 {alone, nil, "ben", "0000", false, 0, fault.ErrHomePin},
		"a missing PIN":               {alone, nil, "ben", "", false, 0, fault.ErrHomePin},
		"nobody":                      {alone, nil, "dora", "", false, 0, plextv.ErrNoSuchUser},
		"the account is not known":    {onlyToken, nil, "cleo", "", true, 9, nil},
		"a PIN that is not asked for": {alone, nil, "cleo", "0000", true, 9, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogin(t, c.document)
				l.servers = c.servers
				complete, err := homeuser.Choose(t.Context(), t.Context(), l, c.uuid, c.pin)
				assert.ErrorIs(t, err, c.err)
				assert.Equal(t, c.complete, complete)
				p, _ := l.Load(t.Context())
				assert.Equal(t, c.number, p.ServerUserID())
				synctest.Wait()
				assert.NotContains(t, l.document, rightPIN)
			})
		})
	}
}

// A choice is not complete if a step fails.
func TestChooseFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*login)
		err   error
	}{
		"the store":   {func(l *login) { l.storeDown = time.Now().Add(time.Hour) }, errStore},
		"the account": {func(l *login) { l.document, l.account = onlyToken, errReader }, errReader},
		"the members": {func(l *login) { l.users = errList }, errList},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogin(t, alone)
			c.spoil(l)
			complete, err := homeuser.Choose(t.Context(), t.Context(), l, "cleo", "")
			assert.ErrorIs(t, err, c.err)
			assert.False(t, complete)
		})
	}
}

// The account is read if its number or its name is not known.
func TestAccountIsRead(t *testing.T) {
	for _, document := range []string{
		onlyToken,
		`{"account_token":"TEST_t","username":"Anna"}`,
		`{"account_token":"TEST_t","_cloud":{"account_id":7,"bound_to":"` + secret.Fingerprint(secret.New("TEST_t")) + `"}}`,
	} {
		l := &login{t: t, document: document, began: time.Now()}
		_, err := homeuser.Choose(t.Context(), t.Context(), l, "cleo", "")
		require.NoError(t, err, document)
		assert.Equal(t, int64(7), l.load().AccountID(), document)
		assert.Equal(t, "Anna", l.load().AccountName(), document)
	}
}

// plex.tv is asked for the servers only if the owner of the saved one is not known.
func TestServersAreListedIfNeeded(t *testing.T) {
	const known = `{"account_token":"TEST_t","machine_id":"BOX","server_url":"https://box","_server_account":{"account":7,"url":"https://box","machine_id":"BOX","owner":8}}`
	for document, want := range map[string]int{alone: 0, unknown: 1, known: 0} {
		l := newLogin(t, document)
		_, err := homeuser.Choose(t.Context(), t.Context(), l, "cleo", "")
		require.NoError(t, err)
		assert.Equal(t, want, l.listed, document)
	}
}

// Nothing is saved if the account is not known, or if another login was made meanwhile.
func TestChooseSavesNothing(t *testing.T) {
	l := newLogin(t, onlyToken)
	l.account = errReader
	before := l.document
	_, err := homeuser.Choose(t.Context(), t.Context(), l, "cleo", "")
	assert.ErrorIs(t, err, errReader)
	assert.Equal(t, before, l.document)

	l = newLogin(t, alone)
	other := `{"account_token":"TEST_other","_cloud":{"account_id":70}}`
	l.readUsers = func() { l.document = other }
	_, err = homeuser.Choose(t.Context(), t.Context(), l, "cleo", "")
	assert.ErrorIs(t, err, profile.ErrChanged)
	assert.Equal(t, other, l.document)
}

// After three wrong PINs the next one has to wait, even the right one. A missing PIN does
// not count.
func TestWrongPINsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, alone)
		try := func(pin string) error {
			complete, err := homeuser.Choose(t.Context(), t.Context(), l, "ben", pin)
			assert.Equal(t, err == nil, complete)
			return err
		}
		for _, pin := range []string{"", "0001", "0002", "", "0003"} {
			assert.ErrorIs(t, try(pin), fault.ErrHomePin)
		}
		var wrong profile.WrongPINsError
		require.ErrorAs(t, try(rightPIN), &wrong)
		time.Sleep(wrong.Wait)
		assert.NoError(t, try(rightPIN))
		for _, pin := range []string{"0001", "0002", rightPIN} { // the right one has begun the count again
			assert.Equal(t, pin == rightPIN, try(pin) == nil)
		}
	})
}

// A PIN that could not be checked does not count as a wrong one.
func TestFailedChecksDoNotPause(t *testing.T) {
	l := newLogin(t, alone)
	l.switching = errOff
	for range 5 {
		_, err := homeuser.Choose(t.Context(), t.Context(), l, "ben", rightPIN)
		assert.ErrorIs(t, err, errOff)
	}
}

// The token of a PIN check is ended at plex.tv, however long that takes, unless a profile
// uses it or plex.tv would answer the same again.
func TestTokenOfACheckEnds(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		revoking []error
		holds    bool
		down     time.Duration // of the store, from the switch
		revoked  []time.Duration
		warnings int
	}{
		"at once":                 {nil, false, 0, []time.Duration{0}, 0},
		"after failures":          {[]error{errOff, errOff, errOff}, false, 0, []time.Duration{0, 1 * s, 3 * s, 7 * s}, 1},
		"plex.tv will not":        {[]error{errNever}, false, 0, []time.Duration{0}, 1},
		"plex.tv will not, later": {[]error{errOff, errNever}, false, 0, []time.Duration{0, 1 * s}, 2},
		"after the store failed":  {nil, false, 2 * s, []time.Duration{3 * s}, 1},
		"a profile has the token": {nil, true, 0, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				document := alone
				if c.holds {
					document = `{"account_token":"TEST_t","client_id":"app","instances":{"two":{"account_token":"TEST_ben","client_id":"app"}}}`
				}
				l := newLogin(t, document)
				l.revoking = c.revoking
				l.switched = func() { l.storeDown = time.Now().Add(c.down) }
				_, err := homeuser.Choose(t.Context(), t.Context(), l, "ben", rightPIN)
				require.NoError(t, err)
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, c.revoked, l.revoked)
				assert.Equal(t, c.warnings, l.warnings)
			})
		})
	}
}

// What fails because background has ended is not worth a warning.
func TestEndOfBackgroundIsNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, alone)
		l.revoking = []error{errOff}
		background, end := context.WithCancel(t.Context())
		l.onRevoke = end
		_, err := homeuser.Choose(t.Context(), background, l, "ben", rightPIN)
		require.NoError(t, err)
		synctest.Wait()
		assert.Len(t, l.revoked, 1)
		assert.Zero(t, l.warnings)
	})
}

// The end of background ends the tries, and the end of the request's context does not.
func TestBackgroundEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, alone)
		for range 20 {
			l.revoking = append(l.revoking, errOff)
		}
		request, answered := context.WithCancel(t.Context())
		background, end := context.WithCancel(t.Context())
		_, err := homeuser.Choose(request, background, l, "ben", rightPIN)
		require.NoError(t, err)
		answered()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Len(t, l.revoked, 2)
		end()
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Len(t, l.revoked, 2)
	})
}
