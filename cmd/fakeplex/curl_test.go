package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// curl runs curl as help.txt shows. It returns the response and its body.
func curl(t *testing.T, args ...string) (*http.Response, string) {
	t.Helper()
	args = append([]string{"-s", "-S", "-i", "-m", "60", "--noproxy", "none.example.com"}, args...)
	out, err := exec.CommandContext(t.Context(), "curl", args...).Output()
	require.NoError(t, err, "curl %v", args)
	text := string(out)
	for strings.HasPrefix(text, "HTTP/1.1 200 Connection established") { // the proxy's own answer
		_, text, _ = strings.Cut(text, "\r\n\r\n")
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), &http.Request{Method: "GET"})
	require.NoError(t, err, text)
	_ = resp.Body.Close()
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	return resp, body
}

// identity has the curl arguments for the headers in help.txt.
var identity = []string{"-H", "Accept: application/json", "-H", "X-Plex-Product: My App", "-H", "X-Plex-Client-Identifier: my-app-1"}

// plex adds the headers in help.txt to args.
func plex(args ...string) []string { return append(append([]string{}, identity...), args...) }

func needCurl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
}

// A login and the calls after it work over http and https.
func TestCurl(t *testing.T) {
	needCurl(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	for name, args := range map[string][]string{"http": nil, "https": {"-tls", "-ca", ca}} {
		t.Run(name, func(t *testing.T) {
			out, stop, ended := start(t, append(args, "-q", "-approve-after", "1ms")...)
			require.True(t, out.Scan())
			base := out.Text()
			assert.True(t, strings.HasPrefix(base, name+"://"), base)
			trust := func(args []string) []string { return append(args, "--cacert", ca) }
			if name == "http" {
				trust = func(args []string) []string { return args }
			}

			resp, body := curl(t, trust(plex("-X", "POST", base+"/api/v2/pins"))...)
			assert.Equal(t, http.StatusCreated, resp.StatusCode)
			var pin struct {
				ID        int64
				AuthToken string
			}
			require.NoError(t, json.Unmarshal([]byte(body), &pin))
			assert.Equal(t, fmt.Sprintf("%s/api/v2/pins/%d", base, pin.ID), resp.Header.Get("Location"))
			for pin.AuthToken == "" {
				_, body = curl(t, trust(plex(fmt.Sprintf("%s/api/v2/pins/%d", base, pin.ID)))...)
				require.NoError(t, json.Unmarshal([]byte(body), &pin))
			}
			token := "X-Plex-Token: " + pin.AuthToken

			resp, body = curl(t, trust([]string{"-H", "X-Plex-Client-Identifier: my-app-1", "-H", token, base + "/api/v2/user"})...)
			assert.Equal(t, asXML, resp.Header.Get("Content-Type"), "XML is the default")
			assert.Contains(t, body, `username="alice"`)
			resp, body = curl(t, trust(plex("-H", token, base+"/api/v2/nothing"))...)
			assert.Equal(t, http.StatusNotFound, resp.StatusCode)
			assert.Contains(t, body, `"code":1002`)
			_, body = curl(t, trust(plex("-H", token, base+"/api/v2/resources?includeHttps=1"))...)
			var resources []struct {
				AccessToken string
				Connections []struct{ URI string }
			}
			require.NoError(t, json.Unmarshal([]byte(body), &resources), body)
			resp, body = curl(t, trust([]string{"-H", "X-Plex-Token: " + resources[0].AccessToken, resources[0].Connections[0].URI + "/accounts"})...)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Contains(t, body, `<Account id="1" key="/accounts/1" name="alice"`)
			resp, _ = curl(t, trust(plex("-X", "DELETE", "-H", token, base+"/api/v2/users/signout"))...)
			assert.Equal(t, http.StatusNoContent, resp.StatusCode)
			resp, _ = curl(t, trust(plex("-H", token, base+"/api/v2/user"))...)
			assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			stop()
			assert.NoError(t, <-ended)
		})
	}
}

// A program that calls plex.tv by its own addresses needs no change.
func TestProxy(t *testing.T) {
	needCurl(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	out, stop, ended := start(t, "-q", "-ca", ca)
	require.True(t, out.Scan())
	base := out.Text()
	through := func(args ...string) []string { return append([]string{"-x", base, "--cacert", ca}, args...) }

	resp, body := curl(t, through(plex("-X", "POST", "https://clients.plex.tv/api/v2/pins?strong=true")...)...)
	assert.Equal(t, http.StatusCreated, resp.StatusCode)
	assert.Contains(t, body, `"expiresIn":1800`)
	resp, body = curl(t, through("https://app.plex.tv/auth")...)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Contains(t, body, "fake plex.tv")
	resp, _ = curl(t, through("http://example.com/")...)
	assert.Equal(t, http.StatusBadGateway, resp.StatusCode, "no request leaves the machine")
	err := exec.CommandContext(t.Context(), "curl", through("-s", "https://example.com/")...).Run()
	assert.Error(t, err)
	resp, _ = curl(t, through(base+"/link")...)
	assert.Equal(t, http.StatusOK, resp.StatusCode, "the base URL works through the proxy too")
	stop()
	assert.NoError(t, <-ended)
}

// Only with -cors may scripts of any page call the API and read the Location of
// a new PIN.
func TestCORS(t *testing.T) {
	needCurl(t)
	for _, args := range [][]string{{"-q"}, {"-q", "-cors"}} {
		out, stop, ended := start(t, args...)
		require.True(t, out.Scan())
		origin, exposed := "", ""
		if len(args) > 1 {
			origin, exposed = "*", "Location"
		}
		for _, ask := range [][]string{plex("-X", "POST", out.Text()+"/api/v2/pins"), {out.Text() + "/api/v2/ping"}} {
			resp, _ := curl(t, append([]string{"-H", "Origin: https://app.example"}, ask...)...)
			assert.Equal(t, origin, resp.Header.Get("Access-Control-Allow-Origin"))
			assert.Equal(t, exposed, resp.Header.Get("Access-Control-Expose-Headers"))
		}
		resp, _ := curl(t, "-X", "OPTIONS", "-H", "Access-Control-Request-Headers: x-plex-product", out.Text()+"/api/v2/pins")
		assert.Equal(t, exposed != "", resp.StatusCode == http.StatusNoContent, "a browser sends OPTIONS before a request with custom headers")
		assert.Equal(t, exposed != "", resp.Header.Get("Access-Control-Allow-Headers") == "x-plex-product")
		stop()
		assert.NoError(t, <-ended)
	}
}
