// Command mutate finds conditions that no test needs. It breaks the program in one
// place, runs the tests that reach this place, and says so if they all still pass:
//
//	go run ./internal/mutate ./internal/gate
//
// Without arguments it looks at the root package and at everything that this imports
// from the module. Each test binary is built once, with all changes in it; a variable of
// the environment says which one applies. The tree is not modified.
//
// A survivor is a change that no test notices. Those that change nothing that can be
// observed are listed in survivors.txt, with the reason. Any other one fails the run.
package main

import (
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// options are what the command line sets.
type options struct {
	root      string   // the directory of the module
	patterns  []string // the packages whose mutants are tried
	explained string   // the file of explained survivors
	work      string   // where binaries and traces are kept
	only      *regexp.Regexp
	parallel  int
	own       bool          // only the tests of the mutant's own package are run
	budget    time.Duration // of the tests for one mutant
	patience  time.Duration // how much longer than usual tests may take
}

func main() {
	only := flag.String("only", "", "try only mutants whose line matches this `regexp`")
	own := flag.Bool("own", false, "for a quick look, run only the tests of the package itself")
	budget := flag.Duration("budget", 24*time.Hour, "for a quick look, run only tests that take this long for each mutant")
	parallel := flag.Int("p", runtime.NumCPU(), "how many test binaries run at once")
	work := flag.String("work", "", "directory for binaries and for what each test reaches (default below "+os.TempDir()+")")
	flag.Parse()

	root, err := moduleRoot()
	if err != nil {
		fail(err)
	}
	o := options{
		root: root, patterns: flag.Args(), work: *work, parallel: *parallel,
		own: *own, budget: *budget, patience: 5 * time.Second,
		explained: filepath.Join(root, "internal", "mutate", "survivors.txt"),
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		fail(err)
	}
	if o.work == "" {
		h := fnv.New32a()
		h.Write([]byte(root))
		o.work = filepath.Join(os.TempDir(), fmt.Sprintf("mutate-%08x", h.Sum32()))
	}
	ok, err := run(o, os.Stdout, os.Stderr)
	if err != nil {
		fail(err)
	}
	if !ok {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mutate:", err)
	os.Exit(2)
}

// run tries the mutants that o selects and reports to out. It returns false if the
// report names a survivor that is not explained, or an explanation that no longer holds.
func run(o options, out, progress io.Writer) (bool, error) {
	explained, err := readExplanations(o.explained)
	if err != nil {
		return false, err
	}
	m, err := loadModule(o.root, o.patterns)
	if err != nil {
		return false, err
	}
	if o.own {
		m.leaveOutOtherTests()
	}
	if err := m.build(o.work, progress); err != nil {
		return false, err
	}
	if err := m.trace(o.work, o.parallel, progress); err != nil {
		return false, err
	}
	chosen := choose(m.mutants, o)
	fmt.Fprintf(progress, "%d of %d mutants are tried\n", len(chosen), len(m.mutants))
	m.try(chosen, o, progress)
	for _, x := range chosen {
		if x.outcome == killed && explained[x.key()] != "" { // perhaps a test has failed by chance
			x.outcome = m.tryOne(x, o)
		}
	}
	r := report{explained: explained, all: m.mutants, tried: chosen}
	return r.write(out), nil
}

// choose returns the mutants that o selects, in the order of the source.
func choose(all []*mutant, o options) []*mutant {
	var chosen []*mutant
	for _, m := range all {
		if m.selected && o.only.MatchString(m.String()) {
			chosen = append(chosen, m)
		}
	}
	slices.SortFunc(chosen, inSourceOrder)
	return chosen
}

func inSourceOrder(a, b *mutant) int {
	if c := strings.Compare(filepath.Dir(a.file), filepath.Dir(b.file)); c != 0 {
		return c
	}
	if c := strings.Compare(a.file, b.file); c != 0 {
		return c
	}
	return a.id - b.id
}
