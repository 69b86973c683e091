package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// children has a function for each name that [child] takes. It gets the arguments of
// child, and an error makes the exit status 1. A test file adds its own in an init function.
var children = map[string]func(args []string) error{}

const childEnv = "PLEXAUTH_TEST_CHILD"

func TestMain(m *testing.M) {
	name, ok := os.LookupEnv(childEnv)
	if !ok {
		code := m.Run()
		for _, stop := range stopBrowsers {
			stop()
		}
		os.Exit(code)
	}
	run, ok := children[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "there is no child process called", name)
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child returns a process that runs children[name] in another copy of this test binary. The
// caller starts it. Its standard error goes to that of the test.
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
