package plextv_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// clientID is the client identifier of all calls here.
const clientID = "test-client"

// token is sent with the calls that need one.
var token = secret.New("test-token-1")

// transport answers requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply is an answer to give.
type reply struct {
	status int
	body   string
	header http.Header
	err    error
}

// response returns r as the answer to a request.
func (r reply) response(req *http.Request) (*http.Response, error) {
	if r.err != nil {
		return nil, r.err
	}
	h := r.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	return &http.Response{StatusCode: r.status, Header: h, Body: io.NopCloser(strings.NewReader(r.body)), ContentLength: -1, Request: req}, nil
}

// answering returns a client without retries that gets each of replies in turn, the last
// one again and again. sent is how many requests it has made.
func answering(replies ...reply) (c *plextv.Client, sent *int) {
	sent = new(int)
	rt := transport(func(req *http.Request) (*http.Response, error) {
		r := replies[min(*sent, len(replies)-1)]
		*sent++
		return r.response(req)
	})
	return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}, Device: plextv.DeviceInfo{Product: "Test"}}), sent
}

// newKey returns a device key.
func newKey(t *testing.T) *devicekey.Key {
	t.Helper()
	k, err := devicekey.New(clientID)
	require.NoError(t, err)
	return k
}

// calls are the kinds of call that judge answers differently.
var calls = map[string]func(context.Context, *plextv.Client, *testing.T) error{
	"account": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		_, err := c.ReadAccount(ctx, token, clientID, true)
		return err
	},
	"revoke": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		return c.Revoke(ctx, token, clientID)
	},
	"switch": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		_, _, err := c.SwitchUser(ctx, token, clientID, plextv.HomeUser{UUID: "u1"}, "1234")
		return err
	},
	"switch without PIN": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		_, _, err := c.SwitchUser(ctx, token, clientID, plextv.HomeUser{UUID: "u1"}, "")
		return err
	},
	"create PIN": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		_, _, err := c.CreatePIN(ctx, clientID, nil, false)
		return err
	},
	"check PIN": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		_, _, err := c.CheckPIN(ctx, ctx, plextv.PINRef{ID: 42, Code: "ABCD", ClientID: clientID}, nil)
		return err
	},
	"check device PIN": func(ctx context.Context, c *plextv.Client, t *testing.T) error {
		_, _, err := c.CheckPIN(ctx, ctx, plextv.PINRef{ID: 42, Code: "ABCD", ClientID: clientID, Device: newKey(t)}, nil)
		return err
	},
	"read keys": func(ctx context.Context, c *plextv.Client, t *testing.T) error {
		_, err := c.Exchange(ctx, newKey(t), nil, nil)
		return err
	},
	"server": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		return c.Do(ctx, serverCall(c, secret.Value{}))
	},
	"server with token": func(ctx context.Context, c *plextv.Client, _ *testing.T) error {
		return c.Do(ctx, serverCall(c, token))
	},
}

// serverCall returns a call of a media server.
func serverCall(c *plextv.Client, t secret.Value) *plextv.Call {
	return &plextv.Call{
		Op: "ask server", Method: http.MethodGet, URL: "http://192.0.2.1:32400/", Once: true, Token: t, ClientID: clientID,
		Route:  func(*url.URL) (http.RoundTripper, error) { return c.Transport(), nil },
		Decode: func([]byte) error { return nil },
	}
}

// selfSigned returns a certificate for names, and the authorities that vouch for it.
func selfSigned(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
