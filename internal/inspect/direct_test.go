package inspect_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/inspect"
	"github.com/plexauth/plexauth/internal/plextv"
)

// hash is that of BOX's plex.direct names.
const hash = "0123456789abcdef0123456789abcdef"

// direct is BOX as plex.tv lists it, with a plex.direct name.
var direct = plextv.MediaServer{Name: "Box", MachineID: "BOX", Owned: true, Token: box.Token, Connections: []plextv.Connection{
	{URI: "https://203-0-113-9." + hash + ".plex.direct:32400", Address: "203.0.113.9", Port: 32400},
}}

// tlsNetwork leads each port of nas.example to BOX with a certificate for another name.
// Nothing answers elsewhere.
type tlsNetwork struct {
	*http.Transport
	dialled atomic.Int32 // connections to nas.example
}

// newTLSNetwork returns a network with names, the names of the certificates by port.
func newTLSNetwork(t *testing.T, names map[string]string) *tlsNetwork {
	t.Helper()
	n, roots, at := &tlsNetwork{}, x509.NewCertPool(), map[string]string{}
	for port, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		roots.AddCert(cert)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"MediaContainer":{"machineIdentifier":"BOX","version":"1.2"}}`)
		}))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused certificates
		server.StartTLS()
		t.Cleanup(server.Close)
		at["nas.example:"+port] = server.Listener.Addr().String()
	}
	n.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if at[addr] == "" {
			return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
		}
		n.dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, network, at[addr])
	}}
	t.Cleanup(n.CloseIdleConnections)
	return n
}

func (n *tlsNetwork) client() *plextv.Client {
	return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: n.Transport}})
}

// G25: at a typed address a server's plex.direct certificate is accepted if plex.tv lists it, or
// has listed it before. plex.tv is asked only where that may help.
func TestProbeDirectCertificate(t *testing.T) {
	const nas, anyPort = "https://nas.example:32400", "https://nas.example"
	const typed = `{"account_token":"TEST_t","client_id":"app","machine_id":"BOX","server_url":"` + nas + `"}`
	noted := strings.Replace(typed, "}", `,"_server_certificate":"`+hash+` BOX `+nas+`"}`, 1)
	direct32400 := map[string]string{"32400": "*." + hash + ".plex.direct"}
	for name, c := range map[string]struct {
		document, address string
		certificates      map[string]string
		servers           []plextv.MediaServer // nil: plex.tv does not answer
		url               string
		listed, dialled   int
	}{
		"plex.tv lists it":       {onlyToken, nas, direct32400, []plextv.MediaServer{direct}, nas, 1, 2},
		"plex.tv lists others":   {onlyToken, nas, direct32400, []plextv.MediaServer{box}, "", 1, 2},
		"plex.tv does not say":   {onlyToken, nas, direct32400, nil, "", 1, 1},
		"another kind of name":   {onlyToken, nas, map[string]string{"32400": "other.example"}, []plextv.MediaServer{direct}, "", 0, 1},
		"another port will do":   {onlyToken, anyPort, map[string]string{"443": "nas.example", "32400": direct32400["32400"]}, []plextv.MediaServer{direct}, anyPort, 0, 2},
		"saved":                  {typed, "", direct32400, []plextv.MediaServer{direct}, nas, 1, 1},
		"saved, but not listed":  {typed, "", direct32400, []plextv.MediaServer{box}, "", 1, 1},
		"accepted before":        {noted, "", direct32400, nil, nas, 1, 1},
		"accepted where entered": {noted, nas, direct32400, nil, nas, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n, l := newTLSNetwork(t, c.certificates), newLogin(t, c.document, c.servers...)
			if c.servers == nil {
				l.servers = nil
			}
			r, err := inspect.Probe(t.Context(), n.client(), l, c.address)
			if c.url == "" {
				require.ErrorIs(t, err, fault.ErrUnavailable)
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, c.url, r.URL)
			assert.Equal(t, c.listed, l.listed)
			assert.EqualValues(t, c.dialled, n.dialled.Load())
		})
	}
}

// G25: such a server can be chosen by its name.
func TestInspectDirectCertificate(t *testing.T) {
	n, l := newTLSNetwork(t, map[string]string{"32400": "*." + hash + ".plex.direct"}), newLogin(t, onlyToken, direct)
	require.NoError(t, inspect.Inspect(t.Context(), n.client(), l, "https://nas.example:32400"))
	p, _ := l.Load(t.Context())
	assert.Equal(t, hash, p.SavedServer().Certificate)
}
