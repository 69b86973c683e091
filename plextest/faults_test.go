package plextest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

func TestFaultAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		fault   plextest.Fault
		status  int
		content string
		body    string
	}{
		"code":             {plextest.Fault{Code: 1003}, 429, "application/json; charset=utf-8", `{"errors":[{"code":1003,"message":"API rate limit exceeded","status":429}]}`},
		"code with status": {plextest.Fault{Code: 1003, Status: 503}, 503, "application/json; charset=utf-8", `{"errors":[{"code":1003,"message":"API rate limit exceeded","status":503}]}`},
		"unknown code":     {plextest.Fault{Code: 4711, Message: "odd"}, 400, "application/json; charset=utf-8", `{"errors":[{"code":4711,"message":"odd","status":400}]}`},
		"html":             {plextest.Fault{Status: 502, Body: "<html>", ContentType: "text/html"}, 502, "text/html", "<html>"},
		"empty":            {plextest.Fault{Status: 200}, 200, "", ""},
		"redirect":         {plextest.Fault{Redirect: "https://plex.tv/elsewhere"}, 302, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := plextest.NewServer()
			defer srv.Close()
			for _, base := range []string{"https://plex.tv", srv.URL()} {
				srv.Inject(test.fault)
				a := newAPI(srv)
				a.base = base
				if base == srv.URL() {
					a.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				}
				a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				resp, body := a.send(t, a.new(t, "POST", "/api/v2/pins", ""))
				assert.Equal(t, test.status, resp.StatusCode)
				assert.Equal(t, test.content, resp.Header.Get("Content-Type"))
				assert.Equal(t, test.body, body)
				assert.Equal(t, test.fault.Redirect, resp.Header.Get("Location"))
				assert.Empty(t, srv.PendingCodes(), "the request has no effect")
				status, _ := a.do(t, "POST", "/api/v2/pins", "")
				assert.Equal(t, http.StatusCreated, status, "the fault applies once")
				for _, code := range srv.PendingCodes() {
					require.NoError(t, srv.Expire(code))
				}
			}
		})
	}
}

func TestFaultChoosesRequests(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	a := newAPI(srv)
	srv.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Host: "plex.tv", Skip: 1, Times: 2, Status: 500})
	get := func(url string) int {
		status, _ := a.do(t, "GET", url, "")
		return status
	}
	assert.Equal(t, http.StatusCreated, statusOf(a.do(t, "POST", "/api/v2/pins", "")))
	assert.Equal(t, 404, get("https://clients.plex.tv/api/v2/pins/1"))
	assert.Equal(t, 401, get("/api/v2/user"))
	assert.Equal(t, []int{404, 500, 500, 404}, []int{get("/api/v2/pins/1"), get("/api/v2/pins/2"), get("/api/v2/pins/3"), get("/api/v2/pins/4")})

	srv.Inject(plextest.Fault{Times: -1, Status: 500})
	assert.Equal(t, []int{500, 500}, []int{get("/api/v2/user"), get("/api/v2/ping")})
	srv.ResetFaults()
	assert.Equal(t, 401, get("/api/v2/user"))
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		srv.Inject(plextest.Fault{Times: -1, For: time.Hour, Status: 503})
		a := newAPI(srv)
		time.Sleep(59 * time.Minute)
		assert.Equal(t, 503, statusOf(a.do(t, "GET", "/api/v2/user", "")))
		time.Sleep(time.Minute)
		assert.Equal(t, 401, statusOf(a.do(t, "GET", "/api/v2/user", "")))
	})
}

func TestFaultHeaders(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	for _, base := range []string{"https://plex.tv", srv.URL()} {
		srv.Inject(plextest.Fault{
			Header:      http.Header{"Retry-After": {"7"}, "Date": {"Mon, 01 Jan 2001 00:00:00 GMT"}},
			DropHeaders: []string{"content-type"},
		})
		a := newAPI(srv)
		a.base = base
		resp, _ := a.send(t, a.new(t, "POST", "/api/v2/pins", ""))
		assert.Equal(t, http.StatusCreated, resp.StatusCode, "a fault with headers only does not replace the answer")
		assert.Equal(t, "7", resp.Header.Get("Retry-After"))
		assert.Equal(t, "Mon, 01 Jan 2001 00:00:00 GMT", resp.Header.Get("Date"))
		assert.Empty(t, resp.Header.Values("Content-Type"))
		srv.Inject(plextest.Fault{DropHeaders: []string{"Date"}})
		resp, _ = a.send(t, a.new(t, "POST", "/api/v2/pins", ""))
		assert.Empty(t, resp.Header.Values("Date"))
	}
}

