// Command bench compares plexauth with its alternatives: net/http by hand, the device flow of
// golang.org/x/oauth2, and that of github.com/cli/oauth. It prints one table in Markdown:
//
//	go run ./bench
//
// It measures:
//
//   - Single operations, with testing.Benchmark. The network answers in process, so that only
//     the client's own work counts.
//   - Ten thousand logins that wait for their approval at once. Each client has a process of
//     its own, and the server another, over one HTTP/2 connection; and the same in process.
//   - A login among few and many documents of PostgreSQL and SQLite, beside one that is written
//     by hand over a table with a row for each person; and a login among the profiles of one
//     document.
//
// The clients of the device flow (RFC 8628) get answers of that flow at the same points. In
// each of these operations plexauth reads and writes a store. The others store nothing. Each
// number is the median of several rounds. In a round the clients take turns, so that a busy
// machine slows down all of them.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plexauth/plexauth/internal/measure"
)

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(role, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testing.Init()
	rounds := flag.Int("rounds", 5, "how often each operation is measured; the median counts")
	each := flag.Duration("time", 500*time.Millisecond, "how long an operation is measured in each round")
	logins := flag.Int("logins", 10_000, "logins that wait at once")
	pace := flag.Int("pace", 2, "seconds between two checks of one login; 1 takes all the time of two processors")
	watch := flag.Duration("watch", 10*time.Second, "how long the waits are measured")
	heap := flag.String("heap", "", "file for a profile of the heap of plexauth with a document a login, all waiting over HTTP/2; the profile takes time and memory itself")
	only := flag.String("only", "", "one part of the measurements: operations, waits or documents; empty: all")
	flag.Parse()
	if err := flag.Set("test.benchtime", each.String()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := scale{documents: []int{10, 1000, 100_000}, profiles: []int{1, 1000}, logins: 100 * *rounds}
	if err := run(os.Stdout, *only, *rounds, task{Logins: *logins, Pace: *pace, Time: *watch, Heap: *heap}, s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures one part, or all, and prints the tables.
func run(w io.Writer, only string, rounds int, t task, s scale) error {
	fmt.Fprintf(w, "%s, %s/%s, %d × %s, %s, load %s\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), cpuModel(), runtime.Version(), load())
	parts := []struct {
		name string
		run  func() error
	}{
		{"operations", func() error { return runOperations(w, rounds) }},
		{"waits", func() error { return runWaits(w, t) }},
		{"documents", func() error { return s.run(w) }},
	}
	known := only == ""
	for _, part := range parts {
		if only != "" && only != part.name {
			continue
		}
		known = true
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if !known {
		return fmt.Errorf("there is no part %q", only)
	}
	return nil
}

// printHead prints the head of a table of the contenders.
func printHead(w io.Writer) {
	fmt.Fprintf(w, "\n| | | %s |\n|---|---|%s\n", strings.Join(contenders, " | "), strings.Repeat("--:|", len(contenders)))
}

// runOperations measures the single operations.
func runOperations(w io.Writer, rounds int) error {
	a, err := record()
	if err != nil {
		return err
	}
	printHead(w)
	for _, op := range operations(a) {
		printOperation(w, op, rounds)
	}
	return nil
}

// runWaits measures the logins that wait at once.
func runWaits(w io.Writer, t task) error {
	printHead(w)
	heap := t.Heap
	for _, where := range []struct {
		name  string
		http2 bool
	}{
		{fmt.Sprintf("%d waits, a check each %d s, over one HTTP/2 connection", t.Logins, t.Pace), true},
		{fmt.Sprintf("%d waits, a check each %d s, in process", t.Logins, t.Pace), false},
	} {
		results := map[string]*waits{}
		for _, name := range append(contenders, shared) {
			t.Client, t.Heap = name, ""
			if name == shared && where.http2 {
				t.Heap = heap
			}
			v, err := measureWaits(t, where.http2)
			if err != nil {
				return err
			}
			results[name] = v
		}
		printWaits(w, where.name, t.Pace, results)
	}
	return nil
}

// printOperation measures an operation, and prints its rows.
func printOperation(w io.Writer, op operation, rounds int) {
	got := map[string]map[string][]float64{}
	for range rounds {
		for _, name := range contenders {
			f := op.by[name]
			if f == nil {
				continue
			}
			r := testing.Benchmark(f)
			if got[name] == nil {
				got[name] = map[string][]float64{}
			}
			got[name]["time"] = append(got[name]["time"], float64(r.NsPerOp()))
			got[name]["memory"] = append(got[name]["memory"], float64(r.AllocedBytesPerOp()))
			got[name]["allocations"] = append(got[name]["allocations"], float64(r.AllocsPerOp()))
		}
	}
	first := op.name
	for _, what := range []string{"time", "memory", "allocations"} {
		values := map[string]float64{}
		for _, name := range contenders {
			if got[name] != nil {
				values[name] = measure.Median(got[name][what])
			}
		}
		row(w, first, what, values, formats[what])
		first = ""
	}
}

var formats = map[string]func(float64) string{
	"time":        func(ns float64) string { return short(ns, "ns", "µs", "ms", "s") },
	"memory":      func(b float64) string { return short(b, "B", "kB", "MB") },
	"allocations": func(n float64) string { return fmt.Sprintf("%.0f", n) },
}

func printWaits(w io.Writer, name string, pace int, results map[string]*waits) {
	for _, m := range []struct {
		name   string
		of     func(*waits) float64
		format func(float64) string
	}{
		{"resident memory a login", func(v *waits) float64 { return v.Resident }, formats["memory"]},
		{"heap and stacks a login", func(v *waits) float64 { return v.InUse }, formats["memory"]},
		{"goroutines a login", func(v *waits) float64 { return v.Goroutines }, fixed},
		{"processor a check", func(v *waits) float64 { return float64(v.CPU) }, formats["time"]},
		{"allocations a check", func(v *waits) float64 { return v.Allocs }, formats["allocations"]},
		{fmt.Sprintf("checks a login in %d s", pace), func(v *waits) float64 { return v.Pace }, fixed},
		{"all approved: until the last has ended", func(v *waits) float64 { return float64(v.Finished) }, formats["time"]},
		{"goroutines left behind", func(v *waits) float64 { return float64(v.Left) }, formats["allocations"]},
		{"heap and stacks left behind a login", func(v *waits) float64 { return max(v.Kept, 0) }, formats["memory"]},
	} {
		values := map[string]float64{}
		for _, c := range contenders {
			values[c] = m.of(results[c])
		}
		row(w, name, m.name, values, m.format)
		name = ""
		switch m.name {
		case "resident memory a login", "heap and stacks a login", "heap and stacks left behind a login":
			row(w, "", "… as documents of one client", map[string]float64{ours: m.of(results[shared]), byHand: values[byHand]}, m.format)
		}
	}
	row(w, "", "… without the document itself", map[string]float64{ours: max(results[shared].Kept-results[shared].Documents, 0), byHand: results[byHand].Kept}, formats["memory"])
}

func fixed(v float64) string { return fmt.Sprintf("%.2f", v) }

// row prints one row. Each value has its ratio to that of the login by hand.
func row(w io.Writer, what, measure string, values map[string]float64, format func(float64) string) {
	fmt.Fprintf(w, "| %s | %s |", what, measure)
	for _, name := range contenders {
		v, ok := values[name]
		switch base := values[byHand]; {
		case !ok:
			fmt.Fprint(w, " – |")
		case name == byHand || base <= 0:
			fmt.Fprintf(w, " %s |", format(v))
		default:
			fmt.Fprintf(w, " %s (%.2f×) |", format(v), v/base)
		}
	}
	fmt.Fprintln(w)
}

// short formats v with about three digits, in the unit that suits it.
func short(v float64, units ...string) string {
	i := 0
	for ; v >= 1000 && i < len(units)-1; i++ {
		v /= 1000
	}
	digits := 0
	if i > 0 && v < 100 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %s", digits, v, units[i])
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "processors"
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); len(f) > 0 {
		return f[0]
	}
	return "unknown"
}
