package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// readExplanations reads the reasons why survivors change nothing, by their keys. A line
// that is not indented is a key; the indented lines below it are its reason.
func readExplanations(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	reasons := map[string]string{}
	key := ""
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		line := scanner.Text()
		text := strings.TrimSpace(line)
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case line != strings.TrimLeft(line, "\t "):
			reasons[key] = strings.TrimSpace(reasons[key] + " " + text)
		default:
			key = text
			if _, ok := reasons[key]; ok {
				return nil, fmt.Errorf("%s:%d: this is listed twice", name, n)
			}
			reasons[key] = ""
		}
	}
	if reasons[""] != "" {
		return nil, fmt.Errorf("%s: a reason without a survivor: %s", name, reasons[""])
	}
	for key, reason := range reasons {
		if reason == "" {
			return nil, fmt.Errorf("%s: no reason is given for: %s", name, key)
		}
	}
	return reasons, scanner.Err()
}

// A report says what the tests did not notice.
type report struct {
	explained  map[string]string
	all, tried []*mutant
}

type counts struct{ mutants, killed, timedOut, notCovered, survived, explained int }

func (c counts) String() string {
	return fmt.Sprintf("%d mutants: %d killed, %d timed out, %d not covered, %d survived (%d explained)",
		c.mutants, c.killed, c.timedOut, c.notCovered, c.survived, c.explained)
}

func (c *counts) add(m *mutant, explained bool) {
	c.mutants++
	switch m.outcome {
	case killed:
		c.killed++
	case timedOut:
		c.timedOut++
	case notCovered:
		c.notCovered++
	case survived:
		c.survived++
		if explained {
			c.explained++
		}
	}
}

// write writes the report, and returns whether all is well.
func (r report) write(out io.Writer) bool {
	ok := true
	var total counts
	packages := map[string]*counts{}
	var names []string
	for _, m := range r.tried {
		_, explained := r.explained[m.key()]
		switch {
		case m.outcome == survived && !explained:
			ok = false
			fmt.Fprintln(out, m)
		case m.outcome == notCovered:
			fmt.Fprintln(out, m, "(not covered)")
		case m.outcome == killed && explained:
			ok = false
			fmt.Fprintln(out, m, "(explained as a survivor, but a test fails)")
		}
		name := path.Dir(m.file)
		if packages[name] == nil {
			packages[name], names = &counts{}, append(names, name)
		}
		packages[name].add(m, explained)
		total.add(m, explained)
	}
	if r.writeStale(out) {
		ok = false
	}
	for _, name := range names {
		fmt.Fprintf(out, "%s: %v\n", name, packages[name])
	}
	fmt.Fprintf(out, "all: %v\n", total)
	return ok
}

// writeStale names explanations of mutants that no longer exist.
func (r report) writeStale(out io.Writer) bool {
	exists := map[string]bool{}
	for _, m := range r.all {
		exists[m.key()] = true
	}
	stale := false
	for _, key := range slices.Sorted(maps.Keys(r.explained)) {
		if !exists[key] {
			stale = true
			fmt.Fprintf(out, "%s (explained, but there is no such mutant)\n", key)
		}
	}
	return stale
}
