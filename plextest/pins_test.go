package plextest_test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

const gone = `{"errors":[{"code":1020,"message":"Code not found or expired","status":404}]}`

func TestPinFromCreationToToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		alice := srv.AddUser(plextest.User{Username: "alice"})
		a := newAPI(srv)

		p := a.createPin(t)
		assert.Greater(t, p.ID, int64(1)<<31, "ids do not fit 32 bits")
		assert.Regexp(t, `^[A-Z0-9]{4}$`, p.Code)
		assert.Equal(t, "Test App", p.Product)
		assert.Equal(t, "https://plex.tv/api/v2/pins/qr/"+p.Code, p.QR)
		assert.Equal(t, "test-client-0001", p.ClientIdentifier)
		assert.Equal(t, 900, *p.ExpiresIn)
		assert.Nil(t, p.AuthToken)
		assert.Nil(t, p.NewRegistration)
		created, err := time.Parse(time.RFC3339, p.CreatedAt)
		require.NoError(t, err)
		assert.True(t, created.Equal(time.Now()))
		assert.Equal(t, []string{p.Code}, srv.PendingCodes())

		path := fmt.Sprintf("/api/v2/pins/%d", p.ID)
		time.Sleep(24 * time.Second)
		status, body := a.do(t, "GET", path, "")
		require.Equal(t, http.StatusOK, status)
		again := decode[pin](t, body)
		assert.Equal(t, 876, *again.ExpiresIn, "expiresIn is the time left, not the lifetime")
		assert.Nil(t, again.AuthToken)

		require.NoError(t, srv.Approve(p.Code, alice))
		assert.Empty(t, srv.PendingCodes())
		assert.Error(t, srv.Approve(p.Code, alice), "the PIN is already approved")
		for range 2 {
			time.Sleep(time.Second)
			_, body = a.do(t, "GET", path, "")
			got := decode[pin](t, body)
			require.NotNil(t, got.AuthToken)
			assert.Equal(t, srv.Token(alice, a.clientID), *got.AuthToken)
			assert.Regexp(t, `^FAKE_[A-Za-z0-9_-]{15}$`, *got.AuthToken)
			assert.False(t, *got.NewRegistration)
		}

		time.Sleep(15 * time.Minute)
		status, body = a.do(t, "GET", path, "")
		assert.Equal(t, http.StatusNotFound, status)
		assert.JSONEq(t, gone, body)
		assert.Empty(t, srv.Violations())
	})
}

func TestStrongPins(t *testing.T) {
	for name, send := range map[string]func(a *api, t *testing.T) (int, string){
		"query": func(a *api, t *testing.T) (int, string) { return a.do(t, "POST", "/api/v2/pins?strong=true", "") },
		"form":  func(a *api, t *testing.T) (int, string) { return a.do(t, "POST", "/api/v2/pins", "strong=true") },
		"json":  func(a *api, t *testing.T) (int, string) { return a.do(t, "POST", "/api/v2/pins", `{"strong":true}`) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := plextest.NewServer()
			defer srv.Close()
			status, body := send(newAPI(srv), t)
			require.Equal(t, http.StatusCreated, status)
			p := decode[pin](t, body)
			assert.Regexp(t, `^[a-z0-9]{25}$`, p.Code)
			assert.Equal(t, 1800, *p.ExpiresIn)
			assert.Empty(t, srv.Violations())
		})
	}
}

// Existing clients ask for a strong code in several ways, and one sends "" as an
// empty body.
func TestPinBodies(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	a := newAPI(srv)
	for body, want := range map[string]struct {
		status int
		strong bool
	}{
		`{"strong":true}`:   {201, true},
		`{"strong":"true"}`: {201, true},
		`{"strong":"1"}`:    {201, true},
		`{"strong":false}`:  {201, false},
		`{}`:                {201, false},
		`""`:                {201, false},
		`[]`:                {201, false},
		`null`:              {201, false},
		`{"strong":`:        {400, false},
		`{"jwk":"a key"}`:   {400, false},
	} {
		r := a.new(t, "POST", "/api/v2/pins", body)
		r.Header.Set("Content-Type", "application/json")
		resp, answer := a.send(t, r)
		require.Equal(t, want.status, resp.StatusCode, "%s: %s", body, answer)
		if want.status == 201 {
			assert.Equal(t, want.strong, len(decode[pin](t, answer).Code) > 4, body)
		}
	}
}

