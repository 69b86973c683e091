package jsonfile_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHoldLock is the other process of TestNameOfTheHolder. It holds a lock until its input
// ends.
func TestHoldLock(t *testing.T) {
	path := os.Getenv("PLEXAUTH_TEST_HELD")
	if path == "" {
		t.Skip("run by TestNameOfTheHolder")
	}
	holdLock(t, path)
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// G13: a process that has the lock chooses its name, and no control character of it reaches an
// error.
func TestNameOfTheHolder(t *testing.T) {
	path := fileWith(t, "{}")
	require.NoError(t, open(path).Check(t.Context()))
	self, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), "a\x1b[2J\nb\u009bc")
	require.NoError(t, os.Symlink(self, program))
	holder := exec.Command(program, "-test.run=^TestHoldLock$")
	holder.Env = append(os.Environ(), "PLEXAUTH_TEST_HELD="+path)
	input, err := holder.StdinPipe()
	require.NoError(t, err)
	output, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	defer func() {
		input.Close()
		assert.NoError(t, holder.Wait())
	}()
	lines := bufio.NewReader(output)
	for line := ""; line != "held\n"; {
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = open(path).Check(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "(a [2J b c)")
}
