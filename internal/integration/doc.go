// Package integration proves what plexauth promises about the world outside
// the process: real processes that are killed, real locks, disks and mounts,
// real databases. It is a module of its own, so that what it needs is no
// dependency of the library.
//
// A test that needs something which is not here (root, strace, a database)
// says so and is skipped; with PLEXAUTH_CI=1 it fails instead. None fetches
// anything: what others have written for Node.js comes by npm ci in node.
package integration
