package mediaserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// G25: the best address that answers is used, even if a lesser one was a little faster.
// The wait for better ones is short.
func TestProbeWaits(t *testing.T) {
	const slower = "https://203-0-113-6." + hash + ".plex.direct:32400" // no better than directRemote
	for name, tc := range map[string]struct {
		delays  map[string]time.Duration // by address; those that are missing do not answer, negative ones fail
		patient bool
		best    string
		took    time.Duration
	}{
		"a better one fails":             {map[string]time.Duration{directLocal: -1, directRemote: 300 * time.Millisecond}, false, directRemote, 300 * time.Millisecond},
		"all fail":                       {map[string]time.Duration{directLocal: -1, directRemote: -1, slower: -1, relay: -1}, false, "", 0},
		"none is better":                 {map[string]time.Duration{directLocal: -1, directRemote: 0}, false, directRemote, 0},
		"no better one comes later":      {map[string]time.Duration{directLocal: -1, directRemote: 0, slower: 500 * time.Millisecond}, true, directRemote, time.Second},
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
				answers := map[string]answer{}
				for address, delay := range tc.delays {
					answers[address] = answer{after: delay}
					if delay < 0 {
						answers[address] = answer{err: net.ErrClosed}
					}
				}
				p := newProber(answering(answers, answer{after: time.Hour}))
				defer p.Close()
				p.Patient = tc.patient
				s := ownServer
				s.HTTPSRequired = true
				other := remote
				other.URI = slower
				candidates := mediaserver.Listed(with(s, relayed, remote, other, local))
				began := time.Now()
				found := p.Probe(t.Context(), candidates, anyServer)
				assert.Equal(t, tc.took, time.Since(began))
				best := mediaserver.Best(found)
				for _, a := range found {
					delay, answers := tc.delays[a.URL]
					if inTime := answers && delay <= tc.took; !inTime && best != nil {
						assert.Equal(t, "not waited for, since another address answers", a.Finding, a.URL)
						assert.NoError(t, a.Err)
					}
				}
				if tc.best == "" {
					assert.Nil(t, best)
					return
				}
				require.NotNil(t, best)
				assert.Equal(t, tc.best, best.URL)
				assert.Equal(t, tc.delays[tc.best], best.Took)
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

// An answer over plain http does not count if the https of the address turns out to have a
// bad certificate, even at the last moment. Other addresses are not concerned.
func TestBadCertificateComesLater(t *testing.T) {
	const httpDocker = "http://172.17.0.2:32400"
	bad := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	for name, tc := range map[string]struct {
		answers map[string]answer // by address; those that are missing refuse the connection
		refused string            // the address that is not used because of its https
		best    string
		took    time.Duration
	}{
		"the wait begins again":          {map[string]answer{directLocal: {500 * time.Millisecond, bad, false}, plainLocal: {}, directRemote: {1200 * time.Millisecond, nil, false}}, plainLocal, directRemote, 1200 * time.Millisecond},
		"at the last moment":             {map[string]answer{directLocal: {0, bad, false}, directRemote: {}, plainLocal: {1500 * time.Millisecond, nil, true}, httpDocker: {time.Hour, nil, false}}, plainLocal, directRemote, 1500 * time.Millisecond},
		"the https of another":           {map[string]answer{directLocal: {0, bad, false}, plainDocker: {}}, "", plainDocker, 0},
		"the https is refused otherwise": {map[string]answer{plainLocal: {}}, "", plainLocal, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProber(answering(tc.answers, answer{err: net.ErrClosed}))
				defer p.Close()
				began := time.Now()
				found := p.Probe(t.Context(), mediaserver.Listed(with(ownServer, relayed, remote, docker, local)), anyServer)
				assert.Equal(t, tc.took, time.Since(began))
				require.NotNil(t, mediaserver.Best(found))
				assert.Equal(t, tc.best, mediaserver.Best(found).URL)
				for _, a := range found {
					assert.Equal(t, a.URL == tc.refused, strings.Contains(a.Finding, "its https has a bad certificate"), a.URL)
				}
			})
		})
	}
}

// The order of the candidates does not matter.
func TestBestOfAnyOrder(t *testing.T) {
	const later = 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		all := mediaserver.Listed(with(ownServer, relayed, remote, local))
		slices.Reverse(all)
		p := newProber(answering(map[string]answer{directLocal: {after: later}, relay: {}}, answer{after: time.Hour}))
		defer p.Close()
		began := time.Now()
		best := mediaserver.Best(p.Probe(t.Context(), all, anyServer))
		require.NotNil(t, best)
		assert.Equal(t, directLocal, best.URL)
		assert.Equal(t, later, time.Since(began))
	})
}

