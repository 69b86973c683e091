package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkOperations is the table's first part, for profiles:
// go test -bench 'Operations/whole.*/plexauth' -cpuprofile cpu.out ./bench
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
