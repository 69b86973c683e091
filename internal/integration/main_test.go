package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// children are what a process started by [child] does, by name. A test file
// adds its own in an init function. The arguments are those given to child; an
// error is printed and makes the exit status 1.
var children = map[string]func(args []string) error{}

const childEnv = "PLEXAUTH_TEST_CHILD"

func TestMain(m *testing.M) {
	name, ok := os.LookupEnv(childEnv)
	if !ok {
		os.Exit(m.Run())
	}
	run, ok := children[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no child is called", name)
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a process that runs children[name]: this test binary once more. It
// is not started. What it prints on standard error comes with the test's
// output unless the caller sets Stderr.
func child(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	require.Contains(t, children, name)
	c := exec.CommandContext(t.Context(), self, args...)
	c.Env = append(os.Environ(), childEnv+"="+name)
	c.Stderr = os.Stderr
	return c
}

// lacks ends a test that needs what is not here: skipped, or failed where all
// must be here.
func lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("PLEXAUTH_CI") == "1" {
		t.Fatalf("needs %s, and PLEXAUTH_CI=1 says that all is here", what)
	}
	t.Skipf("needs %s", what)
}
