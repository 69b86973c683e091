//go:build !race

package plexauth_test

const moreWithRaceDetector = 0.0
