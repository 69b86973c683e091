package profile_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// padding makes a document so large that the process remembers where its profiles are.
var padding = `"padding":"` + strings.Repeat("x", 20_000) + `"`

// idsOf returns the ids of the profiles in an object, read with encoding/json.
func idsOf(t require.TestingT, raw []byte) []string {
	o, err := ordered.Parse(raw)
	require.NoError(t, err)
	ids := []string{profile.DefaultInstance}
	others, err := ordered.Parse(o.Get("instances"))
	if err != nil {
		return ids
	}
	for _, m := range others.Members() {
		var last map[string]json.RawMessage
		if m.Key != profile.DefaultInstance && profile.NormalizeInstance(m.Key) == m.Key && json.Unmarshal(others.Get(m.Key), &last) == nil && len(last) > 0 {
			ids = append(ids, m.Key)
		}
	}
	return ids
}

// requireParsed compares a parsed document with what package ordered reads in it.
func requireParsed(t require.TestingT, raw []byte) {
	before := bytes.Clone(raw)
	s, err := profile.Parse(raw)
	_, want := ordered.Parse(raw)
	require.Equal(t, want, err)
	require.Equal(t, before, raw)
	if err != nil {
		return
	}
	require.Equal(t, string(raw), string(s.Bytes()))
	require.Equal(t, unique(idsOf(t, raw)), slices.Sorted(slices.Values(s.Document().IDs())))

	// An edit changes one block and nothing else but white space.
	for _, id := range []string{"P1", "new \"profile\""} {
		d := s.Document()
		p := d.Profile(id)
		p.Create()
		p.SetServerToken(secret.New("TEST_server"))
		now, changed := d.Stored()
		require.True(t, changed)
		got := now.Bytes()
		base, err := ordered.Parse(raw)
		require.NoError(t, err)
		others, err := ordered.Parse(base.Get("instances"))
		if err != nil {
			others = &ordered.Object{}
		}
		edited, err := ordered.Parse(got)
		require.NoError(t, err)
		editedOthers, err := ordered.Parse(edited.Get("instances"))
		require.NoError(t, err)
		block := editedOthers.Get(id)
		require.Contains(t, string(block), `"TEST_server"`)
		others.Set(id, block)
		base.Set("instances", others.Bytes())
		require.Equal(t, string(base.Bytes()), string(got))
		require.Equal(t, string(raw), string(s.Bytes()), "a Stored does not change")
	}
}

