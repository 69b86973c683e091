package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/integration/postgres"
	"github.com/plexauth/plexauth/internal/measure"
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
	require.NoError(t, runOperations(&out, 1))
	assert.Equal(t, 3*7, checkRows(t, out.String(), 2+len(contenders)), "rows of the table")
}

// TestDocuments prints the tables of logins among documents and among profiles, with few of
// them.
func TestDocuments(t *testing.T) {
	var out strings.Builder
	err := scale{documents: []int{2, 5}, profiles: []int{1, 3}, logins: 2}.run(&out)
	if errors.Is(err, postgres.ErrMissing) && os.Getenv("PLEXAUTH_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	assert.Equal(t, 8, checkRows(t, out.String(), 4), "rows of the tables")
}

// checkRows requires that each row of the tables has so many cells and is in
// docs/performance.md. It returns the number of rows.
func checkRows(t *testing.T, tables string, cells int) (rows int) {
	t.Helper()
	docs, err := os.ReadFile("../../../docs/performance.md")
	require.NoError(t, err)
	lines := slices.Collect(strings.Lines(tables))
	for i, line := range lines {
		isHead := i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|---")
		if !strings.HasPrefix(line, "| ") || isHead {
			continue
		}
		rows++
		got := strings.Split(line, " | ")
		assert.Len(t, got, cells, line)
		assert.Contains(t, string(docs), "\n"+got[0]+" | "+got[1]+" |", "docs/performance.md lacks this row")
	}
	return rows
}

// A document takes a few hundred bytes in a MemoryStore.
func TestMemoryOfDocuments(t *testing.T) {
	a, err := record()
	require.NoError(t, err)
	p := &people{options: measure.Options(a.client()), shared: true}
	for range 1000 {
		_, err := p.start()
		require.NoError(t, err)
	}
	bytes, err := p.documents()
	require.NoError(t, err)
	assert.InDelta(t, 500, bytes, 300)
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
