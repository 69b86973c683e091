package signin_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/signin"
)

// forge makes a cookie of the cookies of two visitors, and of text.
func forge(kind uint8, one, other, text string, i, j uint16) string {
	cut := func(s string, i uint16) int { return int(i) % (len(s) + 1) }
	sealed := func(s string) []byte {
		b, _ := base64.RawURLEncoding.DecodeString(s)
		return b
	}
	switch kind % 5 {
	case 0:
		return text
	case 1:
		return one[:cut(one, i)] + other[cut(other, j):]
	case 2:
		return one[:cut(one, i)] + text + one[cut(one, j):]
	case 3: // the same with what is inside
		a, b := sealed(one), sealed(other)
		return base64.RawURLEncoding.EncodeToString(slices.Concat(a[:int(i)%(len(a)+1)], []byte(text), b[int(j)%(len(b)+1):]))
	}
	flipped := sealed(one)
	flipped[int(i)%len(flipped)] ^= byte(j)
	return base64.RawURLEncoding.EncodeToString(flipped)
}

// G20: no cookie but the handler's own is accepted, whatever it is made of. The browser that
// has it sees nothing of another visitor's sign-in, which goes on.
func FuzzCookie(f *testing.F) {
	f.Add(uint8(0), "e30", uint16(0), uint16(0), false)
	f.Add(uint8(0), "", uint16(0), uint16(0), false)
	f.Add(uint8(1), "", uint16(100), uint16(100), false)
	f.Add(uint8(2), "=", uint16(3), uint16(3), false)
	f.Add(uint8(2), "; x=", uint16(0), uint16(0), true)
	f.Add(uint8(3), "\x00", uint16(12), uint16(12), false)
	f.Add(uint8(4), "", uint16(40), uint16(1), false)
	f.Add(uint8(1), "", uint16(0), uint16(0), true) // the cookie of another app
	f.Fuzz(func(t *testing.T, kind uint8, text string, i, j uint16, isOtherApp bool) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(_ *world, o *signin.Options) { o.ReturnTo = []string{"/", "/victims-page"} })
			victim, other := w.browser(w), w.browser(w)
			if isOtherApp {
				other.host = "other.example"
			}
			q := victim.start(url.Values{"return": {"/victims-page"}})
			require.NoError(t, w.plex.Approve(q.Get("code"), w.alice))
			require.NoError(t, w.plex.Approve(other.start(nil).Get("code"), w.bob))
			name := victim.cookie().Name
			header := name + "=" + forge(kind, victim.cookie().Value, other.cookie().Value, text, i, j)
			forged := func(r *http.Request) { r.Header["Cookie"] = []string{header} }
			if isOwn(header, victim.cookie()) || !isOtherApp && isOwn(header, &http.Cookie{Name: name, Value: other.cookie().Value}) {
				return
			}
			asked := len(w.plex.Requests())
			attacker := w.browser(w)
			for _, r := range []struct{ method, path string }{{"GET", "/signin/"}, {"GET", "/signin/callback"}, {"POST", "/signin/finish"}} {
				rec := attacker.do(r.method, r.path, nil, forged)
				require.Equal(t, r.path == "/signin/", rec.Code == http.StatusOK, "%s: %d", r.path, rec.Code)
				require.NotContains(t, rec.Body.String(), "victims-page", r.path)
				require.NotContains(t, rec.Body.String(), `action="finish"`, r.path)
			}
			require.Len(t, w.plex.Requests(), asked)
			require.Empty(t, w.signedIn)
			require.NotEqual(t, q.Get("code"), attacker.start(nil, forged).Get("code"))

			require.Equal(t, "/victims-page", victim.post("/signin/finish").Header().Get("Location"))
			require.Len(t, w.signedIn, 1)
		})
	})
}

// isOwn reports whether a header has the text of c in a cookie of the same name, as the
// handler reads it.
func isOwn(header string, c *http.Cookie) bool {
	got, err := (&http.Request{Header: http.Header{"Cookie": {header}}}).Cookie(c.Name)
	if err != nil {
		return false
	}
	is, err := base64.RawURLEncoding.DecodeString(got.Value)
	own, _ := base64.RawURLEncoding.DecodeString(c.Value)
	return err == nil && bytes.Equal(is, own)
}

// G20: whatever "return" says, a browser ends where Options.ReturnTo allows, or the sign-in
// does not start.
func FuzzReturn(f *testing.F) {
	for _, to := range []string{
		"", "/", "/app/watchlist?x=1#y", "/app/../admin", "/app/%2e%2e/admin", "//evil.example", "/\\evil.example", "\t/app/", "https://other.example/in/x",
		"https://other.example@evil.example/in/", "https://OTHER.example:443/in/", "javascript:alert(1)", "/app/%2F%2e./", "https:/other.example/in/", "/exact", "/exact/", "///app/", "/app/\\evil",
	} {
		f.Add(to)
	}
	f.Fuzz(func(t *testing.T, to string) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(_ *world, o *signin.Options) {
				o.ReturnTo = []string{"/app/", "/exact", "https://other.example/in/"}
			})
			b := w.browser(w)
			rec := b.do(http.MethodPost, "/signin/start", url.Values{"return": {to}})
			if rec.Code == http.StatusBadRequest {
				require.Empty(t, b.cookies)
				return
			}
			require.Equal(t, http.StatusSeeOther, rec.Code)
			_, query, _ := strings.Cut(rec.Header().Get("Location"), "#?")
			values, err := url.ParseQuery(query)
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(values.Get("code"), w.alice))
			rec = b.post("/signin/finish")
			require.Equal(t, http.StatusSeeOther, rec.Code)
			host, at := landing(rec.Header().Get("Location"))
			isAllowed := host == "" && (at == "/exact" || strings.HasPrefix(at, "/app/")) || host == "other.example" && strings.HasPrefix(at, "/in/")
			require.True(t, isAllowed, "%q: %q leads to %q %q", to, rec.Header().Get("Location"), host, at)
		})
	})
}

// landing returns where a browser goes that is sent to location by https://app.example, as
// the URL standard says (url.spec.whatwg.org). The host is "" for the app's own.
func landing(location string) (host, at string) {
	s := strings.Trim(location, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	s = strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(s)
	s, _, _ = strings.Cut(s, "#")
	s, _, _ = strings.Cut(s, "?")
	scheme, rest, isAbsolute := strings.Cut(s, ":")
	switch {
	case isAbsolute && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http")):
		s = "//" + strings.TrimLeft(rest, "/")
	case isAbsolute && !strings.Contains(scheme, "/"):
		return "another scheme", s
	}
	if strings.HasPrefix(s, "//") {
		host, s, _ = strings.Cut(strings.TrimLeft(s, "/"), "/")
		s = "/" + s
		host = host[strings.LastIndex(host, "@")+1:]
		host = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(host), ":443"), ":80")
	}
	dots := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(s)
	clean := path.Clean(dots)
	if strings.HasSuffix(dots, "/") && clean != "/" {
		clean += "/"
	}
	return host, clean
}
