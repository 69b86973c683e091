// Package programtest runs the examples as the programs they are.
package programtest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const asProgram = "TEST_AS_PROGRAM"

// Main is the program where [Run] has started it, and its tests else: what
// TestMain calls.
func Main(m *testing.M, main func()) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Run runs the program in an empty directory and returns what it said and its
// exit code. No request leaves the machine, and none is answered: the program
// gets the signal when it makes its first one, and is killed where there is
// none to get, or when it goes on for too long.
func Run(t *testing.T, signal os.Signal, args ...string) (said string, code int) {
	t.Helper()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer proxy.Close()

	itself, err := os.Executable()
	require.NoError(t, err)
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	program := exec.CommandContext(ctx, itself, args...)
	program.Dir = t.TempDir()
	program.Env = append(os.Environ(), asProgram+"=1", "HTTPS_PROXY=http://"+proxy.Addr().String(), "NO_PROXY=", "no_proxy=")
	program.Stdout, program.Stderr = &out, &out
	require.NoError(t, program.Start())
	ended := make(chan struct{})
	go func() {
		conn, err := proxy.Accept()
		if err != nil {
			return // it asks for nothing
		}
		defer conn.Close()
		if signal == nil {
			signal = os.Kill
		}
		_ = program.Process.Signal(signal)
		<-ended
	}()
	_ = program.Wait() // how it ended is in its code
	close(ended)
	return out.String(), program.ProcessState.ExitCode()
}

// Stops expects the program to end by itself on Ctrl-C and on a polite kill,
// and to say so.
func Stops(t *testing.T, args ...string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("sends no signals")
	}
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		said, code := Run(t, signal, args...)
		assert.Equal(t, 130, code, signal)
		assert.Contains(t, said, "Stopped.", signal)
		assert.NotContains(t, said, "context canceled", signal)
	}
}
