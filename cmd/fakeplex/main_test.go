package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// start runs the program. It returns the lines that the program prints, a
// function that stops it, and a channel for its error.
func start(t *testing.T, args ...string) (lines *bufio.Scanner, stop func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, args, w)
		w.Close()
		done <- err
	}()
	return bufio.NewScanner(r), cancel, done
}

// ask sends a request about a PIN and decodes the answer.
func ask(t *testing.T, method, url string) (pin struct {
	ID        int64
	Code      string
	AuthToken *string
}) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("X-Plex-Client-Identifier", "test-1")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&pin))
	return pin
}

func TestApprovesByItselfAndEnds(t *testing.T) {
	out, stop, ended := start(t, "-approve-after", "1ms")
	require.True(t, out.Scan())
	base, ok := strings.CutPrefix(out.Text(), "fake plex.tv: ")
	require.True(t, ok, out.Text())
	require.True(t, out.Scan())
	assert.Contains(t, out.Text(), "media server: http://127.0.0.1:")
	require.True(t, out.Scan())
	assert.Equal(t, "enter a code: "+base+"/link", out.Text())
	require.True(t, out.Scan())
	assert.Contains(t, out.Text(), "ctrl-C")

	pin := ask(t, "POST", base+"/api/v2/pins")
	require.True(t, out.Scan())
	assert.Equal(t, "approved "+pin.Code+" as alice", out.Text())
	pin = ask(t, "GET", fmt.Sprintf("%s/api/v2/pins/%d", base, pin.ID))
	assert.NotNil(t, pin.AuthToken)

	stop()
	require.True(t, out.Scan())
	assert.Empty(t, out.Text(), "ends the line of ^C")
	require.True(t, out.Scan())
	assert.Equal(t, "violation: POST "+strings.TrimPrefix(base, "http://")+"/api/v2/pins: X-Plex-Product is missing", out.Text())
	for out.Scan() {
	}
	select {
	case err := <-ended:
		assert.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("fakeplex did not stop")
	}
	_, err := http.Get(base)
	assert.Error(t, err)
}

func TestQuietPrintsTheURLAlone(t *testing.T) {
	out, stop, ended := start(t, "-q", "-addr", "localhost:0")
	require.True(t, out.Scan())
	resp, err := http.Get(out.Text() + "/link")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	stop()
	assert.False(t, out.Scan())
	assert.NoError(t, <-ended)
}

// Flags choose how the media server behaves where real servers differ: which
// token a user gets, and how /accounts is refused.
func TestServerFlags(t *testing.T) {
	needCurl(t)
	out, stop, ended := start(t, "-q", "-owned-token-is-account-token", "-accounts-refusal", "404", "-plex-header")
	require.True(t, out.Scan())
	base := out.Text()
	get := func(url, token string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		r.Header.Set("Accept", "application/json")
		r.Header.Set("X-Plex-Client-Identifier", "test-1")
		r.Header.Set("X-Plex-Token", token)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(body)
	}
	for _, c := range []struct {
		who    string
		same   bool
		status int
	}{{"alice", true, http.StatusOK}, {"bob", false, http.StatusNotFound}} {
		token, _ := signIn(t, base, c.who)
		var resources []struct {
			AccessToken string
			Connections []struct{ URI string }
		}
		_, body := get(base+"/api/v2/resources?includeHttps=1", token)
		require.NoError(t, json.Unmarshal([]byte(body), &resources))
		assert.Equal(t, c.same, resources[0].AccessToken == token, c.who)
		resp, _ := get(resources[0].Connections[0].URI+"/accounts", resources[0].AccessToken)
		assert.Equal(t, c.status, resp.StatusCode, c.who)
		assert.Equal(t, "1.0", resp.Header.Get("X-Plex-Protocol"))
	}
	stop()
	assert.NoError(t, <-ended)
}

func TestArguments(t *testing.T) {
	var out bytes.Buffer
	assert.ErrorIs(t, run(t.Context(), []string{"-h"}, &out), flag.ErrHelp)
	for _, word := range []string{"curl", "-approve-after", "/link", "X-Plex-Client-Identifier"} {
		assert.Contains(t, out.String(), word)
	}
	for _, args := range [][]string{{"-addr", "0.0.0.0:0"}, {"-addr", "192.168.1.1:80"}, {"-addr", "nonsense"}, {"-nope"}, {"extra"}, {"-tls"}, {"-ca", "/nowhere/ca.pem"}, {"-accounts-refusal", "500"}} {
		out.Reset()
		assert.Error(t, run(t.Context(), args, &out), args)
		assert.Empty(t, out.String(), "only main prints the error")
	}
}
