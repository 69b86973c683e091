package words_test

import (
	"encoding/xml"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/words"
)

// sources are the files that show texts to people.
var sources = []string{"../panel/assets/*.html", "../panel/assets/*.js", "../panel/*.go", "../problem/*.go", "../mediaserver/*.go", "../../signin/*.go", "../../signin/pages/page.html", "../../signin/pages/*.js"}

// read returns the content of each file that matches one of patterns, except tests.
func read(t *testing.T, patterns ...string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, names, pattern)
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			files[name] = string(b)
		}
	}
	return files
}

var placeholder = regexp.MustCompile(`\{\w+\}|</?b>`)

// placeholders returns what a text has besides words, each once, sorted.
func placeholders(text string) []string {
	all := placeholder.FindAllString(text, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// missing returns the keys of a that b does not have, sorted.
func missing(a, b map[string]string) (keys []string) {
	for key := range a {
		if _, ok := b[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// No language lacks a text, has one too many, or other placeholders than English.
func TestLanguagesAreComplete(t *testing.T) {
	for _, tag := range words.Tags() {
		l := words.Find(tag)
		require.NotNil(t, l, tag)
		assert.Equal(t, tag, l.Tag)
		assert.Empty(t, missing(words.English.Texts(), l.Texts()), "%s.json lacks these keys", tag)
		assert.Empty(t, missing(l.Texts(), words.English.Texts()), "%s.json has these keys, and en.json has not", tag)
		for key, text := range l.Texts() {
			english := words.English.Texts()[key]
			assert.NotEmpty(t, text, "%s: %s", tag, key)
			assert.Equal(t, strings.TrimSpace(text), text, "%s: %s", tag, key)
			assert.Equal(t, strings.Count(text, "<b>"), strings.Count(text, "</b>"), "%s: %s", tag, key)
			got := placeholders(text)
			if singular, ok := strings.CutSuffix(key, ".one"); ok { // it may say the number in words
				english = strings.ReplaceAll(words.English.Texts()[singular+".other"], "{n}", "")
				got = placeholders(strings.ReplaceAll(text, "{n}", ""))
			}
			assert.Equal(t, placeholders(english), got, "the placeholders of %s: %s", tag, key)
		}
	}
}

// What a text calls a button is what the button says.
func TestTextsNameTheirButtons(t *testing.T) {
	for _, tag := range words.Tags() {
		l := words.Find(tag)
		for key, button := range map[string]string{
			"panel.step_connect": "panel.connect", "panel.help_press": "panel.open", "panel.help_press_code": "panel.open",
			"panel.help_blocked":  "panel.open",
			"signin.started_text": "signin.continue", "signin.waiting_text": "signin.continue",
		} {
			assert.Contains(t, l.Text(key), l.Text(button), "%s: %s", tag, key)
		}
	}
}

// No sentence was left in English.
func TestLanguagesAreTranslated(t *testing.T) {
	assert.Equal(t, []string{"de", "en", "es", "fr", "it", "nl"}, words.Tags())
	for _, tag := range words.Tags() {
		for key, text := range words.Find(tag).Texts() {
			if tag != "en" && len(strings.Fields(placeholder.ReplaceAllString(text, ""))) > 2 {
				assert.NotEqual(t, words.English.Texts()[key], text, "%s: %s", tag, key)
			}
		}
	}
}

// French has a space before double marks and inside quotation marks, at which no line breaks.
func TestFrenchSpaces(t *testing.T) {
	breaks := regexp.MustCompile(` [:;!?»]|« |[^\s\x{a0}\x{202f}](?:[;!?]|:(?:\s|$))`)
	for key, text := range words.Find("fr").Texts() {
		assert.NotRegexp(t, breaks, text, key)
	}
}

// German has a space before an ellipsis, at which no line breaks: the marks alone on a line
// look like a mistake.
func TestGermanEllipses(t *testing.T) {
	for key, text := range words.Find("de").Texts() {
		assert.NotRegexp(t, `[^\x{a0}]…`, text, key)
	}
}

// Each text is used, and each text that is used is there.
func TestKeysAreUsed(t *testing.T) {
	prefixes := map[string]bool{}
	unused := map[string]bool{}
	for key := range words.English.Texts() {
		prefix, _, _ := strings.Cut(key, ".")
		prefixes[prefix] = true
		unused[strings.TrimSuffix(strings.TrimSuffix(key, ".one"), ".other")] = true
	}
	quoted := regexp.MustCompile("[\"'`](" + strings.Join(slices.Sorted(maps.Keys(prefixes)), "|") + ")\\.([a-z0-9_]+)[\"'`]")
	for name, content := range read(t, sources...) {
		for _, m := range quoted.FindAllStringSubmatch(content, -1) {
			if m[2] == "js" || m[2] == "css" || m[2] == "html" {
				continue
			}
			key := m[1] + "." + m[2]
			_, single := words.English.Texts()[key]
			_, plural := words.English.Texts()[key+".other"]
			assert.True(t, single || plural, "%s uses %s, which en.json does not have", name, key)
			delete(unused, key)
		}
	}
	assert.Empty(t, unused, "no source has these keys in quotes")
}

// notText are the names in the fragments that are the same in every language.
var notText = []string{"Plex", "http://192.168.1.5:32400"}

// The fragments have no text of their own: data-text and data-alt name it.
func TestNoTextInHTML(t *testing.T) {
	actions := regexp.MustCompile(`\{\{.*?\}\}`)
	for name, content := range read(t, "../panel/assets/*.html", "../../signin/pages/page.html") {
		d := xml.NewDecoder(strings.NewReader("<x>" + actions.ReplaceAllString(strings.TrimPrefix(content, "<!doctype html>"), "") + "</x>"))
		d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
		for {
			next, err := d.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err, name)
			switch next := next.(type) {
			case xml.CharData:
				assertNoText(t, name, string(next))
			case xml.StartElement:
				for _, a := range next.Attr {
					if slices.Contains([]string{"alt", "title", "placeholder", "aria-label"}, a.Name.Local) {
						assertNoText(t, name, a.Value)
					}
				}
			}
		}
	}
}

func assertNoText(t *testing.T, name, text string) {
	t.Helper()
	text = strings.TrimSpace(text)
	assert.False(t, regexp.MustCompile(`\p{L}`).MatchString(text) && !slices.Contains(notText, text), "%s has the text %q: put it into the files of package words", name, text)
}

// The scripts have no text of their own either.
func TestNoTextInScripts(t *testing.T) {
	comment := regexp.MustCompile(`(?m)(^|\s)//.*$|/\*.*?\*/`)
	literal := regexp.MustCompile("\"[^\"\n]*\"|`[^`]*`")
	expression := regexp.MustCompile(`\$\{[^}]*\}`)
	sentence := regexp.MustCompile(`\pL{2,} \pL{2,}|^.\p{Lu}\p{Ll}+`)
	shown := regexp.MustCompile("(setText\\([^;\n]*, |textContent = |append\\(|announce\\(|askFor\\(\\w+, |message: )[\"`][^\"`]*\\pL")
	technical := []string{`"Plex"`, `"AbortError"`, `"Enter"`, `"Content-Type"`} // names of the browser, and the product
	for name, content := range read(t, "../panel/assets/*.js", "../../signin/pages/*.js") {
		content = comment.ReplaceAllString(content, "")
		for _, s := range literal.FindAllString(content, -1) {
			s = expression.ReplaceAllString(s, "")
			assert.False(t, sentence.MatchString(s) && !slices.Contains(technical, s), "%s has the text %s: put it into the files of package words", name, s)
		}
		for _, s := range shown.FindAllString(content, -1) {
			assert.Fail(t, "a text in a script", "%s shows %s: put it into the files of package words", name, s)
		}
	}
}

// forPrograms are the texts that only a program's mistakes bring about.
var forPrograms = regexp.MustCompile(`^(Only $|The request must be a JSON|The request was interrupted\.$|Choose a server by machine_id|Plex · $)`)

// What a person reads is in no Go file. Errors and log lines begin with a small letter.
func TestNoTextInGo(t *testing.T) {
	sentence := regexp.MustCompile(`^\p{Lu}\p{Ll}+ `)
	for name, content := range read(t, "../panel/*.go", "../problem/*.go", "../../signin/*.go") {
		f, err := parser.ParseFile(token.NewFileSet(), name, content, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			s, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			assert.False(t, sentence.MatchString(s) && !forPrograms.MatchString(s), "%s has the text %q: put it into the files of package words", name, s)
			return true
		})
	}
}

// The language that the browser likes best counts, of those that are here.
func TestMatch(t *testing.T) {
	for header, want := range map[string]string{
		"de": "de", "de-CH": "de", "DE-ch": "de", "fr-CA,fr;q=0.9,en;q=0.8": "fr", "pt-BR, es;q=0.5": "es", "nl;q=0.5,it;q=0.7": "it",
		"en;q=0.4 , de ; q=0.5": "de", "de,fr": "de", "de;q=0,fr;q=0.1": "fr", "*,de;q=0.9": "en", "*;q=0.1,de;q=0.9": "de", "de;q=1.000": "de",
		"de;Q=0.5": "de", "de;q=0.001": "de", "x;q=1,de;q=0.2,;;,": "de", "de_DE,fr;q=0.3": "fr", "zh-Hant-TW,zh;q=0.9,it-IT;q=0.8": "it",
		"de;q=2,fr;q=0.5": "fr", "de;q=1e999,fr;q=0.5": "fr", "de;q=-1,fr;q=0.5": "fr", "de;q=x,fr;q=0.5": "fr", "de;level=1,fr;q=0.5": "fr",
		"de;q=0.5, * ;q=0.9": "en",
	} {
		assert.Equal(t, want, words.Match(http.Header{"Accept-Language": {header}}).Tag, "%q", header)
	}
	assert.Equal(t, "nl", words.Match(http.Header{"Accept-Language": {"pl", "nl;q=0.3"}}).Tag, "two headers are one list")
}

// Odd headers lead to English, and not to a panic.
func TestMatchOddHeaders(t *testing.T) {
	for _, header := range [][]string{
		nil, {""}, {"en"}, {"en-US,en;q=0.9"}, {"EN"}, {"*"}, {"pl"}, {"pl, *;q=0.1"}, {",,;q=1,"}, {"-"}, {"e"}, {"english"},
		{";"}, {"en;q="}, {"en;q=x"}, {"en;q=2"}, {"en;q=-1"}, {"en;q=NaN"}, {"en;level=1"}, {"en;q=0"}, {"\x00\xff"}, {"../en"},
		{strings.Repeat("a,", 1<<15)}, {strings.Repeat("a-", 1<<15)},
	} {
		assert.Same(t, words.English, words.Match(http.Header{"Accept-Language": header}), "%.40q", header)
	}
}

// A text takes its parameters as they are, even if they look like other parameters.
func TestText(t *testing.T) {
	assert.Equal(t, "{finding}: {n}", words.English.Text("test.address", "address", "{finding}", "finding", "{n}", "n", "7"))
	assert.Equal(t, "Too many wrong PINs. Try again in one second.", words.English.Say(words.Sentences{{Key: "problem.wrong_pins"}, {Key: "problem.try_in_seconds", N: 1}}))
	assert.Equal(t, "Try again in 2 minutes.", words.English.Say(words.Sentences{{Key: "problem.try_in_minutes", N: 2}}))
}
