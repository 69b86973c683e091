package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// G12: the sign-ins of visitors are limited, per browser and in total.
func TestCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		for range 20 { // a double click, a reload
			b.start(nil)
		}
		assert.Len(t, w.plex.PendingCodes(), 1, "a browser keeps the sign-in that it has")

		for range 4 {
			q := b.start(nil)
			require.NoError(t, w.plex.Approve(q.Get("code"), w.eve))
			require.Equal(t, http.StatusForbidden, b.post("/signin/finish").Code)
			time.Sleep(time.Second)
		}
		b.start(nil)
		require.NoError(t, w.plex.Approve(b.start(nil).Get("code"), w.eve))
		b.post("/signin/finish")
		rec := b.post("/signin/start")
		assert.Equal(t, http.StatusTooManyRequests, rec.Code, "the sixth of this browser")
		assert.NotEmpty(t, rec.Header().Get("Retry-After"))

		refused := 0
		for range 200 {
			if w.browser(w).post("/signin/start").Code == http.StatusTooManyRequests {
				refused++
			}
		}
		assert.Equal(t, 200-95, refused, "100 in ten minutes, five of them from the first browser")
		assert.Len(t, w.plex.PendingCodes(), 95)
		time.Sleep(10 * time.Minute)
		b.start(nil)
	})
}

// G12: a start counts even if its response was lost, because plex.tv may have made a PIN.
func TestCapsLost(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"the connection breaks": {ResetAfter: true},
		"the visitor leaves":    {Drip: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *world, o *signin.Options) { o.MaxStarts = 20 })
				fault.Method, fault.Path, fault.Times = http.MethodPost, "/api/v2/pins", -1
				w.plex.Inject(fault)
				asked := len(w.plex.Requests())
				start := func(b *browser) int {
					ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer leave()
					return b.post("/signin/start", func(r *http.Request) { *r = *r.WithContext(ctx) }).Code
				}
				one := w.browser(w)
				for range 5 {
					start(one)
				}
				if fault.ResetAfter { // else the browser never gets the cookie that counts
					assert.Equal(t, http.StatusTooManyRequests, start(one), "the sixth of this browser")
				}
				for range 30 {
					start(w.browser(w))
				}
				assert.Len(t, w.plex.Requests(), asked+20)
			})
		})
	}
}

// A start does not count if plex.tv certainly made no PIN. A failed start never ends the
// sign-in that the browser already has.
func TestCapsRefused(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"no connection":   {Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}},
		"plex.tv refuses": {Status: http.StatusForbidden, Code: 1009},
		"plex.tv is down": {Status: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *world, o *signin.Options) { o.MaxStarts = 1 })
				fault.Method, fault.Path, fault.Times = http.MethodPost, "/api/v2/pins", -1
				w.plex.Inject(fault)
				b := w.browser(w)
				for range 10 {
					assert.NotEqual(t, http.StatusTooManyRequests, b.post("/signin/start").Code)
				}
				w.plex.ResetFaults()
				b.start(nil)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		q := b.start(nil)
		time.Sleep(9*time.Minute + 10*time.Second) // too late to show its PIN again
		w.plex.Inject(plextest.Fault{Method: http.MethodPost, Path: "/api/v2/pins", ResetAfter: true})
		require.Equal(t, http.StatusBadGateway, b.post("/signin/start").Code)
		require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
	})
}

// G12: one 429 pauses all visitors' sign-ins, but no longer than a minute, whatever
// Retry-After says.
func TestRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Code: 1003, Times: -1, Header: http.Header{"Retry-After": {"999999"}}})
		require.Equal(t, http.StatusTooManyRequests, w.browser(w).post("/signin/start").Code)
		asked := len(w.plex.Requests())
		for range 10 {
			require.Equal(t, http.StatusTooManyRequests, w.browser(w).post("/signin/start").Code)
		}
		assert.Len(t, w.plex.Requests(), asked)
		w.plex.ResetFaults()
		time.Sleep(time.Minute)
		w.browser(w).start(nil)
	})
	synctest.Test(t, func(t *testing.T) { // a pause lasts at least five seconds
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 429, Header: http.Header{"Retry-After": {"1"}}, Times: -1})
		w.browser(w).post("/signin/start")
		assert.Equal(t, "5", w.browser(w).post("/signin/start").Header().Get("Retry-After"))
	})
	synctest.Test(t, func(t *testing.T) { // a shorter pause does not end a longer one
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 429, Header: http.Header{"Retry-After": {"35"}}, Delay: time.Second})
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 429, Header: http.Header{"Retry-After": {"50"}}})
		var first sync.WaitGroup
		first.Go(func() { w.browser(w).post("/signin/start") })
		synctest.Wait()
		w.browser(w).post("/signin/start")
		first.Wait()
		assert.Equal(t, "49", w.browser(w).post("/signin/start").Header().Get("Retry-After"))
	})
}

