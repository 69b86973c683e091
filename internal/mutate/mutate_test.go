package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The survivors of the module in testdata/tiny. TestAdd there uses no negative numbers,
// and at a limit To returns the same number either way.
const (
	enabledSurvives = "tiny.go:11:5 Counter.Add condition: enabled -> true\n"
	positive        = "tiny.go:11:16 Counter.Add condition: c.n >= 0 -> true\n"
	unused          = "tiny.go:25:29 Unused result: return true -> return false (not covered)\n"
	lowCondition    = "clamp/clamp.go:6:5 To condition: n < low -> false\n"
	lowBound        = "clamp/clamp.go:6:5 To bound: n < low -> n <= low\n"
	highBound       = "clamp/clamp.go:9:5 To bound: n > high -> n >= high\n"
)

// tinyModule returns the directory of a copy of testdata/tiny, whose files end in .txt so
// that the tests of this module leave them alone.
func tinyModule(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	from := os.DirFS("testdata/tiny")
	require.NoError(t, fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(filepath.Join(root, path), 0o700))
		}
		b, err := fs.ReadFile(from, path)
		require.NoError(t, err)
		return os.WriteFile(filepath.Join(root, strings.TrimSuffix(path, ".txt")), b, 0o600)
	}))
	return root
}

func TestReport(t *testing.T) {
	const (
		ofLowCondition = "clamp/clamp.go To condition: n < low -> false\n\tNo caller passes less.\n"
		ofLowBound     = "clamp/clamp.go To bound: n < low -> n <= low\n\tAt the limit both\n\tare the same.\n"
		ofHighBound    = "clamp/clamp.go To bound: n > high -> n >= high\n\tAt the limit both are the same.\n"
		ofNone         = "clamp/clamp.go Gone condition: n < low -> true\n\tThis function was deleted.\n"
		ofKilled       = "clamp/clamp.go To condition: n > high -> true\n\tWrong.\n"
	)
	root, dir := tinyModule(t), t.TempDir()
	for _, tt := range []struct {
		name, explained string
		patterns        []string
		only            string
		own             bool
		ok              bool
		want            string
	}{
		{"all", "", nil, "", false, false, enabledSurvives + positive + unused + lowCondition + lowBound + highBound +
			".: 13 mutants: 8 killed, 2 timed out, 1 not covered, 2 survived (0 explained)\n" +
			"clamp: 6 mutants: 3 killed, 0 timed out, 0 not covered, 3 survived (0 explained)\n" +
			"all: 19 mutants: 11 killed, 2 timed out, 1 not covered, 5 survived (0 explained)\n"},
		{"explained", ofLowCondition + ofLowBound + "# at the top\n" + ofHighBound, []string{"./clamp"}, "", false, true,
			"clamp: 6 mutants: 3 killed, 0 timed out, 0 not covered, 3 survived (3 explained)\n" +
				"all: 6 mutants: 3 killed, 0 timed out, 0 not covered, 3 survived (3 explained)\n"},
		{"explained but killed", ofKilled, []string{"./clamp"}, "high -> true", false, false,
			"clamp/clamp.go:9:5 To condition: n > high -> true (explained as a survivor, but a test fails)\n" +
				"clamp: 1 mutants: 1 killed, 0 timed out, 0 not covered, 0 survived (0 explained)\n" +
				"all: 1 mutants: 1 killed, 0 timed out, 0 not covered, 0 survived (0 explained)\n"},
		{"own tests", "", []string{"./clamp"}, "high -> true", true, true,
			"clamp/clamp.go:9:5 To condition: n > high -> true (not covered)\n" +
				"clamp: 1 mutants: 0 killed, 0 timed out, 1 not covered, 0 survived (0 explained)\n" +
				"all: 1 mutants: 0 killed, 0 timed out, 1 not covered, 0 survived (0 explained)\n"},
		{"stale", ofNone, []string{"./clamp"}, "high -> true", false, false,
			"clamp/clamp.go Gone condition: n < low -> true (explained, but there is no such mutant)\n" +
				"clamp: 1 mutants: 1 killed, 0 timed out, 0 not covered, 0 survived (0 explained)\n" +
				"all: 1 mutants: 1 killed, 0 timed out, 0 not covered, 0 survived (0 explained)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(dir, "survivors.txt")
			require.NoError(t, os.WriteFile(file, []byte(tt.explained), 0o600))
			var out, progress bytes.Buffer
			ok, err := run(options{
				root: root, patterns: tt.patterns, explained: file, work: filepath.Join(dir, "work"),
				only: regexp.MustCompile(tt.only), own: tt.own, parallel: 2, budget: time.Minute, patience: time.Second,
			}, &out, &progress)
			require.NoError(t, err, progress.String())
			assert.Equal(t, tt.ok, ok)
			assert.Equal(t, tt.want, out.String())
		})
	}
}

func TestExplanationsNeedReasons(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"a.go F condition: x -> true\n", "no reason is given"},
		{"\tBecause.\n", "without a survivor"},
		{"a.go F condition: x -> true\n\tBecause.\na.go F condition: x -> true\n\tTwice.\n", "listed twice"},
	} {
		file := filepath.Join(t.TempDir(), "survivors.txt")
		require.NoError(t, os.WriteFile(file, []byte(tt.text), 0o600))
		_, err := readExplanations(file)
		assert.ErrorContains(t, err, tt.want)
	}
}

// keysOf returns the keys of the mutants of a function with this body.
func keysOf(t *testing.T, body string) []string {
	t.Helper()
	in := &instrumenter{pkg: "p", seen: map[string]int{}}
	_, err := in.file("p.go", []byte("package p\n\nfunc F() bool {\n"+body+"\n}\n"))
	require.NoError(t, err)
	var keys []string
	for _, m := range in.mutants {
		keys = append(keys, strings.TrimPrefix(m.key(), "p.go F "))
	}
	return keys
}

func TestMutants(t *testing.T) {
	for _, tt := range []struct {
		body string
		want []string
	}{
		{"return a == b", []string{"condition: a == b -> true", "condition: a == b -> false"}},
		{"if !(a && b) {\n}", []string{
			"condition: a -> true", "condition: a -> false", "condition: b -> true", "condition: b -> false"}},
		{"if !a {\n}", []string{"condition: !a -> true", "condition: !a -> false"}},
		{"for i <= n {\n}", []string{"condition: i <= n -> true", "condition: i <= n -> false", "bound: i <= n -> i < n"}},
		{"switch {\ncase a:\n}", []string{"condition: a -> true", "condition: a -> false"}},
		{"switch a {\ncase b:\n}", nil},
		{"return true", []string{"result: return true -> return false"}},
		{"return 1, false, true", []string{
			"result: return 1, false, true -> return 1, true, true", "result: return 1, false, true -> return 1, false, false"}},
		{"x := 1\nx = 2\nx++\nf(x)\n_ = x\npanic(x)", []string{
			"statement: x = 2 -> left out", "statement: x++ -> left out", "statement: f(x) -> left out"}},
		{"const c = 1 < 2\nreturn c", nil},
		{"f()\nf()", []string{"statement: f() -> left out", "statement: f() -> left out #2"}},
	} {
		assert.Equal(t, tt.want, keysOf(t, tt.body), tt.body)
	}
	assert.Equal(t, keysOf(t, "if a {\n}"), keysOf(t, "\n\n  if a {\n}"), "the line does not matter")
}
