// Package programtest runs the examples as programs of their own.
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

// runMainEnv makes the test binary run the program instead of its tests.
const runMainEnv = "TEST_AS_PROGRAM"

// Main runs main if [Run] has started this process, and the tests otherwise.
// TestMain calls it.
func Main(m *testing.M, main func()) {
	if os.Getenv(runMainEnv) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Run runs the program in an empty directory and returns its output and its exit
// code. All its requests go to a proxy that answers none of them. The first
// request makes Run send signal to the program, or kill it if signal is nil. Run
// kills a program that takes longer than a minute.
func Run(t *testing.T, signal os.Signal, args ...string) (output string, code int) {
	t.Helper()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer proxy.Close()

	itself, err := os.Executable()
	require.NoError(t, err)
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	program := exec.CommandContext(ctx, itself, args...)
	program.Dir = t.TempDir()
	program.Env = append(os.Environ(), runMainEnv+"=1", "HTTPS_PROXY=http://"+proxy.Addr().String(), "NO_PROXY=", "no_proxy=")
	program.Stdout, program.Stderr = &out, &out
	require.NoError(t, program.Start())
	ended := make(chan struct{})
	go func() {
		conn, err := proxy.Accept()
		if err != nil {
			return // the program sent no request
		}
		defer conn.Close()
		if signal == nil {
			signal = os.Kill
		}
		_ = program.Process.Signal(signal)
		<-ended
	}()
	_ = program.Wait() // the exit code says how it ended
	close(ended)
	return out.String(), program.ProcessState.ExitCode()
}

// Stops checks that the program ends cleanly on an interrupt and on SIGTERM, and
// that it prints so.
func Stops(t *testing.T, args ...string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		output, code := Run(t, signal, args...)
		assert.Equal(t, 130, code, signal)
		assert.Contains(t, output, "Stopped.", signal)
		assert.NotContains(t, output, "context canceled", signal)
	}
}
