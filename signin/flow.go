package signin

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
)

// flow is one browser's sign-in: what the cookie holds.
type flow struct {
	ID       string          `json:"id,omitempty"`
	Doc      json.RawMessage `json:"doc,omitempty"` // a store's namespace: client identifier and PIN
	Callback string          `json:"callback,omitempty"`
	Return   string          `json:"return,omitempty"`
	Expires  int64           `json:"expires,omitempty"` // Unix seconds
	Starts   []int64         `json:"starts,omitempty"`  // when this browser began sign-ins lately

	end time.Time // when the sign-in is over, approved or not, by a clock that cannot be set
}

// wallClock returns the date by this machine's clock. Tests set it.
var wallClock = func() time.Time { return time.Now().Round(0) }

func (f *flow) left() time.Duration { return time.Until(f.end) }

// endByDate returns the end of a flow that another process has begun. A clock that
// was set back since makes it no longer than a new one.
func (f *flow) endByDate() time.Time {
	return time.Now().Add(min(time.Unix(f.Expires, 0).Sub(wallClock()), lifetime))
}

// live reports whether there is a sign-in to finish.
func (f *flow) live() bool { return f.Doc != nil && f.left() > 0 }

// reusable reports whether the person still has time to approve it.
func (f *flow) reusable() bool { return f.Doc != nil && f.left() >= time.Minute }

// again is the browser's next sign-in.
func (f *flow) again(callback string) *flow {
	now := wallClock()
	return &flow{
		ID: rand.Text(), Callback: callback, Expires: now.Add(lifetime).Unix(), end: time.Now().Add(lifetime),
		Starts: append(recent(f.Starts, now), now.Unix()),
	}
}

// used is what stays when the sign-in is over.
func (f *flow) used() *flow { return &flow{Starts: f.Starts} }

// recent returns the times that still count. One that is still to come was written
// before the clock was set back, and would count for too long.
func recent(starts []int64, now time.Time) []int64 {
	var kept []int64
	for _, s := range starts {
		if left := untilForgotten(time.Unix(s, 0), now); left > 0 && left <= lifetime {
			kept = append(kept, s)
		}
	}
	return kept
}

// untilForgotten returns for how long a start at a time still counts.
func untilForgotten(at, now time.Time) time.Duration { return at.Add(lifetime).Sub(now) }

// store is a store that holds what the flow has so far.
func (f *flow) store() plexauth.ConfigStore {
	s := plexauth.NewMemoryStore()
	// A MemoryStore fails only with its context.
	_ = s.Update(context.Background(), plexauth.Namespace, func(json.RawMessage) (json.RawMessage, error) { return f.Doc, nil })
	return s
}

// keep takes what the store holds now.
func (f *flow) keep(s plexauth.ConfigStore, pin *plexauth.Pin) (err error) {
	f.Expires = min(f.Expires, pin.ExpiresAt.Unix())
	if end := f.endByDate(); f.Doc == nil && end.Before(f.end) {
		f.end = end
	}
	f.Doc, err = s.Load(context.Background(), plexauth.Namespace)
	return err
}

// A sealer makes a text of a flow that only holders of the key can read or
// make. It is a function because a dump shows everything else: here the key.
type sealer func() cipher.AEAD

// A namer makes the name of the cookie that a place of the app has.
type namer func(place string) string

func derive(key []byte, purpose string, size int) []byte {
	derived, err := hkdf.Key(sha256.New, key, nil, purpose, size)
	if err != nil {
		panic(err) // only for a length that no hash can give
	}
	return derived
}

func newSealer(key []byte) sealer {
	block, err := aes.NewCipher(derive(key, "plexauth signin cookie 1", 32))
	if err != nil {
		panic(err) // only for another key length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for another block size
	}
	return func() cipher.AEAD { return aead }
}

// newNamer keeps apps of one host apart: a browser sends a cookie to every port
// and every path of a host, and two cookies of one name overwrite each other.
func newNamer(key []byte) namer {
	named := derive(key, "plexauth signin cookie name 1", 32)
	return func(place string) string {
		return cookiePrefix + hex.EncodeToString(derive(named, place, 6))
	}
}

const cookiePrefix = "plexauth_signin_"

// securePrefix keeps neighbouring sites, and others in the network, from
// planting a cookie.
const securePrefix = "__Host-"

// cookieName returns the name of this app's cookie, without securePrefix.
func (h *Handler) cookieName(r *http.Request) string {
	if h.external != nil {
		return h.name(h.external.String())
	}
	return h.name(strings.ToLower(r.Host) + directory(r))
}

// open reads the browser's cookie. It returns an empty flow for a cookie that
// was not made here.
func (h *Handler) open(r *http.Request) *flow {
	plain := h.cookieName(r)
	names := []string{securePrefix + plain}
	if h.scheme(r) != "https" { // as far as this request shows: a proxy may say nothing of TLS
		names = append(names, plain)
	}
	for _, name := range names {
		if c, err := r.Cookie(name); err == nil {
			if f := h.unseal(c); f != nil {
				return f
			}
		}
	}
	return &flow{}
}

func (h *Handler) unseal(c *http.Cookie) *flow {
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return nil
	}
	b, err := h.seal().Open(nil, nil, sealed, []byte(c.Name))
	if err != nil {
		return nil
	}
	f := &flow{}
	if json.Unmarshal(b, f) != nil {
		return nil
	}
	f.end = h.counter.end(f)
	return f
}

// save gives the flow to the browser. The cookie stays below the 4,096 bytes
// that a browser takes, because longestReturn and longestCallback bound what a
// request puts into it.
func (h *Handler) save(w http.ResponseWriter, r *http.Request, f *flow) {
	b, err := compact(f)
	if err != nil {
		return // never: plain fields, and a document that is JSON
	}
	secure := h.scheme(r) == "https"
	name := h.cookieName(r)
	if secure {
		name = securePrefix + name
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: base64.RawURLEncoding.EncodeToString(h.seal().Seal(nil, nil, b, []byte(name))),
		Path: "/", MaxAge: int(lifetime / time.Second),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}

// compact is json.Marshal without the escapes for HTML, which make six bytes of
// each "&" of a query.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
