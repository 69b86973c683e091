package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
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

// nodeClient returns a process of Node.js that may connect to this machine only.
func nodeClient(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "node", append([]string{"--require", "./loopback.cjs"}, args...)...)
	c.Dir = nodeDir
	c.Env = append(os.Environ(), "NODE_NO_WARNINGS=1")
	return c
}

// requireNode ends a test that needs Node.js or its packages where they are missing.
func requireNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "node (Debian's package nodejs)")
	}
	if _, err := os.Stat(filepath.Join(nodeDir, "node_modules")); err != nil {
		missing(t, "the packages of Node.js (npm ci in internal/integration/node)")
	}
}

// The documentation of plextest names the clients with the versions that are installed.
func TestForeignClientsAreDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(nodeDir, "package.json"))
	require.NoError(t, err)
	var pinned struct{ Dependencies map[string]string }
	require.NoError(t, json.Unmarshal(data, &pinned))
	doc, err := exec.CommandContext(t.Context(), "go", "doc", "github.com/plexauth/plexauth/plextest").CombinedOutput()
	require.NoError(t, err, string(doc))
	for name, version := range pinned.Dependencies {
		if strings.Contains(name, "plex") {
			assert.Contains(t, strings.Join(strings.Fields(string(doc)), " "), name+" "+version)
		}
	}
}

// A client that bypasses the proxy reaches no other machine.
func TestForeignClientsStayHere(t *testing.T) {
	requireNode(t)
	for name, script := range map[string]string{
		"fetch": `fetch("https://plex.tv/").catch(e => { throw e.cause })`,
		"https": `require("node:https").get("https://plex.tv/")`,
		"http":  `require("node:http").get("http://192.0.2.1/")`,
		"net":   `require("node:net").connect(443, "plex.tv")`,
		"tls":   `require("node:tls").connect({ port: 443, host: "plex.tv" })`,
	} {
		out, err := nodeClient(t.Context(), "-e", script).CombinedOutput()
		assert.Error(t, err, name)
		assert.Contains(t, string(out), "no test may connect to ", name)
	}
}

// Clients of other authors sign in at the fake as at plex.tv. All they are told is to use it
// as a proxy.
func TestForeignClients(t *testing.T) {
	requireNode(t)
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
			[]string{"https://app.plex.tv/auth#?clientID=", "account: alice 7001009", "home: alice,Kids", "server: Box 1", "connected: Box"},
			[]string{"GET plex.tv/api/v2/pins/{id}: X-Plex-Product is missing"},
		},
		{
			"plex-oauth.js",
			[]string{"https://app.plex.tv/auth#?code=", "token: true"},
			nil,
		},
		{
			// It goes on to the first API, reads XML and JSON of a media server, and signs out.
			"plex-api.js",
			[]string{
				"code: 4", "account: alice", "home: alice,Kids", "home, from the first API: alice,Kids", "users: bob,Kids", "server: Box",
				"accounts: ,alice,bob,Kids after 1 refusal", "libraries: Films", "signed out: Plex Server denied request",
			},
			nil,
		},
		{
			// It is generated from a description of the API, and checks answers against it.
			"plexjs.js",
			[]string{
				"code: 4 for 900 seconds", "code: 25 for 1800 seconds", "server: Box 1", `users: title="bob",title="Kids"`, "identity: true", "capabilities: Box",
				"refused: GetServerResourcesUnauthorized 1001", "expired: GetTokenByPinIdResponseBody 1020",
			},
			[]string{"GET plex.tv/api/v2/resources: X-Plex-Product is missing"},
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

			client := nodeClient(ctx, row.script)
			client.Env = append(client.Env, "HTTPS_PROXY="+base, "HTTP_PROXY="+base, "NO_PROXY=", "NODE_EXTRA_CA_CERTS="+ca)
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
