package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(role, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkOperations measures the first part of the table, for profiles:
//
//	go test -run '^$' -bench 'Operations/a_whole_login$/plexauth' -cpuprofile cpu.out ./bench
func BenchmarkOperations(b *testing.B) {
	a, err := record()
	require.NoError(b, err)
	for _, op := range operations(a) {
		b.Run(op.name, func(b *testing.B) {
			for _, name := range contenders {
				if f := op.by[name]; f != nil {
					b.Run(name, f)
				}
			}
		})
	}
}

// TestTable prints the first part of the table, with one round each, and requires that each
// of its rows is in docs/performance.md.
func TestTable(t *testing.T) {
	set := flag.Lookup("test.benchtime").Value
	before := set.String()
	require.NoError(t, set.Set("1x"))
	defer func() { require.NoError(t, set.Set(before)) }()
	var out strings.Builder
	require.NoError(t, run(&out, 1, task{}))
	docs, err := os.ReadFile("../../../docs/performance.md")
	require.NoError(t, err)
	rows := 0
	for line := range strings.Lines(out.String()) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| | |") {
			continue
		}
		rows++
		assert.Len(t, cells, 2+len(contenders), line)
		assert.Contains(t, string(docs), "\n"+cells[0]+" | "+cells[1]+" |", "docs/performance.md lacks this row")
	}
	assert.Equal(t, 3*7, rows, "rows of the table")
}

// Each client waits for its logins at about its pace, and leaves nothing behind.
func TestWaits(t *testing.T) {
	for _, name := range append(contenders, shared) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, err := measureWaits(task{Client: name, Logins: 50, Pace: 1, Time: time.Second}, true)
			require.NoError(t, err)
			assert.Positive(t, w.InUse)
			assert.Positive(t, w.CPU)
			assert.Positive(t, w.Allocs)
			assert.Less(t, w.Pace, 3.0, "a busy machine may delay checks and let them come close, but a client without a pace makes hundreds")
			assert.Zero(t, w.Left, "goroutines left behind")
		})
	}
}
