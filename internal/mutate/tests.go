package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// A testCase is one test, and how it goes without a mutant. Its Trace names the mutants
// that would make a difference, as package:number, and with the prefix "reached:" the
// mutants that it reaches at all.
type testCase struct {
	Name   string
	Took   time.Duration
	Passes bool
	Trace  []string

	traced map[string]bool
}

// An outcome is what the tests say of a mutant.
type outcome int

const (
	survived outcome = iota
	killed
	timedOut
	notCovered
)

// trace finds out what each test reaches. What it has found stays in work, until the
// test binary changes.
func (m *module) trace(work string, parallel int, progress io.Writer) error {
	dir := filepath.Join(work, "traces")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, t := range m.tests {
		if err := t.trace(dir, parallel, progress); err != nil {
			return err
		}
		for i := range t.cases {
			c := &t.cases[i]
			c.traced = make(map[string]bool, len(c.Trace))
			for _, line := range c.Trace {
				c.traced[line] = true
			}
			if !c.Passes {
				fmt.Fprintf(progress, "%s of %s is not used: it fails alone, or with switches in the code\n", c.Name, t.path)
			}
		}
		slices.SortStableFunc(t.cases, func(a, b testCase) int { return int(a.Took - b.Took) })
	}
	return nil
}

func (t *testPackage) trace(dir string, parallel int, progress io.Writer) error {
	binary, err := os.ReadFile(t.binary)
	if err != nil {
		return err
	}
	kept := filepath.Join(dir, fmt.Sprintf("%x.json", sha256.Sum256(binary)))
	if b, err := os.ReadFile(kept); err == nil {
		return json.Unmarshal(b, &t.cases)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cmd := exec.Command(t.binary, "-test.list", "^(Test|Fuzz|Example)")
	cmd.Dir = t.dir
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("tests of %s: %w", t.path, err)
	}
	fmt.Fprintln(progress, "tracing the tests of", t.path)
	t.cases = nil
	for _, name := range strings.Fields(string(out)) {
		t.cases = append(t.cases, testCase{Name: name})
	}
	errs := make([]error, len(t.cases))
	inParallel(parallel, len(t.cases), func(i int) {
		errs[i] = t.traceOne(&t.cases[i], filepath.Join(dir, fmt.Sprintf("%d-%d", os.Getpid(), i)))
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b, err := json.Marshal(t.cases)
	if err != nil {
		return err
	}
	return os.WriteFile(kept, b, 0o600)
}

func (t *testPackage) traceOne(c *testCase, file string) error {
	defer os.Remove(file)
	start := time.Now()
	c.Passes = t.run([]string{c.Name}, 10*time.Minute, "MUTANT_TRACE="+file) == survived
	c.Took = time.Since(start)
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.Trace = strings.Fields(string(b))
	return nil
}

// noProxy is the proxy of all tests, and does not exist. A mutant may ask the real plex.tv,
// which must not hear of it. Addresses of this machine need no proxy.
const noProxy = "http://127.0.0.1:9"

// run runs tests by name, and says survived if all pass.
func (t *testPackage) run(names []string, limit time.Duration, env string) outcome {
	// The test binary stops itself at the limit. If it cannot, it is killed.
	ctx, cancel := context.WithTimeout(context.Background(), limit+5*time.Second)
	defer cancel()
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	cmd := exec.CommandContext(ctx, t.binary, "-test.run", "^("+strings.Join(quoted, "|")+")$",
		"-test.failfast", "-test.timeout", limit.String())
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), env, "HTTP_PROXY="+noProxy, "HTTPS_PROXY="+noProxy)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil, bytes.Contains(out.Bytes(), []byte("panic: test timed out")):
		return timedOut
	case err != nil:
		return killed
	}
	return survived
}

// inParallel calls do with 0 to n-1, up to limit calls at once.
func inParallel(limit, n int, do func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range limit {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// try runs the tests that reach each mutant. Tests that take much longer than usual count
// as failed: a mutant may be an endless loop.
func (m *module) try(mutants []*mutant, o options, progress io.Writer) {
	var mu sync.Mutex
	done, start := 0, time.Now()
	inParallel(o.parallel, len(mutants), func(i int) {
		mutants[i].outcome = m.tryOne(mutants[i], o)
		mu.Lock()
		defer mu.Unlock()
		done++
		if mutants[i].outcome == survived {
			fmt.Fprintf(progress, "%d of %d, %v: survived %v\n", done, len(mutants), time.Since(start).Round(time.Second), mutants[i])
		}
	})
}

// tryOne runs the tests in which the mutant makes a difference: those of its own package
// first, and in each package the fastest ones first.
func (m *module) tryOne(x *mutant, o options) outcome {
	packages := slices.Clone(m.tests)
	slices.SortStableFunc(packages, func(a, b *testPackage) int {
		switch x.pkg {
		case a.path:
			return -1
		case b.path:
			return 1
		}
		return 0
	})
	id := fmt.Sprintf("%s:%d", x.pkg, x.id)
	result, left := notCovered, o.budget
	for _, t := range packages {
		if t.reaches(id) {
			result = survived
		}
		for _, b := range t.batches(id) {
			if left -= b.took; left < 0 {
				return result
			}
			if got := t.run(b.names, o.patience+5*b.took, "MUTANT="+id); got != survived {
				return got
			}
		}
	}
	return result
}

func (t *testPackage) reaches(id string) bool {
	return slices.ContainsFunc(t.cases, func(c testCase) bool {
		return c.Passes && (c.traced[id] || c.traced["reached:"+id])
	})
}

// A batch is what one process runs.
type batch struct {
	names []string
	took  time.Duration
}

// batches returns the tests in which the mutant makes a difference. The first batch has
// little to do, and each further one about twice as much.
func (t *testPackage) batches(id string) []batch {
	var all []batch
	var b batch
	most := 200 * time.Millisecond
	for _, c := range t.cases {
		if !c.Passes || !c.traced[id] {
			continue
		}
		if len(b.names) > 0 && b.took+c.Took > most {
			all, b, most = append(all, b), batch{}, 2*most
		}
		b.names, b.took = append(b.names, c.Name), b.took+c.Took
	}
	if len(b.names) > 0 {
		all = append(all, b)
	}
	return all
}
