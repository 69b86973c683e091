// Package integration tests plexauth with what is outside the process: processes that
// are killed, locks, disks and mounts, databases and browsers. It is a module of its own,
// so that the library does not depend on what these tests need.
//
// A test that needs something which is missing, such as root, strace or a database, says so
// and is skipped. With PLEXAUTH_CI=1 it fails instead. No test downloads anything: run npm ci
// in node before, for the packages of Node.js.
//
// No test relies on an idle machine. It waits for a condition, for [patience] at most. Where
// a time itself is promised, it allows for [slack].
package integration
