// Package canary checks that no secret leaks from a test. It finds secrets in
// any output and any encoding, and prints values in every usual way. The tests
// of every package that holds secrets use it.
package canary

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth"
)

// Set holds the secrets of a test. It is safe for concurrent use.
type Set struct {
	mu    sync.Mutex
	names map[string]string // secret to name
	codes map[string]bool   // PIN codes: people may see them, logs may not
}

// New returns an empty Set.
func New() *Set {
	return &Set{names: map[string]string{}, codes: map[string]bool{}}
}

// Add adds a secret under name. The secret must have at least eight bytes. A
// secret that is added twice keeps its first name.
func (c *Set) Add(name, secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if secret != "" && c.names[secret] == "" {
		c.names[secret] = name
	}
}

// Names returns the secrets and their names.
func (c *Set) Names() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.names)
}

// Codes returns the PIN codes in the set, sorted.
func (c *Set) Codes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.codes))
}

// Learn adds the secrets of a stored namespace and of all its profiles. It
// ignores a document that is not JSON.
func (c *Set) Learn(doc []byte) {
	var block struct {
		AccountToken string `json:"account_token"`
		ServerToken  string `json:"pms_token"`
		Pending      struct {
			ID           int64  `json:"id"`
			Code         string `json:"code"`
			AccountToken string `json:"account_token"`
			Secret       string `json:"secret"`
		} `json:"_pending_pin"`
		Device struct {
			Secret string `json:"secret"`
		} `json:"_device"`
		Instances map[string]json.RawMessage `json:"instances"`
	}
	if json.Unmarshal(doc, &block) != nil {
		return
	}
	c.Add("account token", block.AccountToken)
	c.Add("server token", block.ServerToken)
	c.Add("parked token", block.Pending.AccountToken)
	c.Add("private key", block.Pending.Secret)
	c.Add("private key", block.Device.Secret)
	if block.Pending.ID != 0 {
		c.Add("PIN id", strconv.FormatInt(block.Pending.ID, 10))
		c.mu.Lock()
		c.codes[block.Pending.Code] = true
		c.mu.Unlock()
	}
	for _, b := range block.Instances {
		c.Learn(b)
	}
}

// Client wraps next and adds every token and PIN id that it sends to the set.
// A dump of the client by reflection stops at the wrapper and shows no secret.
func (c *Set) Client(next *http.Client) *http.Client {
	return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		c.Add("sent token", r.Header.Get("X-Plex-Token"))
		if id, ok := strings.CutPrefix(r.URL.Path, "/api/v2/pins/"); ok {
			c.Add("PIN id", id)
		}
		return next.Transport.RoundTrip(r)
	})}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// spellings returns the encodings in which secret can appear in a text.
func spellings(secret string) []string {
	b := []byte(secret)
	start := b[:min(len(b), 10)]
	goBytes, decimal := fmt.Sprintf("%#v", start), strings.Trim(fmt.Sprint(start), "[]")
	all := []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"), strings.Trim(strconv.Quote(secret), `"`),
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		strings.TrimSuffix(strings.TrimPrefix(goBytes, "[]byte{"), "}"), decimal, strings.ReplaceAll(decimal, " ", ", "),
	}
	for i := range max(0, min(len(b), 25)-5) { // a hex dump has gaps and line breaks
		spaced := fmt.Sprintf("% x", b[i:i+5])
		all = append(all, spaced, strings.ToUpper(spaced))
	}
	for shift := range 3 { // base64 of a longer text that contains the secret
		if len(b) > shift+6 {
			inner := b[shift : shift+(len(b)-shift)/3*3]
			all = append(all, base64.StdEncoding.EncodeToString(inner), base64.RawURLEncoding.EncodeToString(inner))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// anySecret matches every token that plextest makes and every JWT, whether or
// not it is in a Set.
var anySecret = regexp.MustCompile(`FAKE_[a-z]+-[A-Za-z0-9_-]{11,}|eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// Search finds all spellings of all secrets of a Set in one pass.
type Search struct {
	needles map[string]map[string]string // first eight bytes to spelling to name
	codes   *regexp.Regexp
}

// Search returns a Search for the secrets that are now in the set.
func (c *Set) Search() *Search {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Search{needles: map[string]map[string]string{}}
	for secret, name := range c.names {
		for _, spelling := range spellings(secret) {
			start := spelling[:8] // Add requires eight bytes
			if s.needles[start] == nil {
				s.needles[start] = map[string]string{}
			}
			s.needles[start][spelling] = name
		}
	}
	if len(c.codes) > 0 {
		s.codes = regexp.MustCompile(`\b(` + strings.Join(slices.Sorted(maps.Keys(c.codes)), "|") + `)\b`)
	}
	return s
}

// In returns the name and the surroundings of every secret in text, and of any
// other token of the fake plex.tv. It reports PIN codes only if isLog is set.
func (s *Search) In(text string, isLog bool) (found []string) {
	around := func(name string, from, to int) {
		found = append(found, name+" in …"+strings.ToValidUTF8(text[max(0, from-100):min(len(text), to+20)], "?")+"…")
	}
	for i := range max(0, len(text)-7) {
		for spelling, name := range s.needles[text[i:i+8]] {
			if strings.HasPrefix(text[i:], spelling) {
				around(name, i, i+len(spelling))
			}
		}
	}
	if found == nil && (strings.Contains(text, "FAKE_") || strings.Contains(text, "eyJ")) {
		if at := anySecret.FindStringIndex(text); at != nil {
			around("some token", at[0], at[1])
		}
	}
	if isLog && s.codes != nil {
		if at := s.codes.FindStringIndex(text); at != nil {
			around("PIN code", at[0], at[1])
		}
	}
	return found
}

// showsPIN reports whether v contains a Pin. A Pin's ID is an exported number,
// so it shows wherever fmt cannot call the Pin's methods: in an unexported
// field, and in a dump by reflection.
func showsPIN(v any) bool {
	switch v := v.(type) {
	case *plexauth.Pin:
		return true
	case plexauth.Status:
		return v.Pending != nil
	}
	return false
}

// Forms prints v in every usual way: with fmt, testify, JSON and slog, both
// alone and inside other structs.
func Forms(v any) string {
	type exported struct{ V any }
	type hidden struct{ v any }
	var b strings.Builder
	all := []any{v, exported{v}, []any{&exported{v}}}
	if !showsPIN(v) {
		all = append(all, hidden{v}, map[string]hidden{"k": {v}})
	}
	for _, v := range all {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
	}
	rec := &recorder{} // records what a failing test would print
	if !showsPIN(v) {
		assert.Equal(rec, []any{v}, []any{nil}) // prints a diff of dumps by reflection
	}
	if err, ok := v.(error); ok {
		assert.ErrorIs(rec, err, io.ErrShortBuffer) // prints the whole chain
		assert.ErrorAs(rec, err, new(*fs.PathError))
		assert.NoError(rec, err)
	}
	b.WriteString(rec.text)
	if j, err := json.Marshal(v); err == nil {
		b.Write(j)
		b.WriteByte('\n')
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
	slog.New(plexauth.NewLogHandler(func(_, _, m string) { b.WriteString(m + "\n") })).Info("m", "v", v)
	return b.String()
}

type recorder struct{ text string }

func (r *recorder) Errorf(format string, args ...any) { r.text += fmt.Sprintf(format, args...) }