// G12: a 429 to any request after the approval pauses all visitors' sign-ins too. During
// the pause plex.tv is not asked. A sign-in that was not approved yet can be finished
// afterwards.
func TestRateLimitedOnTheWayBack(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		used bool          // the 429 comes when the sign-in can no longer be used
		late time.Duration // from the return of the browser to the approval and the 429
	}{
		"first poll": {path: "/api/v2/pins/*"},
		"later poll": {path: "/api/v2/pins/*", late: 2500 * time.Millisecond},
		"account":    {path: "/api/v2/user", used: true},
		"policy":     {path: "/api/v2/resources", used: true},
		"revoke":     {path: "/api/v2/users/signout", used: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				b, other := w.browser(w), w.browser(w)
				q := b.start(url.Values{"return": {"/"}})
				other.start(nil)
				go func() {
					time.Sleep(c.late)
					w.plex.Inject(plextest.Fault{Path: c.path, Status: 429, Header: http.Header{"Retry-After": {"30"}}})
					assert.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
				}()
				synctest.Wait()
				rec := b.post("/signin/finish")
				began := time.Now()
				if name != "revoke" { // which does not concern the visitor
					assert.Equal(t, http.StatusTooManyRequests, rec.Code)
					assert.Equal(t, "30", rec.Header().Get("Retry-After"))
					assert.Contains(t, rec.Body.String(), "in 30 seconds.")
					assert.Equal(t, !c.used, strings.Contains(rec.Body.String(), `action="finish"`))
				}
				asked := len(w.plex.Requests())
				time.Sleep(20 * time.Second)
				for _, b := range []*browser{b, other} {
					rec := b.post("/signin/finish")
					if c.used && b != other {
						assert.Equal(t, http.StatusGone, rec.Code)
						continue
					}
					assert.Equal(t, http.StatusTooManyRequests, rec.Code)
					assert.Equal(t, "10", rec.Header().Get("Retry-After"))
				}
				assert.Equal(t, http.StatusTooManyRequests, w.browser(w).post("/signin/start").Code)
				assert.Len(t, w.plex.Requests(), asked)
				time.Sleep(10 * time.Second)
				assert.Equal(t, 30*time.Second, time.Since(began))
				assert.Equal(t, http.StatusAccepted, other.post("/signin/finish").Code)
				if !c.used {
					assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
					assert.Len(t, w.signedIn, 1)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // the visitor waits for the end of a short pause
		w := newWorld(t)
		b, _ := w.approved(w, w.alice)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins/*", Status: 429, Header: http.Header{"Retry-After": {"7"}}})
		began := time.Now()
		assert.Equal(t, http.StatusSeeOther, b.post("/signin/finish").Code)
		assert.Equal(t, 7*time.Second, time.Since(began))
	})
}

// G12: one client can use up only half of the starts, even if it has many ports and
// addresses.
func TestCapsOfOneClient(t *testing.T) {
	forwarded := func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") }
	for name, c := range map[string]struct {
		from func(n int) string
		key  func(*http.Request) string
		many bool // from is a different client each time
	}{
		"one address":          {from: func(int) string { return "198.51.100.66:40000" }},
		"ports":                {from: func(n int) string { return fmt.Sprintf("198.51.100.66:%d", 40000+n) }},
		"a network of IPv6":    {from: func(n int) string { return fmt.Sprintf("[2001:db8:1:2:%x::%x]:443", n, n) }},
		"IPv4 written as IPv6": {from: func(n int) string { return []string{"198.51.100.66:1", "[::ffff:198.51.100.66]:1"}[n%2] }},
		"with zones":           {from: func(n int) string { return fmt.Sprintf("[fe80::1%%eth%d]:1", n) }},
		"without a port":       {from: func(n int) string { return []string{"2001:db8::1", "2001:db8::2"}[n%2] }},
		"no address":           {from: func(int) string { return "@" }},
		"one ClientKey":        {from: func(n int) string { return fmt.Sprintf("10.0.0.%d:1", n) }, key: func(*http.Request) string { return "x" }},
		"addresses":            {from: func(n int) string { return fmt.Sprintf("198.51.100.%d:1", n) }, many: true},
		"networks of IPv6":     {from: func(n int) string { return fmt.Sprintf("[2001:db8:1:%x::1]:443", n) }, many: true},
		"untrusted header":     {from: func(int) string { return "10.0.0.1:1" }},
		"header as ClientKey":  {from: func(int) string { return "10.0.0.1:1" }, key: forwarded, many: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *world, o *signin.Options) { o.MaxStarts, o.ClientKey = 20, c.key })
				start := func(from string, n int) *httptest.ResponseRecorder {
					b := w.browser(w)
					b.address = from
					return b.post("/signin/start", func(r *http.Request) { r.Header.Set("X-Forwarded-For", fmt.Sprint(n)) })
				}
				started := 0
				for n := range 30 {
					if start(c.from(n), n).Code == http.StatusSeeOther {
						started++
					}
					time.Sleep(time.Second)
				}
				if c.many {
					assert.Equal(t, 20, started, "the limit for all clients still holds")
					return
				}
				assert.Equal(t, 10, started)
				rec := start(c.from(0), 0)
				assert.Equal(t, http.StatusTooManyRequests, rec.Code)
				assert.Equal(t, "570", rec.Header().Get("Retry-After"))
				if c.key == nil {
					assert.Equal(t, http.StatusSeeOther, start("203.0.113.9:1", 99).Code)
				}
				time.Sleep(570 * time.Second)
				assert.Equal(t, http.StatusSeeOther, start(c.from(0), 0).Code)
			})
		})
	}
}

// A start that certainly made no PIN no longer counts for its own client, even if another
// client has started a sign-in since.
func TestCapsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) { o.MaxStarts = 4 })
		start := func(address string) int {
			b := w.browser(w)
			b.address = address
			return b.post("/signin/start").Code
		}
		w.plex.Inject(plextest.Fault{Method: http.MethodPost, Path: "/api/v2/pins", Status: http.StatusForbidden, Code: 1009, Delay: time.Second})
		var refused sync.WaitGroup
		refused.Go(func() { start("198.51.100.1:1") })
		synctest.Wait()
		require.Equal(t, http.StatusSeeOther, start("198.51.100.2:1"))
		refused.Wait()
		assert.Equal(t, http.StatusSeeOther, start("198.51.100.2:1"))
		assert.Equal(t, http.StatusTooManyRequests, start("198.51.100.2:1"))
		assert.Equal(t, http.StatusSeeOther, start("198.51.100.1:1"))
		assert.Equal(t, http.StatusSeeOther, start("198.51.100.1:1"))
	})
}