func TestBrokenConnections(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	dns := &net.DNSError{Err: "no such host", Name: "plex.tv", IsNotFound: true}
	for _, base := range []string{"https://plex.tv", srv.URL()} {
		a := newAPI(srv)
		a.base = base
		if base == srv.URL() {
			a.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		}
		for _, test := range []struct {
			fault     plextest.Fault
			effect    bool
			inProcess error
			socket    error
		}{
			{plextest.Fault{Reset: true}, false, syscall.ECONNRESET, syscall.ECONNRESET},
			{plextest.Fault{ResetAfter: true}, true, syscall.ECONNRESET, syscall.ECONNRESET},
			{plextest.Fault{Truncate: true}, true, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
			{plextest.Fault{ResetBody: true}, true, syscall.ECONNRESET, syscall.ECONNRESET},
			{plextest.Fault{Err: dns}, false, dns, io.EOF},
		} {
			srv.Inject(test.fault)
			resp, err := a.client.Do(a.new(t, "POST", "/api/v2/pins", ""))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			want := test.inProcess
			if base == srv.URL() {
				want = test.socket
			}
			require.ErrorIs(t, err, want, "%+v", test.fault)
			codes := srv.PendingCodes()
			assert.Equal(t, test.effect, len(codes) == 1, "%+v", test.fault)
			for _, code := range codes {
				require.NoError(t, srv.Expire(code))
			}
		}
	}
	var operation *net.OpError
	srv.Inject(plextest.Fault{Reset: true})
	_, err := srv.Client().Get("https://plex.tv/")
	require.ErrorAs(t, err, &operation)
	assert.Equal(t, "read", operation.Op)
}

func TestSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		a := newAPI(srv)
		start := time.Now()
		srv.Inject(plextest.Fault{Delay: 3 * time.Second})
		assert.Equal(t, 201, statusOf(a.do(t, "POST", "/api/v2/pins", "")))
		assert.Equal(t, 3*time.Second, time.Since(start))

		start = time.Now()
		srv.Inject(plextest.Fault{Body: "12345", Drip: time.Second})
		_, body := a.do(t, "POST", "/api/v2/pins", "")
		assert.Equal(t, "12345", body)
		assert.GreaterOrEqual(t, time.Since(start), 5*time.Second)
	})
}

func TestHangsEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		a := newAPI(srv)
		for _, fault := range []plextest.Fault{{Hang: true}, {Delay: time.Hour}, {Drip: time.Hour}, {Endless: true, Drip: time.Second}} {
			start := time.Now()
			srv.Inject(fault)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			resp, err := a.client.Do(a.new(t, "POST", "/api/v2/pins", "").WithContext(ctx))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 10*time.Second, time.Since(start))
			cancel()
		}

		a.client.Timeout = 5 * time.Second
		srv.Inject(plextest.Fault{Hang: true})
		_, err := a.client.Do(a.new(t, "POST", "/api/v2/pins", ""))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
	})
}

func TestEndlessBody(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	for _, client := range []*http.Client{srv.Client(), {}} {
		srv.Inject(plextest.Fault{Endless: true})
		resp, err := client.Get(srv.URL() + "/api/v2/pins/1")
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 3<<20))
		assert.NoError(t, err)
		assert.EqualValues(t, 3<<20, n)
		resp.Body.Close()
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	srv := plextest.NewServer()
	srv.Inject(plextest.Fault{Hang: true, Times: -1})
	errs := make(chan error, 2)
	for _, base := range []string{"https://plex.tv", srv.URL()} {
		client := srv.Client()
		if base == srv.URL() {
			client = &http.Client{Transport: &http.Transport{}}
		}
		go func() {
			_, err := client.Get(base + "/api/v2/ping")
			errs <- err
		}()
	}
	require.Eventually(t, func() bool { return len(srv.Requests()) == 2 }, 5*time.Second, time.Millisecond)
	srv.Close()
	srv.Close()
	assert.Error(t, <-errs)
	assert.Error(t, <-errs)
	_, err := srv.Client().Get("https://plex.tv/")
	assert.ErrorIs(t, err, syscall.ECONNREFUSED, "a closed fake refuses connections")
}

