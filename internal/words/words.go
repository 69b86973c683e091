// Package words has the texts of the panel and of signin's pages, in one file for each
// language. It chooses the language of a page.
//
// A text may name parameters: "Profile {name}". Two texts under "key.one" and
// "key.other" are the singular and the plural of key; their parameter is {n}. In a text
// of a page, <b> and </b> stand around what is shown in bold.
package words

import (
	"embed"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed *.json
var files embed.FS

// Language is one language with its texts. They are read when they are first asked for.
type Language struct {
	Tag  string // "en"
	read func() map[string]string
}

// languages has each language by its tag.
var languages = list()

// English is the language if no other one is asked for.
var English = languages["en"]

func list() map[string]*Language {
	entries, err := files.ReadDir(".")
	must(err)
	all := map[string]*Language{}
	for _, e := range entries {
		all[strings.TrimSuffix(e.Name(), ".json")] = &Language{
			Tag: strings.TrimSuffix(e.Name(), ".json"),
			read: sync.OnceValue(func() (texts map[string]string) {
				b, err := files.ReadFile(e.Name())
				must(err)
				must(json.Unmarshal(b, &texts))
				return texts
			}),
		}
	}
	return all
}

// must panics if err is not nil, which is impossible: the files are embedded, and a test
// reads them.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Texts returns the texts by their keys. The caller must not change them.
func (l *Language) Texts() map[string]string { return l.read() }

// Tags returns the tags of all languages, sorted.
func Tags() []string { return slices.Sorted(maps.Keys(languages)) }

// Find returns the language of a tag like "de" or "de-CH", nil if it is not here.
func Find(tag string) *Language {
	primary, _, _ := strings.Cut(tag, "-")
	return languages[strings.ToLower(strings.TrimSpace(primary))]
}

// Match returns the language that the Accept-Language of a request prefers, English if it
// prefers none that is here.
func Match(header http.Header) *Language {
	best, most := English, 0.0
	for entry := range strings.SplitSeq(strings.Join(header.Values("Accept-Language"), ","), ",") {
		tag, weight, ok := parseEntry(entry)
		l := Find(tag)
		if tag == "*" {
			l = English
		}
		if ok && l != nil && weight > most {
			best, most = l, weight
		}
	}
	return best
}

// parseEntry returns the two parts of an entry like "de-CH;q=0.8". A weight that is not a
// number counts as 0. ok is false if the parameter is not q, or the weight is over 1.
func parseEntry(entry string) (tag string, weight float64, ok bool) {
	tag, parameter, found := strings.Cut(entry, ";")
	tag = strings.TrimSpace(tag)
	if !found {
		return tag, 1, true
	}
	name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
	weight, _ = strconv.ParseFloat(value, 64) // 0 if it is not a number
	return tag, weight, strings.EqualFold(name, "q") && weight <= 1
}

// Text returns the text of key. args are the names and values of its parameters, by turns.
func (l *Language) Text(key string, args ...string) string {
	values := slices.Clone(args)
	for i := 0; i < len(values); i += 2 {
		values[i] = "{" + values[i] + "}"
	}
	return strings.NewReplacer(values...).Replace(l.Texts()[key])
}

// Number returns the key of the text of key for the number n: that of its singular or its
// plural, or key itself where there is one text for all numbers.
func (l *Language) Number(key string, n int) string {
	if l.Texts()[key] != "" {
		return key
	}
	if n == 1 {
		return key + ".one"
	}
	return key + ".other"
}

// Sentence is a sentence in no language yet.
type Sentence struct {
	Key string `json:"key"`
	N   int    `json:"n,omitempty"` // the number that the sentence names; 0: none

	Args map[string]string `json:"args,omitempty"` // the other parameters
}

// Sentences is a message in no language yet.
type Sentences []Sentence

// Say returns the sentences, with a space in between.
func (l *Language) Say(sentences Sentences) string {
	var all []string
	for _, s := range sentences {
		all = append(all, l.sentence(s))
	}
	return strings.Join(all, " ")
}

func (l *Language) sentence(s Sentence) string {
	args := []string{"n", strconv.Itoa(s.N)}
	for name, value := range s.Args {
		args = append(args, name, value)
	}
	return l.Text(l.Number(s.Key, s.N), args...)
}
