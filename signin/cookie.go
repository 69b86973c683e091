package signin

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	cookiePrefix = "plexauth_signin_"
	// hostPrefix makes browsers refuse the cookie if a neighbouring site or someone
	// in the network has set it.
	hostPrefix = "__Host-"
)

// A sealer returns the cipher that encrypts and authenticates cookies. It is a
// function because printing a Handler would otherwise print the key.
type sealer func() cipher.AEAD

// A cookieNamer returns the name of the cookie for the app's address.
type cookieNamer func(address string) string

func newSealer(key []byte) sealer {
	block, err := aes.NewCipher(derive(key, "plexauth signin cookie 1", 32))
	if err != nil {
		panic(err) // impossible: the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // impossible: AES has the right block size
	}
	return func() cipher.AEAD { return aead }
}

// newCookieNamer returns names that differ between the apps of one host. A browser
// sends a cookie to every port and every path of a host, and two cookies with one name
// overwrite each other.
func newCookieNamer(key []byte) cookieNamer {
	nameKey := derive(key, "plexauth signin cookie name 1", 32)
	return func(address string) string {
		return cookiePrefix + hex.EncodeToString(derive(nameKey, address, 6))
	}
}

// derive returns a key of size bytes for one purpose.
func derive(key []byte, purpose string, size int) []byte {
	derived, err := hkdf.Key(sha256.New, key, nil, purpose, size)
	if err != nil {
		panic(err) // impossible: only a very large size is an error
	}
	return derived
}

// cookieName returns the name of this app's cookie, without hostPrefix.
func (h *Handler) cookieName(r *http.Request) string {
	if h.external != nil {
		return h.name(h.external.String())
	}
	return h.name(strings.ToLower(r.Host) + directory(r))
}

// readCookie returns the attempt in the browser's cookie. It returns the zero attempt if
// there is no cookie, or one that was not encrypted with the key.
func (h *Handler) readCookie(r *http.Request) *attempt {
	plain := h.cookieName(r)
	names := []string{hostPrefix + plain}
	if h.scheme(r) != "https" { // or a proxy does not report https on this request
		names = append(names, plain)
	}
	for _, name := range names {
		if c, err := r.Cookie(name); err == nil {
			if a := h.unseal(c); a != nil {
				return a
			}
		}
	}
	return &attempt{}
}

// unseal returns the attempt in c, or nil.
func (h *Handler) unseal(c *http.Cookie) *attempt {
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return nil
	}
	b, err := h.seal().Open(nil, nil, sealed, []byte(c.Name))
	if err != nil {
		return nil
	}
	a := &attempt{}
	if json.Unmarshal(b, a) != nil {
		return nil
	}
	a.end = h.claims.endOf(a)
	return a
}

// writeCookie stores a in the browser's cookie. maxReturnBytes and maxCallbackBytes
// keep the cookie below the 4,096 bytes that browsers accept.
func (h *Handler) writeCookie(w http.ResponseWriter, r *http.Request, a *attempt) {
	b, err := marshalCompact(a)
	if err != nil {
		return // impossible: the fields are strings, numbers and valid JSON
	}
	secure := h.scheme(r) == "https"
	name := h.cookieName(r)
	if secure {
		name = hostPrefix + name
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: base64.RawURLEncoding.EncodeToString(h.seal().Seal(nil, nil, b, []byte(name))),
		Path: "/", MaxAge: int(maxAttemptAge / time.Second),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}

// marshalCompact returns v as JSON without escapes for HTML, which would turn each "&"
// of a query into six bytes.
func marshalCompact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
