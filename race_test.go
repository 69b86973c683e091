//go:build race

package plexauth_test

// moreWithRaceDetector is how many bytes more a goroutine takes: its stack is twice as large.
const moreWithRaceDetector = 2048.0
