package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// needsStrace returns the path of strace, and ends a test where strace does not work.
func needsStrace(t *testing.T) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		missing(t, "strace (Debian's package strace)")
	}
	if out, err := exec.CommandContext(t.Context(), strace, "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true").CombinedOutput(); err != nil {
		missing(t, "the right to trace a process: "+string(out))
	}
	return strace
}

// straced runs a child under strace with these options. It returns the lines of the trace,
// the child's standard error, and whether the child succeeded.
func straced(t *testing.T, name, path string, options ...string) (trace []string, stderr string, ok bool) {
	t.Helper()
	strace := needsStrace(t)
	log := filepath.Join(t.TempDir(), "trace")
	c := child(t, name, path)
	args := append([]string{strace, "-f", "-y", "-qq", "-o", log}, options...)
	c.Path, c.Args = strace, append(append(args, c.Path), c.Args[1:]...)
	var out strings.Builder
	c.Stderr = &out
	err := c.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		require.NoError(t, err)
	}
	data, err := os.ReadFile(log)
	require.NoError(t, err, out.String())
	return strings.Split(string(data), "\n"), out.String(), c.ProcessState.Success()
}

// inOrder requires that lines of the trace match the expressions in steps, in this order,
// and returns all lines that name dir. Other lines may be between them.
func inOrder(t *testing.T, trace []string, dir string, steps []string) (seen []string) {
	t.Helper()
	for _, line := range trace {
		if strings.Contains(line, dir) {
			seen = append(seen, line)
		}
	}
	at := 0
	for _, step := range steps {
		found := regexp.MustCompile(step)
		for at < len(seen) && !found.MatchString(seen[at]) {
			at++
		}
		require.Less(t, at, len(seen), "no %s, in this order, in\n%s", step, strings.Join(seen, "\n"))
	}
	return seen
}