func TestPinInXML(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		a := newAPI(srv)
		a.accept = "-"
		resp, body := a.send(t, a.new(t, "POST", "/api/v2/pins", ""))
		assert.Equal(t, http.StatusCreated, resp.StatusCode)
		assert.Contains(t, resp.Header.Get("Content-Type"), "application/xml")
		var p struct {
			XMLName   xml.Name `xml:"pin"`
			ID        int64    `xml:"id,attr"`
			Code      string   `xml:"code,attr"`
			Trusted   string   `xml:"trusted,attr"`
			CreatedAt string   `xml:"createdAt,attr"`
			AuthToken *string  `xml:"authToken,attr"`
			Location  struct {
				EU string `xml:"european_union_member,attr"`
			} `xml:"location"`
		}
		require.NoError(t, xml.Unmarshal([]byte(body), &p))
		assert.Len(t, p.Code, 4)
		assert.Equal(t, "0", p.Trusted)
		assert.Equal(t, "2000-01-01 00:00:00 UTC", p.CreatedAt)
		assert.Equal(t, "0", p.Location.EU)
		require.NotNil(t, p.AuthToken)
		assert.Empty(t, *p.AuthToken, "null is an empty attribute")

		status, body := a.do(t, "GET", "/api/v2/pins/1", "")
		assert.Equal(t, http.StatusNotFound, status)
		assert.Contains(t, body, `<errors><error code="1020" message="Code not found or expired" status="404"/></errors>`)

		// A suffix also selects the format.
		status, body = a.do(t, "POST", "/api/v2/pins.json", "")
		assert.Equal(t, http.StatusCreated, status)
		decode[pin](t, body)
	})
}

func TestIdentityFromHeaderQueryAndForm(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	a := newAPI(srv)
	bare := func(path, form string) (int, string) {
		r := a.new(t, "POST", path, form)
		r.Header.Del("X-Plex-Client-Identifier")
		r.Header.Del("X-Plex-Product")
		resp, body := a.send(t, r)
		return resp.StatusCode, body
	}
	status, body := bare("/api/v2/pins", "")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.JSONEq(t, `{"errors":[{"code":1000,"message":"X-Plex-Client-Identifier is missing","status":400}]}`, body)

	status, body = bare("/api/v2/pins?X-Plex-Client-Identifier=q", "")
	require.Equal(t, http.StatusCreated, status)
	p := decode[pin](t, body)
	assert.Equal(t, "q", p.ClientIdentifier)
	assert.Equal(t, "0", p.Product, "plex.tv sends 0 without a product")

	status, body = bare("/api/v2/pins", "X-Plex-Client-Identifier=f&X-Plex-Product=Form")
	require.Equal(t, http.StatusCreated, status)
	p = decode[pin](t, body)
	assert.Equal(t, "f", p.ClientIdentifier)
	assert.Equal(t, "Form", p.Product)

	assert.Equal(t, []string{
		"POST plex.tv/api/v2/pins: X-Plex-Client-Identifier is missing",
		"POST plex.tv/api/v2/pins: X-Plex-Product is missing (2 times)",
	}, srv.Violations())
}

func TestPinIsInvisibleToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		a := newAPI(srv)
		p := a.createPin(t)
		status, body := a.from("another").do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
		assert.Equal(t, http.StatusNotFound, status)
		assert.JSONEq(t, gone, body)
		assert.Equal(t, []string{"GET plex.tv/api/v2/pins/{id}: a PIN is read under another client identifier than it was made with"}, srv.Violations())
	})
}