// If only the relay remains of what has answered, the wait for others does not begin again.
func TestRelayRemains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
		all := mediaserver.Listed(with(ownServer, relayed, remote, local))
		all[0], all[1] = all[1], all[0]
		p := newProber(answering(map[string]answer{plainLocal: {}, relay: {after: 200 * time.Millisecond}, directLocal: {after: 500 * time.Millisecond, err: bad}}, answer{after: time.Hour}))
		defer p.Close()
		began := time.Now()
		best := mediaserver.Best(p.Probe(t.Context(), all, anyServer))
		require.NotNil(t, best)
		assert.Equal(t, relay, best.URL)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

// G14, G25: at an address that a person entered, a media server's own certificate counts
// for this server alone. The finding says what to do about any other one.
func TestProbeCertificates(t *testing.T) {
	const (
		own      = "*." + hash + ".plex.direct"
		unlisted = "the certificate is for another name: it is of a media server that plex.tv does not list for this account"
		another  = "the certificate is for another name: enter the address by the name that the certificate is for"
		use      = "the certificate is for another name: use https://192-168-1-5." + hash + ".plex.direct"
	)
	listed, others := mediaserver.DirectOwners{hash: {"m1"}}, mediaserver.DirectOwners{"other": {"m2"}}
	for name, tc := range map[string]struct {
		address string
		names   []string // of the certificate
		owners  mediaserver.DirectOwners
		change  func(*mediaserver.Candidate)
		want    string
		direct  string // the hash that was accepted
		shows   bool   // a certificate of plex.direct that might be accepted
	}{
		"for its host":                {"https://plex.example:32400", []string{"plex.example", own}, listed, nil, "answers", "", false},
		"its own":                     {"https://plex.example:32400", []string{own}, listed, nil, "answers", hash, false},
		"one of several":              {"https://plex.example:32400", []string{"*.third.plex.direct", own}, listed, nil, "answers", hash, false},
		"its own, at an address":      {"https://192.168.1.5:32400", []string{own}, listed, nil, "answers", hash, false},
		"another server's":            {"https://plex.example:32400", []string{own}, mediaserver.DirectOwners{hash: {"m2"}}, nil, "another media server answers here: the certificate is not its own", hash, false},
		"of no listed server":         {"https://plex.example:32400", []string{own}, others, nil, unlisted, "", true},
		"the same, at an address":     {"https://192.168.1.5:32400", []string{own}, others, nil, use + ":32400", "", true},
		"the same, without a port":    {"https://192.168.1.5", []string{own}, others, nil, use, "", true},
		"the same, in hexadecimal":    {"https://0xc0a80105:32400", []string{own}, others, nil, unlisted, "", true},
		"another name":                {"https://plex.example:32400", []string{"*.nas.example"}, listed, nil, another, "", false},
		"another name, at an address": {"https://192.168.1.5:32400", []string{"nas." + hash + ".plex.direct"}, listed, nil, another, "", false},
		"not checked":                 {"https://plex.example:32400", []string{own}, listed, func(c *mediaserver.Candidate) { c.Insecure = true }, "answers", "", false},
		"not entered":                 {"https://plex.example:32400", []string{own}, listed, func(c *mediaserver.Candidate) { c.Entered = false }, "another machine answers here: its certificate is for another name", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			known, here := newAuthority(t), place{at: "192.168.1.5"}
			n := &network{names: map[string]place{"plex.example": here, "192.168.1.5": here, "0xc0a80105": here}, serve: serveServer("m1", known.certificate(t, time.Hour, tc.names...))}
			p := newProber(n.transport(&tls.Config{RootCAs: known.pool()}))
			defer p.Close()
			all := mediaserver.Typed(tc.address, true)[:1]
			if tc.change != nil {
				tc.change(&all[0])
			}
			mediaserver.AcceptDirect(all, tc.owners)
			a := p.Probe(t.Context(), all, anyServer)[0]
			assert.Equal(t, tc.want, a.Finding)
			assert.Equal(t, tc.want == "answers", a.OK)
			assert.Equal(t, tc.direct, a.DirectHash)
			assert.Equal(t, tc.shows, a.ShowsDirectName())
		})
	}
}

// G14: the token goes only to the server whose certificate was accepted when it was found.
func TestTokenAndCertificate(t *testing.T) {
	known := newAuthority(t)
	certs := map[string]tls.Certificate{
		"for the host": known.certificate(t, time.Hour, "plex.example"),
		"its own":      known.certificate(t, time.Hour, "*."+hash+".plex.direct"),
		"another's":    known.certificate(t, time.Hour, "*.other.plex.direct"),
	}
	for _, tc := range []struct {
		found, then string
		ok          bool
	}{
		{"for the host", "for the host", true},
		{"for the host", "its own", false},
		{"its own", "its own", true},
		{"its own", "for the host", true},
		{"its own", "another's", false},
	} {
		t.Run(tc.found+", then "+tc.then, func(t *testing.T) {
			n := &network{names: map[string]place{"plex.example": {at: "192.168.1.5"}}, serve: serveServer("m1", certs[tc.found], certs[tc.then])}
			p := newProber(n.transport(&tls.Config{RootCAs: known.pool()}))
			defer p.Close()
			all := mediaserver.Typed("https://plex.example:32400", true)
			mediaserver.AcceptDirect(all, mediaserver.DirectOwners{hash: {"m1"}, "other": {"m1"}})
			a := mediaserver.Best(p.Probe(t.Context(), all[:1], anyServer))
			require.NotNil(t, a)
			err := p.TryToken(t.Context(), a, secret.New("tok-1"), "client-1")
			assert.Equal(t, tc.ok, err == nil, "%v", err)
		})
	}
}

