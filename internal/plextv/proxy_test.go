package plextv_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/plextv"
)

// behind is a transport behind a proxy, from which each request gets err.
type behind struct {
	proxy func(*http.Request) (*url.URL, error)
	err   error
}

func (b behind) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }
func (b behind) Underlying() *http.Transport                     { return &http.Transport{Proxy: b.proxy} }

// G11: the refusal of a proxy is told from an error of the connection, as net/http makes a
// bare text of its reason.
func TestProxyRefusal(t *testing.T) {
	proxy := http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:3128"})
	policy := errors.New("Blocked by policy")
	socks := func(err error) error { return &net.OpError{Op: "socks connect", Net: "tcp", Err: err} }
	for name, c := range map[string]struct {
		behind
		url  string
		kind plextv.Kind
		says string
	}{
		"a reason":                  {behind{proxy, policy}, "https://192.0.2.1", plextv.KindProxy, ": the proxy refuses the connection: Blocked by policy ("},
		"no reason":                 {behind{proxy, errors.New("")}, "https://192.0.2.1", plextv.KindProxy, ": the proxy refuses the connection ("},
		"no proxy":                  {behind{nil, policy}, "https://192.0.2.1", plextv.KindConnect, ": Blocked by policy ("},
		"no proxy, and no reason":   {behind{nil, errors.New("")}, "https://192.0.2.1", plextv.KindConnect, "the server:  ("},
		"no proxy for this address": {behind{http.ProxyURL(nil), policy}, "https://192.0.2.1", plextv.KindConnect, ": Blocked by policy ("},
		"no proxy can be chosen":    {behind{func(*http.Request) (*url.URL, error) { return &url.URL{}, io.EOF }, policy}, "https://192.0.2.1", plextv.KindConnect, ": Blocked by policy ("},
		"without CONNECT":           {behind{proxy, policy}, "http://192.0.2.1", plextv.KindConnect, ": Blocked by policy ("},
		"cut off":                   {behind{proxy, io.EOF}, "https://192.0.2.1", plextv.KindConnect, ": EOF ("},
		"cut off in the middle":     {behind{proxy, io.ErrUnexpectedEOF}, "https://192.0.2.1", plextv.KindConnect, ": unexpected EOF ("},
		"an error of net/http":      {behind{proxy, errors.New("net/http: abandoned")}, "https://192.0.2.1", plextv.KindConnect, ": net/http: abandoned ("},
		"an error of another type":  {behind{proxy, fmt.Errorf("not sent: %w", io.EOF)}, "https://192.0.2.1", plextv.KindConnect, ": not sent: EOF ("},
		"SOCKS":                     {behind{proxy, socks(errors.New("unknown error general SOCKS server failure"))}, "http://192.0.2.1", plextv.KindProxy, ": the proxy refuses the connection: general SOCKS server failure ("},
		"SOCKS, too late":           {behind{proxy, socks(os.ErrDeadlineExceeded)}, "https://192.0.2.1", plextv.KindTimeout, "i/o timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			client := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: c.behind}})
			q := serverCall(client, token)
			q.URL = c.url
			err := client.Do(t.Context(), q)
			f := plextv.FailureIn(err)
			require.NotNil(t, f)
			assert.Equal(t, c.kind, f.Kind())
			assert.Contains(t, err.Error(), c.says)
		})
	}
}
