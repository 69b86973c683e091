package signin

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
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
}

func (f *flow) left() time.Duration { return time.Until(time.Unix(f.Expires, 0)) }

// live reports whether there is a sign-in to finish.
func (f *flow) live() bool { return f.Doc != nil && f.left() > 0 }

// reusable reports whether the person still has time to approve it.
func (f *flow) reusable() bool { return f.Doc != nil && f.left() >= time.Minute }

// again is the browser's next sign-in.
func (f *flow) again(callback string) *flow {
	now := time.Now()
	return &flow{
		ID: rand.Text(), Callback: callback, Expires: now.Add(lifetime).Unix(),
		Starts: append(recent(f.Starts, now), now.Unix()),
	}
}

// used is what stays when the sign-in is over.
func (f *flow) used() *flow { return &flow{Starts: f.Starts} }

// recent are the times that still count.
func recent(starts []int64, now time.Time) []int64 {
	var kept []int64
	for _, s := range starts {
		if now.Sub(time.Unix(s, 0)) < lifetime {
			kept = append(kept, s)
		}
	}
	return kept
}

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
	f.Doc, err = s.Load(context.Background(), plexauth.Namespace)
	return err
}

// sealer makes of a flow a text that only holders of the key can read or make.
// It is a function because a dump shows everything else: here the key.
type sealer func() cipher.AEAD

func newSealer(key []byte) sealer {
	derived, err := hkdf.Key(sha256.New, key, nil, "plexauth signin cookie 1", 32)
	if err != nil {
		panic(err) // only for a length that no hash can give
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic(err) // only for another key length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for another block size
	}
	return func() cipher.AEAD { return aead }
}

const cookieName = "plexauth_signin"

// secureName has the prefix that keeps sites of neighbouring names, and
// whoever sits in the network, from planting one.
const secureName = "__Host-" + cookieName

// open reads the browser's cookie. What is not ours is an empty flow.
func (h *Handler) open(r *http.Request) *flow {
	names := []string{secureName}
	if h.scheme(r) != "https" { // as far as this request shows: a proxy may say nothing of TLS
		names = append(names, cookieName)
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
	return f
}

// save gives the flow to the browser.
func (h *Handler) save(w http.ResponseWriter, r *http.Request, f *flow) {
	b, err := json.Marshal(f)
	if err != nil {
		return // never: plain fields, and a document that is JSON
	}
	secure := h.scheme(r) == "https"
	name := cookieName
	if secure {
		name = secureName
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: base64.RawURLEncoding.EncodeToString(h.seal().Seal(nil, nil, b, []byte(name))),
		Path: "/", MaxAge: int(lifetime / time.Second),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}