func unique(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// Documents are read as before, whatever the process remembers of others that look alike.
func TestParseAlike(t *testing.T) {
	instances := []string{
		`{}`, ` { } `, `{"P1":{"x":1}}`, `{"P1":{"x":1},"P2":{"x":2}}`, `{"P2":{"x":2},"P1":{"x":1}}`, `{"P2":{"x":2}}`, `{"P1":{"x":12},"P2":{"x":2}}`, `{"P1":7,"P2":{"x":2}}`, `{"P1":77,"P2":{"x":2}}`,
		`{"P1":7.5}`, `{"P1":7 }`, `{"P1":7e1,"P2":1}`, `{"P1":7`, `{"P1":7}}`, `{"P1":7,}`, `{,"P2":{"x":2}}`, `{"P1":{"x":1},,"P2":{"x":2}}`, `{"P1":{"x":1}"P2":{"x":2}}`, `{"P1":{"x":1},"P2":{"x":2}]`,
		`{"P1":{"x":1} ,  "P2" : {"x":2}}`, "{\n  \"P1\": {\n    \"x\": 1\n  },\n  \"P2\": {\n    \"x\": 2\n  }\n}", `{"P1":{"x":1},"P1":{"x":2}}`, `{"P1":{"x":1},"P1":{}}`, `{"P1":{},"P1":{"x":1}}`, `{"P\u0031":{"x":1}}`,
		`{"P1":{"x":"\ud800"}}`, "{\"P1\":{\"x\":\"\xff\"}}", "{\"P\xff\":{\"x\":1}}", `{"default":{"x":1},"P1:80":{"x":1}," P1":{"x":1},"":{"x":1}}`, `[]`, `7`, `null`, `"x"`, ``, `7}`, `{"P1":{"x":1};"P2":{"x":2}}`, `{"P1":{"x":1},"P1":{"x":2},"P2":{"x":2}}`,
		`{"P1":` + strings.Repeat("[", 9_998) + strings.Repeat("]", 9_998) + `}`, `{"P1":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `}`,
	}
	forms := []string{
		`{` + padding + `,"instances":%s}`, `{"instances":%s,` + padding + `}`, `{` + padding + `, "instances" : %s , "z":1}`, `{"instances":%s}`, `{` + padding + `,"inst\u0061nces":%s}`,
		`{"instances":{"P9":{"x":1}},` + padding + `,"instances":%s}`, `{"instances":%s,` + padding + `,"instances":{"P9":{"x":1}}}`, "\xef\xbb\xbf{" + padding + `,"instances":%s}`, `{` + padding + `,"instances":%s} x`,
	}
	for range 2 {
		for _, i := range rand.Perm(len(instances)) {
			for _, form := range forms {
				requireParsed(t, fmt.Appendf(nil, form, instances[i]))
			}
		}
	}
}

// A profile is not taken for the one that is remembered if its value is a number that goes on,
// if it stands twice, or if the document ends with it.
func TestParseAfterAnother(t *testing.T) {
	document := func(instances string) []byte { return []byte(`{` + padding + `,"instances":` + instances + `}`) }
	for _, c := range [][2]string{
		{`{"P1":7,"P2":{}}`, `{"P1":70,"P2":{}}`}, {`{"P1":7,"P2":{}}`, `{"P1":79,"P2":{}}`}, {`{"P1":7,"P2":{}}`, `{"P1":7.5,"P2":{}}`},
		{`{"P1":7,"P2":{}}`, `{"P1":7e1,"P2":{}}`}, {`{"P1":7,"P2":{}}`, `{"P1":7E1,"P2":{}}`},
		{`{"P1":{"x":1},"P1":{"x":2},"P2":{}}`, `{"P1":{"x":1},"P1":{"x":2},"P2":{}}`},
	} {
		requireParsed(t, document(c[0]))
		requireParsed(t, document(c[1]))
	}
	whole := document(`{"P1":{"x":1},"P2":{"x":2}}`)
	requireParsed(t, whole)
	requireParsed(t, whole[:bytes.Index(whole, []byte(`,"P2"`))])
	requireParsed(t, whole[:len(whole)-2])
}

// A change of the default profile leaves the other profiles as they are spelled, wherever they
// stand and however often.
func TestEditBesideOthers(t *testing.T) {
	const edit = `"pms_token":"TEST_s","pms_token_server":"http://box"`
	for _, others := range []string{
		`"instances":{ "P" : {"x": 1.0} }`, `"instances":[{}]`, `"instances":7`,
		`"instances":{"P":{"x":1}},"instances":{"Q":{"x":1}}`, `"instances":7,"instances":{"Q":{"x":1}}`,
	} {
		got := edited(t, `{"server_url":"http://box",`+others+`,"pms_token":"","pms_token_server":""}`, "default", func(p *profile.Profile) { p.SetServerToken(secret.New("TEST_s")) })
		assert.Equal(t, `{"server_url":"http://box",`+others+`,`+edit+`}`, got)
	}
	twice := `{"instances":{"P":{"x":1}},"instances":{"Q":{"x":1}}}`
	assert.Equal(t, []string{"default", "Q"}, parse(t, twice).IDs())
	assert.Equal(t, `{"instances":{"P":{"x":1}},"instances":{"Q":{"x":1,"machine_id":"m1"}}}`, edited(t, twice, "Q", func(p *profile.Profile) { p.SetMachine("m1") }))
}

func FuzzParseAlike(f *testing.F) {
	f.Add([]byte(`{"P1":{"x":1},"P2":{"x":2}}`), []byte(`{"P1":{"x":1},"P2":{"x":3}}`))
	f.Add([]byte(`{"P1":{"x":1},"P2":7}`), []byte(`{"P0":{},"P1":{"x":1},"P2":77}`))
	f.Add([]byte(`{"P1":{"x":1},"P2":7},"z":{`), []byte(`{"P2":{},"P1":1},"instances":{"P1":{}}`))
	f.Fuzz(func(t *testing.T, one, other []byte) {
		for _, instances := range [][]byte{one, other, one} {
			requireParsed(t, slices.Concat([]byte(`{`+padding+`,"instances":`), instances, []byte(`}`)))
		}
	})
}

// many is a document with many profiles, of which some have an account, a client identifier or
// a token in common.
type many struct {
	ids    []string
	blocks map[string]string
}

func (m *many) put(id, block string) {
	if _, ok := m.blocks[id]; !ok {
		m.ids = slices.Insert(m.ids, rand.IntN(len(m.ids)+1), id)
	}
	m.blocks[id] = block
}

func (m *many) remove(id string) {
	delete(m.blocks, id)
	m.ids = slices.DeleteFunc(m.ids, func(other string) bool { return other == id })
}

// text returns the document. With space it has white space in each block, so that none of them
// is like one that was read before.
func (m *many) text(space string) string {
	var members []string
	for _, id := range m.ids {
		members = append(members, string(ordered.String(id))+":"+strings.Replace(m.blocks[id], "{", "{"+space, 1))
	}
	return withFingerprints(`{"client_id":"app",` + padding + `,"instances":{` + strings.Join(members, ",") + `}}`)
}

// anyBlock returns a profile.
func anyBlock() string {
	token := fmt.Sprintf("TEST_%d", rand.IntN(40))
	account := 1 + rand.IntN(20)
	bound := fmt.Sprintf(`"_cloud":{"account_id":%d,"bound_to":"{fp:%s}"}`, account, token)
	return []string{
		`{}`, `7`, `{"x":1}`, `{"account_token":""}`,
		fmt.Sprintf(`{"account_token":%q}`, token),
		fmt.Sprintf(`{"account_token":%q,%s}`, token, bound),
		fmt.Sprintf(`{"account_token":%q,%s,"client_id":"other"}`, token, bound),
		fmt.Sprintf(`{"account_token":%q,%s,"_rejected":"{fp:%[1]s}"}`, token, bound),
		fmt.Sprintf(`{"account_token":%q,"_cloud":{"account_id":%d,"bound_to":"{fp:TEST_gone}"}}`, token, account),
		fmt.Sprintf(`{"account_token":%q,%s,"_pending_pin":{"id":7,"code":"ABCD","client_id":"app","created":%d}}`, token, bound, 1<<40),
		fmt.Sprintf(`{"account_token":%q,%s,"_device":{"client_id":"dev%d","kid":"k","secret":"half","bound_to":"{fp:%[1]s}"}}`, token, bound, rand.IntN(5)),
	}[rand.IntN(11)]
}

// rulesOf returns what the rules say of a profile among the others.
func rulesOf(t *testing.T, text, id string) map[string]any {
	t.Helper()
	got := map[string]any{}
	do := func(name string, rule func(p *profile.Profile) any) {
		s, err := profile.Parse([]byte(text))
		require.NoError(t, err)
		d := s.Document()
		got[name] = rule(d.Profile(id))
		var edited any
		require.NoError(t, json.Unmarshal([]byte(encoded(d)), &edited))
		got[name+", then"] = edited
	}
	names := func(list []*profile.Profile) []string {
		var ids []string
		for _, p := range list {
			ids = append(ids, p.ID)
		}
		return ids
	}
	token := func(n int) secret.Value { return secret.New(fmt.Sprintf("TEST_%d", n)) }
	do("IDs", func(p *profile.Profile) any { return p.IDs() })
	do("OthersHash", func(p *profile.Profile) any { return p.OthersHash() })
	do("OthersSharingToken", func(p *profile.Profile) any { return names(p.OthersSharingToken()) })
	for n := range 5 {
		name := func(rule string) string { return fmt.Sprint(rule, " ", n) }
		do(name("Holders"), func(p *profile.Profile) any { return names(p.Holders(token(n))) })
		do(name("ReplaceRetired"), func(p *profile.Profile) any {
			return []any{p.ReplaceRetired(token(n), profile.Owner{ID: int64(n)}, "app"), p.AccountToken().Secret()}
		})
		do(name("PassOn"), func(p *profile.Profile) any { return p.PassOn(secret.New("TEST_next"), int64(n), "app") })
		do(name("PassOnToAll"), func(p *profile.Profile) any { return p.PassOnToAll(secret.New("TEST_next"), int64(n), "other") })
		do(name("KeyFor"), func(p *profile.Profile) any {
			_, err := p.KeyFor(token(n), "app", true)
			p.DropDevice("app") // it is another one each time
			return fmt.Sprint(err)
		})
		do(name("EnsureClientID"), func(p *profile.Profile) any { return p.EnsureClientID(fmt.Sprint("dev", n)) != fmt.Sprint("dev", n) })
	}
	for _, clientID := range []string{"app", "other", "dev1"} {
		do("UnidentifiedTokens "+clientID, func(p *profile.Profile) any {
			var all []string
			for _, u := range p.UnidentifiedTokens(clientID) {
				all = append(all, u.Instance+" "+u.Token.Secret()+" "+u.ClientID)
			}
			return all
		})
		do("WouldRetire "+clientID, func(p *profile.Profile) any { return p.WouldRetire(clientID) })
	}
	do("an edit and then rules", func(p *profile.Profile) any {
		before := p.OthersHash()
		p.PassOn(secret.New("TEST_39"), 3, "app")
		others := slices.DeleteFunc(p.IDs(), func(other string) bool { return other == p.ID })
		p.Document.Profile(others[len(others)-1]).ReplaceToken(secret.New("TEST_edited"))
		return []any{before == p.OthersHash(), names(p.Holders(secret.New("TEST_edited"))), names(p.Holders(secret.New("TEST_39")))}
	})
	return got
}

// The rules say the same of profiles that the process remembers and of those that it reads for
// the first time, while other programs change the document.
func TestRulesAmongMany(t *testing.T) {
	m := &many{blocks: map[string]string{}}
	for i := range 60 {
		m.put(fmt.Sprint("P", i), anyBlock())
	}
	for n := range 12 {
		for range rand.IntN(4) {
			switch id := fmt.Sprint("P", rand.IntN(80)); rand.IntN(4) {
			case 0:
				m.remove(id)
			default:
				m.put(id, anyBlock())
			}
		}
		id := []string{"default", "P1", "P2", "new"}[n%4]
		remembered, fresh := rulesOf(t, m.text(""), id), rulesOf(t, m.text(strings.Repeat(" ", n+1)), id)
		for name, want := range fresh {
			require.Equal(t, want, remembered[name], name)
		}
	}
}

// A document that cannot be read is an error with its place, and does not spoil what is
// remembered.
func TestParseDamaged(t *testing.T) {
	m := &many{blocks: map[string]string{}}
	for i := range 60 {
		m.put(fmt.Sprint("P", i), anyBlock())
	}
	text := []byte(m.text(""))
	requireParsed(t, text)
	const odd = "\"\\{}[]:, x\xff\x00"
	for range 100 {
		damaged := bytes.Clone(text)
		i := len(damaged) - 1 - rand.IntN(len(damaged)-20_000)
		switch rand.IntN(3) {
		case 0:
			damaged = damaged[:i]
		case 1:
			damaged[i] = odd[rand.IntN(len(odd))]
		default:
			damaged = slices.Delete(damaged, i, i+1)
		}
		requireParsed(t, damaged)
		requireParsed(t, text)
	}
	_, err := profile.Parse([]byte(`[` + padding + `]`))
	var syntax *ordered.SyntaxError
	assert.True(t, errors.As(err, &syntax) || errors.Is(err, ordered.ErrNotObject))
}

// A reading of a document that is remembered spares a new one most of the work. It is dropped
// when the document was not read for a while.
func TestForgetsIdleDocuments(t *testing.T) {
	text := []byte(manyProfiles().text(""))
	require.False(t, isRemembered(t, text))
	eventually(t, "the document is remembered", func() bool { return isRemembered(t, text) }) // another goroutine may allocate at the same time
	eventually(t, "the document is remembered after a collection", func() bool {
		isRemembered(t, text)
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		return isRemembered(t, text)
	})
	eventually(t, "the document is forgotten", func() bool {
		parseAt(t, time.Unix(1e9, 0), text)
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		return !isRemembered(t, text)
	})
	eventually(t, "the document is forgotten by a later collection than the first", func() bool {
		const left = 300 * time.Millisecond // on a slow machine, the first one may forget it
		parseAt(t, time.Now().Add(left-time.Minute), text)
		for range 2 {
			runtime.GC()
			time.Sleep(left + 50*time.Millisecond)
		}
		return !isRemembered(t, text)
	})
}

// The eight documents that were read last are remembered, also after edits of a few profiles.
func TestRemembersDocuments(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection may forget them
	var last *many
	texts := make([][]byte, 9)
	for n := range texts {
		last = manyProfiles()
		texts[n] = []byte(last.text(""))
		require.False(t, isRemembered(t, texts[n]))
	}
	require.False(t, isRemembered(t, texts[0]), "eight others were read since")
	for _, text := range texts[2:] {
		require.True(t, isRemembered(t, text))
	}
	middle := len(last.ids) / 2
	for name, edit := range map[string]func(){
		"the first":    func() { last.blocks[last.ids[0]] = `{"y":1}` },
		"in between":   func() { last.blocks[last.ids[middle]] = `{"y":2}` },
		"one is gone":  func() { last.remove(last.ids[middle]) },
		"one is there": func() { last.ids[1], last.blocks["new"] = "new", `{"y":3}` },
	} {
		require.True(t, isRemembered(t, []byte(last.text(""))), name)
		edit()
	}
	require.True(t, isRemembered(t, []byte(last.text(""))))
}

// manyProfiles returns a document with profiles that no other one has.
func manyProfiles() *many {
	m := &many{blocks: map[string]string{}}
	for i := range 3000 {
		m.put(fmt.Sprint("P", i), fmt.Sprintf(`{"x":"%d"}`, rand.Int()))
	}
	return m
}

// isRemembered reads a document of manyProfiles, and reports whether that has taken less than
// one allocation for each profile.
func isRemembered(t *testing.T, text []byte) bool {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := profile.Parse(text)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	return after.Mallocs-before.Mallocs < 3000
}

// parseAt reads a document at a time after the year 2000, at which the clock of a bubble begins.
// Sleep moves that clock at once.
func parseAt(t *testing.T, at time.Time, text []byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(at))
		_, err := profile.Parse(text)
		require.NoError(t, err)
	})
}

// eventually waits until done, and fails with what if that takes too long.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "it never happened that %s", what)
	}
}

// Many goroutines may use one Stored, and read the same document, at the same time.
func TestStoredInParallel(t *testing.T) {
	m := &many{blocks: map[string]string{}}
	for i := range 60 {
		m.put(fmt.Sprint("P", i), anyBlock())
	}
	text := m.text(" ")
	s, err := profile.Parse([]byte(text))
	require.NoError(t, err)
	hash := s.Document().Profile("P1").OthersHash()
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			own, err := profile.Parse([]byte(text))
			if !assert.NoError(t, err) {
				return
			}
			for _, s := range []*profile.Stored{s, own} {
				d := s.Document()
				assert.Equal(t, hash, d.Profile("P1").OthersHash())
				d.Profile(fmt.Sprint("new", n)).Create()
				next, changed := d.Stored()
				assert.True(t, changed)
				assert.Contains(t, next.Document().IDs(), fmt.Sprint("new", n))
				assert.NotContains(t, s.Document().IDs(), fmt.Sprint("new", n))
				assert.Equal(t, text, string(s.Bytes()))
			}
		})
	}
	all.Wait()
}
