package mediaserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/secret"
)

// G25: the best address that answers is used, even if a lesser one was a little faster.
// The wait for better ones is short.
func TestProbeWaits(t *testing.T) {
	never := time.Hour
	for name, tc := range map[string]struct {
		delays  map[string]time.Duration // by address; those that are missing do not answer
		patient bool
		best    string
		took    time.Duration
	}{
		"the best is first":              {map[string]time.Duration{directLocal: 0, directRemote: 0, relay: 0}, false, directLocal, 0},
		"the best is a little slower":    {map[string]time.Duration{directLocal: 900 * time.Millisecond, directRemote: 0}, false, directLocal, 900 * time.Millisecond},
		"the best is too slow":           {map[string]time.Duration{directLocal: 3 * time.Second, directRemote: 0}, false, directRemote, time.Second},
		"only the relay is quick":        {map[string]time.Duration{directRemote: 1900 * time.Millisecond, relay: 0}, false, directRemote, 2900 * time.Millisecond},
		"only the relay":                 {map[string]time.Duration{relay: 0}, false, relay, 2 * time.Second},
		"nothing answers":                {nil, false, "", mediaserver.ProbeLimit},
		"a person sees the lesser, too":  {map[string]time.Duration{directLocal: 0, directRemote: 800 * time.Millisecond}, true, directLocal, time.Second},
		"a person does not wait forever": {map[string]time.Duration{directLocal: 0}, true, directLocal, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProber(transport(func(req *http.Request) (*http.Response, error) {
					delay, ok := tc.delays[strings.TrimSuffix(req.URL.String(), "/identity")]
					if !ok {
						delay = never
					}
					select {
					case <-time.After(delay):
						return response(req, 200, identity("m1"), nil), nil
					case <-req.Context().Done():
						return nil, req.Context().Err()
					}
				}))
				defer p.Close()
				p.Patient = tc.patient
				s := ownServer
				s.HTTPSRequired = true
				began := time.Now()
				found := p.Probe(t.Context(), mediaserver.Listed(with(s, relayed, remote, local)), anyServer)
				assert.Equal(t, tc.took, time.Since(began))
				best := mediaserver.Best(found)
				if tc.best == "" {
					assert.Nil(t, best)
					return
				}
				require.NotNil(t, best)
				assert.Equal(t, tc.best, best.URL)
				assert.Equal(t, tc.best == directLocal, best.Local)
				assert.Equal(t, tc.best == relay, best.Relay)
				assert.False(t, best.IsSaved())
			})
		})
	}
}

// Plain http is not used if the same address has a bad certificate over https: that may
// be another machine.
func TestPlainHTTPHidesNoBadCertificate(t *testing.T) {
	p := newProber(transport(func(req *http.Request) (*http.Response, error) {
		if req.URL.Scheme == "https" {
			return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
		}
		return response(req, 200, identity("m1"), nil), nil
	}))
	defer p.Close()
	p.Patient = true
	found := p.Probe(t.Context(), mediaserver.Listed(with(ownServer, local)), anyServer)
	require.Len(t, found, 2)
	assert.Nil(t, mediaserver.Best(found))
	assert.Contains(t, found[1].Finding, "its https has a bad certificate")
	assert.Error(t, found[1].Err)
}

// A caller that gives up is told so, and nothing was found.
func TestProbeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := newProber(transport(func(req *http.Request) (*http.Response, error) { return nil, req.Context().Err() }))
	defer p.Close()
	found := p.Probe(ctx, mediaserver.Typed("https://192.168.1.5:32400", true), anyServer)
	assert.Equal(t, "not waited for", found[0].Finding)
	assert.NoError(t, found[0].Err)
}

// A token counts as accepted only by a media server's own answer.
func TestTryToken(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		is     error // nil: accepted
	}{
		"accepted":       {200, identity("m1"), nil},
		"refused":        {401, "", fault.ErrServerToken},
		"a proxy's page": {200, "<html>Welcome</html>", fault.ErrUnavailable},
		"it fails":       {500, "", fault.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProber(transport(func(req *http.Request) (*http.Response, error) {
				assert.Equal(t, "tok-1", req.Header.Get("X-Plex-Token"))
				assert.Equal(t, "client-1", req.Header.Get("X-Plex-Client-Identifier"))
				return response(req, tc.status, tc.body, nil), nil
			}))
			defer p.Close()
			err := p.TryToken(t.Context(), &mediaserver.Address{URL: "https://192.168.1.5:32400"}, secret.New("tok-1"), "client-1")
			if tc.is == nil {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, tc.is)
			}
		})
	}
}