// Over a transport that does not show the certificate, none is accepted for another name.
func TestCertificateIsNotShown(t *testing.T) {
	for name, state := range map[string]*tls.ConnectionState{"no TLS": nil, "no certificate": {}} {
		p := newProber(transport(func(req *http.Request) (*http.Response, error) {
			resp := response(req, 200, identity("m1"), nil)
			resp.TLS = state
			return resp, nil
		}))
		defer p.Close()
		all := mediaserver.Typed("https://plex.example", true)[:1]
		mediaserver.AcceptDirect(all, mediaserver.DirectOwners{hash: {"m1"}})
		a := p.Probe(t.Context(), all, anyServer)[0]
		assert.True(t, a.OK, name)
		assert.Empty(t, a.DirectHash, name)
	}
}

// An address that this library alone can use comes after one that any program can use.
func TestOtherNameComesSecond(t *testing.T) {
	const secure, plain = "https://plex.example:32400", "http://plex.example:32400"
	for name, tc := range map[string]struct {
		cert string
		all  int // how many of the addresses that were meant are probed; those over https come first
		best string
	}{
		"a certificate of plex.direct": {"*." + hash + ".plex.direct", 4, plain},
		"the same, without http":       {"*." + hash + ".plex.direct", 2, secure},
		"a certificate for the host":   {"plex.example", 4, secure},
	} {
		t.Run(name, func(t *testing.T) {
			known := newAuthority(t)
			n := &network{names: map[string]place{"plex.example": {at: "192.168.1.5"}}, serve: serveServer("m1", known.certificate(t, time.Hour, tc.cert))}
			p := newProber(n.transport(&tls.Config{RootCAs: known.pool()}))
			defer p.Close()
			p.Patient = true
			all := mediaserver.Typed("plex.example", true)[:tc.all]
			mediaserver.AcceptDirect(all, mediaserver.DirectOwners{hash: {"m1"}})
			best := mediaserver.Best(p.Probe(t.Context(), all, anyServer))
			require.NotNil(t, best)
			assert.Equal(t, tc.best, best.URL)
		})
	}
}

// G25: the finding says if only the address in a plex.direct name leads to the server, or
// if a name leads where no request may go.
func TestFindingsOfNames(t *testing.T) {
	const (
		name    = "192-168-1-5." + hash + ".plex.direct"
		answers = "answers"
		hidden  = "answers, though the resolver withholds its name"
	)
	here := place{at: "192.168.1.5"}
	for what, tc := range map[string]struct {
		names   map[string]place
		address string
		want    string // how the finding begins
	}{
		"a name":               {map[string]place{name: here}, directLocal, answers},
		"a withheld name":      {map[string]place{"192.168.1.5": here}, directLocal, hidden},
		"in capitals":          {map[string]place{"192.168.1.5": here}, "https://192-168-1-5.0123456789ABCDEF0123456789abcdef.plex.direct:32400", hidden},
		"a misled name":        {map[string]place{name: {at: "203.0.113.9"}, "192.168.1.5": here}, directLocal, hidden},
		"a tunnel":             {map[string]place{name: {at: "10.9.9.9"}, "192.168.1.5": {at: "10.9.9.9"}}, directLocal, answers},
		"a resolver is silent": {map[string]place{name: {silent: true}, "192.168.1.5": here}, directLocal, answers},
		"the name is reserved": {map[string]place{"plex": {at: "169.254.169.254"}}, "https://plex:32400", "this name leads to an address that is reserved"},
		"http into the world":  {map[string]place{"plex": {at: "203.0.113.9"}}, "http://plex:32400", "plain http to an address that is not private"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				known := newAuthority(t)
				n := &network{names: tc.names, serve: serveServer("m1", known.certificate(t, time.Hour, "*."+hash+".plex.direct"))}
				p := newProber(n.transport(&tls.Config{RootCAs: known.pool()}))
				found := p.Probe(t.Context(), mediaserver.Listed(with(ownServer, plextv.Connection{URI: tc.address})), anyServer)
				if tc.want == answers {
					assert.Equal(t, answers, found[0].Finding)
				}
				assert.True(t, strings.HasPrefix(found[0].Finding, tc.want), found[0].Finding)
				p.Close()
				time.Sleep(10 * time.Second)
				assert.Zero(t, n.connections())
			})
		})
	}
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
		"a proxy's text": {200, "Welcome", fault.ErrUnavailable},
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
				assert.Equal(t, tc.body == "Welcome", strings.Contains(err.Error(), "not the JSON that was asked for"))
			}
		})
	}
}
