package plexauth_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth"
)

// canaries are the secrets of a test, each recognizable wherever it turns up.
type canaries struct {
	mu    sync.Mutex
	names map[string]string // by secret
	codes map[string]bool   // of PINs: for people, but not for logs
}

func newCanaries() *canaries {
	return &canaries{names: map[string]string{}, codes: map[string]bool{}}
}

func (c *canaries) add(name, secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if secret != "" && c.names[secret] == "" {
		c.names[secret] = name
	}
}

// learn takes the secrets out of a stored namespace, and out of its profiles.
func (c *canaries) learn(doc []byte) {
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
	c.add("account token", block.AccountToken)
	c.add("server token", block.ServerToken)
	c.add("parked token", block.Pending.AccountToken)
	c.add("private key", block.Pending.Secret)
	c.add("private key", block.Device.Secret)
	if block.Pending.ID != 0 {
		c.add("PIN id", strconv.FormatInt(block.Pending.ID, 10))
		c.mu.Lock()
		c.codes[block.Pending.Code] = true
		c.mu.Unlock()
	}
	for _, b := range block.Instances {
		c.learn(b)
	}
}

// spellings are the ways in which a secret may show.
func spellings(secret string) []string {
	b := []byte(secret)
	start := b[:min(len(b), 10)]
	goBytes, decimal := fmt.Sprintf("%#v", start), strings.Trim(fmt.Sprint(start), "[]")
	all := []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"), strings.Trim(strconv.Quote(secret), `"`),
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		strings.TrimSuffix(strings.TrimPrefix(goBytes, "[]byte{"), "}"), decimal, strings.ReplaceAll(decimal, " ", ", "),
	}
	for i := range max(0, min(len(b), 25)-5) { // a dump has gaps and ends of lines
		spaced := fmt.Sprintf("% x", b[i:i+5])
		all = append(all, spaced, strings.ToUpper(spaced))
	}
	for shift := range 3 { // base64 of it within something else
		if len(b) > shift+6 {
			inner := b[shift : shift+(len(b)-shift)/3*3]
			all = append(all, base64.StdEncoding.EncodeToString(inner), base64.RawURLEncoding.EncodeToString(inner))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// anySecret matches what plextest makes and what is made for it, known or not.
var anySecret = regexp.MustCompile(`FAKE_[a-z]+-[A-Za-z0-9_-]{11,}|eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// A search looks for all spellings of all secrets at once.
type search struct {
	needles map[string]map[string]string // by their first eight bytes: spelling to name
	codes   *regexp.Regexp
}

func (c *canaries) search() *search {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &search{needles: map[string]map[string]string{}}
	for secret, name := range c.names {
		for _, spelling := range spellings(secret) {
			start := spelling[:8] // shorter ones are no canaries
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

// in names the secrets that a text shows. PIN codes count in a log.
func (s *search) in(text string, isLog bool) (found []string) {
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

// showsPIN reports whether a value has a Pin in it. Its ID is an exported
// number: where fmt cannot call its methods, as in an unexported field, and in
// a dump by reflection, it is seen.
func showsPIN(v any) bool {
	switch v := v.(type) {
	case *plexauth.Pin:
		return true
	case plexauth.Status:
		return v.Pending != nil
	}
	return false
}

// hides asserts that neither the log nor an error shows what the store holds or
// held.
func (w *world) hides(t *testing.T, held *canaries, err error) {
	t.Helper()
	held.learn([]byte(w.doc(t)))
	shown := w.log.String()
	if err != nil {
		shown += everyForm(err)
	}
	assert.Empty(t, held.search().in(shown, true))
}

// everyForm prints a value, alone and inside of other people's structs, in all
// ways that are in use.
func everyForm(v any) string {
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
	rec := &recorder{} // what a failing test prints
	switch v.(type) {
	case *plexauth.PlexAuth, plexauth.Options: // a dump would walk into the test's own transport
	default:
		if !showsPIN(v) {
			assert.Equal(rec, []any{v}, []any{nil}) // a diff of dumps by reflection
		}
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

// Every spelling of a secret is recognized, also inside of other text.
func TestCanariesAreRecognized(t *testing.T) {
	const secret = "TEST_canary-0123456789"
	c := newCanaries()
	c.add("canary", secret)
	c.add("home PIN", homePIN)
	for name, text := range map[string]string{
		"plain": secret, "quoted": fmt.Sprintf("%q", secret), "hex": fmt.Sprintf("%x", secret), "HEX": fmt.Sprintf("%X", secret),
		"bytes": fmt.Sprint([]byte(secret)), "Go bytes": fmt.Sprintf("%#v", []byte(secret)), "hex dump": hex.Dump([]byte("ab" + secret)),
		"spaced": fmt.Sprintf("% x", secret), "URL": url.Values{"pin": {homePIN}}.Encode(), "path": url.PathEscape(homePIN),
		"base64": base64.StdEncoding.EncodeToString([]byte("a" + secret)), "base64 more": base64.RawURLEncoding.EncodeToString([]byte("ab" + secret)),
		"JSON bytes": jsonText(map[string]any{"k": []byte("abc" + secret)}),
	} {
		assert.NotEmpty(t, c.search().in("before "+text+" after", false), name)
	}
	assert.NotEmpty(t, newCanaries().search().in("a token nobody knew, FAKE_tok-0123456789_", false))
	assert.Empty(t, c.search().in("nothing to see: TEST_canary-", false))
}