func TestQuirks(t *testing.T) {
	five := 5
	for name, test := range map[string]struct {
		quirks plextest.Quirks
		check  func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User)
	}{
		"Expire200Null": {plextest.Quirks{Expire200Null: true}, func(t *testing.T, srv *plextest.Server, a *api, _ *plextest.User) {
			p := a.createPin(t)
			require.NoError(t, srv.Expire(p.Code))
			status, body := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
			assert.Equal(t, 200, status)
			assert.Zero(t, *decode[pin](t, body).ExpiresIn)
			assert.Nil(t, decode[pin](t, body).AuthToken)
		}},
		"ClaimedExpired": {plextest.Quirks{ClaimedExpired: true}, func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			p := a.createPin(t)
			require.NoError(t, srv.Approve(p.Code, alice))
			_, body := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
			got := decode[pin](t, body)
			assert.NotNil(t, got.AuthToken)
			assert.Zero(t, *got.ExpiresIn)
		}},
		"ConsumeOnRead": {plextest.Quirks{ConsumeOnRead: true}, func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			p := a.createPin(t)
			require.NoError(t, srv.Approve(p.Code, alice))
			_, body := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
			assert.NotNil(t, decode[pin](t, body).AuthToken)
			assert.Equal(t, 404, statusOf(a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")))
		}},
		"Create200": {plextest.Quirks{Create200: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			assert.Equal(t, 200, statusOf(a.do(t, "POST", "/api/v2/pins", "")))
		}},
		"ExpiresIn": {plextest.Quirks{ExpiresIn: &five}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			assert.Equal(t, 5, *a.createPin(t).ExpiresIn)
		}},
		"Omit": {plextest.Quirks{OmitExpiresIn: true, OmitDates: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			p := a.createPin(t)
			assert.Nil(t, p.ExpiresIn)
			assert.Empty(t, p.ExpiresAt+p.CreatedAt)
		}},
		"StringIDs": {plextest.Quirks{StringIDs: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			_, body := a.do(t, "POST", "/api/v2/pins", "")
			assert.Regexp(t, `^\{"id":"7\d{9}",`, body)
		}},
		"NullOptionals": {plextest.Quirks{NullOptionals: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			_, body := a.do(t, "POST", "/api/v2/pins", "")
			assert.Contains(t, body, `"location":null`)
			assert.Contains(t, body, `"createdAt":null`)
			assert.NotContains(t, body, `"code":null`)
		}},
		"ExtraFields": {plextest.Quirks{ExtraFields: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			_, body := a.do(t, "POST", "/api/v2/pins", "")
			assert.Contains(t, decode[map[string]any](t, body), "novelty")
		}},
		"OldShape": {plextest.Quirks{OldShape: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			_, body := a.do(t, "POST", "/api/v2/pins", "")
			assert.NotContains(t, body, "qr")
			assert.Contains(t, body, `"postal_code":10001`)
			assert.Regexp(t, `"createdAt":"[^"]*\.\d{3}Z"`, body)
		}},
		"OmitErrorStatus": {plextest.Quirks{OmitErrorStatus: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			_, body := a.do(t, "GET", "/api/v2/user", "")
			assert.Equal(t, `{"errors":[{"code":1001,"message":"User could not be authenticated"}]}`, body)
		}},
		"XMLAlways": {plextest.Quirks{XMLAlways: true}, func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			_, body := a.do(t, "POST", "/api/v2/pins", "")
			assert.Contains(t, body, "<pin ")
		}},
		"CORS": {plextest.Quirks{CORS: true}, func(t *testing.T, srv *plextest.Server, a *api, _ *plextest.User) {
			r := a.new(t, "OPTIONS", "/api/v2/pins", "")
			r.Header = http.Header{"Access-Control-Request-Headers": {"accept,x-plex-product"}}
			resp, _ := a.send(t, r)
			assert.Equal(t, 204, resp.StatusCode)
			assert.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
			assert.Equal(t, "accept,x-plex-product", resp.Header.Get("Access-Control-Allow-Headers"))
			resp, _ = a.send(t, a.new(t, "POST", "/api/v2/pins", ""))
			assert.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
			srv.SetQuirks(plextest.Quirks{})
			resp, _ = a.send(t, a.new(t, "POST", "/api/v2/pins", ""))
			assert.Empty(t, resp.Header.Values("Access-Control-Allow-Origin"))
			assert.Empty(t, srv.Violations())
		}},
		"LongTokens": {plextest.Quirks{LongTokens: true}, func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			token := srv.IssueToken(alice, a.clientID)
			assert.Len(t, token, 300)
			assert.Equal(t, 200, statusOf(a.as(token).do(t, "GET", "/api/v2/user", "")))
		}},
		"ApprovalDelay": {plextest.Quirks{ApprovalDelay: 2 * time.Second}, func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			p := a.createPin(t)
			require.NoError(t, srv.Approve(p.Code, alice))
			for i := range 3 {
				_, body := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
				assert.Equal(t, i == 2, decode[pin](t, body).AuthToken != nil)
				time.Sleep(time.Second)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := plextest.NewServer()
				defer srv.Close()
				srv.SetQuirks(test.quirks)
				test.check(t, srv, newAPI(srv), srv.AddUser(plextest.User{Username: "alice"}))
			})
		})
	}
}
