package integration_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nodeDir has the packages of Node.js that these tests use. npm ci installs them.
const nodeDir = "node"

// Clients of other authors sign in at the fake as at plex.tv. All they are told is to use it
// as a proxy.
func TestForeignClients(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "node (Debian's package nodejs)")
	}
	if _, err := os.Stat(filepath.Join(nodeDir, "node_modules")); err != nil {
		missing(t, "the packages of Node.js (npm ci in internal/integration/node)")
	}
	fakeplex := filepath.Join(t.TempDir(), "fakeplex")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", fakeplex, "github.com/plexauth/plexauth/cmd/fakeplex").CombinedOutput()
	require.NoError(t, err, string(out))

	for _, row := range []struct {
		script     string
		prints     []string
		violations []string
	}{
		{
			// It is a port of python-plexapi, and asks for the account and a media server too.
			"ctrl-plex.js",
			[]string{"https://app.plex.tv/auth#?clientID=", "account: alice 7001009", "server: Box 1", "connected: Box"},
			[]string{"GET plex.tv/api/v2/pins/{id}: X-Plex-Product is missing"},
		},
		{
			"plex-oauth.js",
			[]string{"https://app.plex.tv/auth#?code=", "token: true"},
			nil,
		},
	} {
		t.Run(row.script, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			fake := exec.CommandContext(ctx, fakeplex, "-addr", "127.0.0.1:0", "-ca", ca, "-approve-after", "1s")
			output, err := fake.StdoutPipe()
			require.NoError(t, err)
			fake.Stderr = os.Stderr
			require.NoError(t, fake.Start())
			lines := bufio.NewScanner(output)
			require.True(t, lines.Scan())
			base, ok := strings.CutPrefix(lines.Text(), "fake plex.tv: ")
			require.True(t, ok, lines.Text())

			client := exec.CommandContext(ctx, "node", row.script)
			client.Dir = nodeDir
			client.Env = append(os.Environ(), "HTTPS_PROXY="+base, "HTTP_PROXY="+base, "NO_PROXY=", "NODE_EXTRA_CA_CERTS="+ca, "NODE_NO_WARNINGS=1")
			out, err := client.CombinedOutput()
			require.NoError(t, err, string(out))
			for _, line := range row.prints {
				assert.Contains(t, string(out), line)
			}

			require.NoError(t, fake.Process.Signal(os.Interrupt))
			var violations []string
			for lines.Scan() {
				if v, ok := strings.CutPrefix(lines.Text(), "violation: "); ok {
					violations = append(violations, v)
				}
			}
			assert.NoError(t, fake.Wait())
			require.Len(t, violations, len(row.violations), violations)
			for i, v := range row.violations {
				assert.Contains(t, violations[i], v)
			}
		})
	}
}