func TestLink(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	a := newAPI(srv)
	p := a.createPin(t)
	other := a.from("phone").as(srv.IssueToken(alice, "phone"))

	status, body := a.do(t, "PUT", "/api/v2/pins/link", "code="+p.Code)
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.JSONEq(t, `{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`, body)
	status, body = other.do(t, "PUT", "/api/v2/pins/link", "code=9999999")
	assert.Equal(t, http.StatusNotFound, status)
	assert.JSONEq(t, gone, body)

	status, body = other.do(t, "PUT", "/api/v2/pins/link", "code="+p.Code)
	assert.Equal(t, http.StatusNoContent, status)
	assert.Empty(t, body)
	assert.NotEmpty(t, srv.Token(alice, a.clientID))

	_, body = a.do(t, "POST", "/api/v2/pins?strong=true", "")
	status, _ = other.do(t, "PUT", "/api/v2/pins/link.json", "code="+decode[pin](t, body).Code)
	assert.Equal(t, http.StatusNoContent, status, "PUT pins/link also accepts strong codes")
	assert.Empty(t, srv.Violations())
}

func TestApprovalRetiresTheOlderToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		alice, bob := srv.AddUser(plextest.User{Username: "alice"}), srv.AddUser(plextest.User{Username: "bob"})
		a := newAPI(srv)
		old := srv.IssueToken(alice, a.clientID)
		elsewhere := srv.IssueToken(alice, "another-device")
		bobs := srv.IssueToken(bob, a.clientID)

		require.NoError(t, srv.Approve(a.createPin(t).Code, alice))
		status, _ := a.as(old).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, http.StatusUnauthorized, status)
		for _, ok := range []*api{a.as(srv.Token(alice, a.clientID)), a.as(bobs), a.from("another-device").as(elsewhere)} {
			status, _ = ok.do(t, "GET", "/api/v2/user", "")
			assert.Equal(t, http.StatusOK, status)
		}
		assert.Empty(t, srv.Violations())
	})
}

func TestExpireAndErrorsOfApprove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		alice := srv.AddUser(plextest.User{Username: "alice"})
		a := newAPI(srv)
		p := a.createPin(t)
		assert.Error(t, srv.Approve("NOPE", alice))
		assert.Error(t, srv.Approve(p.Code, &plextest.User{Username: "stranger"}))
		assert.Error(t, srv.Approve(p.Code, nil))
		assert.Error(t, srv.Expire("NOPE"))
		require.NoError(t, srv.Expire(p.Code))
		assert.Error(t, srv.Approve(p.Code, alice))
		status, _ := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
		assert.Equal(t, http.StatusNotFound, status)
	})
}

func TestPinLifetime(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	srv.SetPinLifetime(time.Minute, 0)
	a := newAPI(srv)
	assert.Equal(t, 60, *a.createPin(t).ExpiresIn)
	_, body := a.do(t, "POST", "/api/v2/pins?strong=1", "")
	assert.Equal(t, 1800, *decode[pin](t, body).ExpiresIn)
}

func TestClockMovesDatesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		srv.SetClock(-72 * time.Hour)
		a := newAPI(srv)
		resp, body := a.send(t, a.new(t, "POST", "/api/v2/pins", ""))
		p := decode[pin](t, body)
		assert.Equal(t, "1999-12-29T00:15:00Z", p.ExpiresAt)
		assert.Equal(t, "Wed, 29 Dec 1999 00:00:00 GMT", resp.Header.Get("Date"))
		assert.Equal(t, 900, *p.ExpiresIn)
		time.Sleep(14 * time.Minute)
		status, _ := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
		assert.Equal(t, http.StatusOK, status)
	})
}

func TestQRCodeNeedsNoIdentity(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	a := newAPI(srv)
	p := a.createPin(t)
	resp, err := srv.Client().Get(p.QR)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, "image/png", resp.Header.Get("Content-Type"))
	assert.Empty(t, srv.Violations())
}

func TestSecretsRepeatUnlessRandomized(t *testing.T) {
	code := func(prepare func(*plextest.Server)) string {
		srv := plextest.NewServer()
		defer srv.Close()
		prepare(srv)
		p := newAPI(srv).createPin(t)
		return fmt.Sprint(p.ID, " ", p.Code)
	}
	first := code(func(*plextest.Server) {})
	assert.Equal(t, first, code(func(*plextest.Server) {}))
	assert.NotEqual(t, first, code((*plextest.Server).Randomize))
	assert.Regexp(t, regexp.MustCompile(`^7\d{9} `), first)
}
