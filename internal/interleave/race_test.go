//go:build race

package interleave_test

// underRace says that the race detector watches, which makes all of it ten times slower.
const underRace = true
