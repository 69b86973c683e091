package mediaserver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
)

const (
	directLocal  = "https://192-168-1-5." + hash + ".plex.direct:32400"
	directRemote = "https://203-0-113-5." + hash + ".plex.direct:32400"
	directDocker = "https://172-17-0-2." + hash + ".plex.direct:32400"
	relay        = "https://198-51-100-7." + hash + ".plex.direct:8443"
	plainLocal   = "http://192.168.1.5:32400"
	plainDocker  = "http://172.17.0.2:32400"
)

var (
	local     = plextv.Connection{URI: directLocal, Address: "192.168.1.5", Port: 32400, Local: true}
	docker    = plextv.Connection{URI: directDocker, Address: "172.17.0.2", Port: 32400, Local: true}
	remote    = plextv.Connection{URI: directRemote, Address: "203.0.113.5", Port: 32400}
	relayed   = plextv.Connection{URI: relay, Address: "198.51.100.7", Port: 8443, Relay: true}
	ownServer = plextv.MediaServer{MachineID: "m1", Owned: true}
)

// with returns s with these connections.
func with(s plextv.MediaServer, connections ...plextv.Connection) *plextv.MediaServer {
	s.Connections = connections
	return &s
}

// G25: local addresses come before remote ones, the relay last, https before http, and a
// container's inner network after others. Plain http is added only where the token may go.
func TestListedOrder(t *testing.T) {
	https := ownServer
	https.HTTPSRequired = true
	publicIP := plextv.Connection{URI: directRemote, Address: "203.0.113.5", Port: 32400, Local: true}
	for name, tc := range map[string]struct {
		server *plextv.MediaServer
		want   []string
	}{
		"all kinds":              {with(ownServer, relayed, remote, docker, local), []string{directLocal, directDocker, plainLocal, plainDocker, directRemote, relay}},
		"https is required":      {with(https, relayed, local), []string{directLocal, relay}},
		"twice the same":         {with(ownServer, local, local), []string{directLocal, plainLocal}},
		"local, but public":      {with(ownServer, publicIP), []string{directRemote}},
		"a name as address":      {with(ownServer, plextv.Connection{URI: directLocal, Address: "nas.local", Port: 32400, Local: true}), []string{directLocal}},
		"a public network":       {with(ownServer, plextv.Connection{URI: directRemote, Address: "192.168.1.5", Port: 32400}), []string{directRemote}},
		"a local relay":          {with(ownServer, plextv.Connection{URI: relay, Address: "192.168.1.5", Port: 32400, Local: true, Relay: true}), []string{relay}},
		"no such port":           {with(ownServer, plextv.Connection{URI: directLocal, Address: "192.168.1.5", Port: 1 << 16, Local: true}), []string{directLocal}},
		"Docker leaves it alone": {with(https, plextv.Connection{URI: "https://172-16-0-2." + hash + ".plex.direct:32400", Local: true}, local), []string{"https://172-16-0-2." + hash + ".plex.direct:32400", directLocal}},
		"no port":                {with(ownServer, plextv.Connection{URI: directLocal, Address: "192.168.1.5", Local: true}), []string{directLocal}},
		"IPv6":                   {with(ownServer, plextv.Connection{URI: directLocal, Address: "fd12::5", Port: 32400, Local: true}), []string{directLocal, "http://[fd12::5]:32400"}},
		"no connections":         {with(ownServer), nil},
		"http in the whole net":  {with(ownServer, plextv.Connection{URI: "http://203.0.113.5:32400", Address: "203.0.113.5", Port: 32400}, remote), []string{directRemote, "http://203.0.113.5:32400"}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, urls(mediaserver.Listed(tc.server))) })
	}
}

// G14, G25: an address that no request may go to is listed, but not tried.
func TestListedSkips(t *testing.T) {
	https, friend := ownServer, plextv.MediaServer{MachineID: "m2"}
	https.HTTPSRequired = true
	for name, tc := range map[string]struct {
		server plextv.MediaServer
		uri    string
		want   string // part of the finding
	}{
		"a cloud's credentials":     {ownServer, "https://169.254.169.254:32400", "not tried: this address is reserved"},
		"the same by plex.direct":   {ownServer, "https://169-254-169-254." + hash + ".plex.direct:32400", "not tried: this address is reserved"},
		"the same in octal":         {ownServer, "http://0251.0376.0251.0376:80", "not tried: this address is reserved"},
		"a user name":               {ownServer, "https://user@a.example:32400", "not tried: this is not a web address"},
		"a query":                   {ownServer, "https://a.example:32400/?x=1", "not tried: this is not a web address"},
		"another scheme":            {ownServer, "ftp://a.example", "not tried: this is not a web address"},
		"not a URL":                 {ownServer, "https://a b", "not tried: this is not a web address"},
		"the same in hexadecimal":   {ownServer, "http://0XCB007105:32400", "not tried: a token must not cross the internet unencrypted"},
		"http by a name":            {ownServer, "http://plex:32400", "asked"},
		"another's without a path":  {friend, "https://a.example:32400", "asked"},
		"another's with a path":     {friend, "https://a.example:32400/admin", "not tried: the address of another person's server has a path"},
		"one's own with a path":     {ownServer, "https://a.example:32400/plex", "asked"},
		"http though https is must": {https, "http://192.168.1.5:32400", "not tried: the server takes https only"},
		"http over the internet":    {ownServer, "http://203.0.113.5:32400", "not tried: a token must not cross the internet unencrypted"},
		"https":                     {ownServer, "https://a.example:32400", "asked"},
	} {
		t.Run(name, func(t *testing.T) {
			got := findings(t, mediaserver.Listed(with(tc.server, plextv.Connection{URI: tc.uri})), errors.New("asked"))
			require.Len(t, got, 1)
			assert.Contains(t, got[0], tc.want)
		})
	}
}

// A server with very many addresses does not make very many requests.
func TestListedLimit(t *testing.T) {
	many := []plextv.Connection{{URI: "https://user@a.example"}, {URI: "ftp://a.example"}} // they are not tried in any case
	for i := range 50 {
		many = append(many, plextv.Connection{URI: fmt.Sprintf("https://a%d.example", i)})
	}
	got := findings(t, mediaserver.Listed(with(ownServer, many...)), errors.New("asked"))
	skipped := 0
	for _, f := range got {
		if f == "not tried: the server has too many addresses" {
			skipped++
		}
	}
	assert.Len(t, got, 52)
	assert.Equal(t, 10, skipped)
}

// A typed address may lack scheme and port.
func TestTyped(t *testing.T) {
	for typed, want := range map[string][]string{
		"192.168.1.5":                      {"https://192.168.1.5:32400", "https://192.168.1.5", "http://192.168.1.5:32400", "http://192.168.1.5"},
		"plex:8080":                        {"https://plex:8080", "http://plex:8080"},
		"https://plex.example":             {"https://plex.example", "https://plex.example:32400"},
		"http://plex:32400/web/index.html": {"http://plex:32400"},
		"http://plex:32400/web/#!/server":  {"http://plex:32400"},
		"https://example.com/plex/":        {"https://example.com/plex"},
		"fd12::5":                          {"https://[fd12::5]:32400", "https://[fd12::5]", "http://[fd12::5]:32400", "http://[fd12::5]"},
		"":                                 nil,
		"a b":                              nil,
		"https://user:pw@plex":             nil,
		"https://plex/?X-Plex-Token=x":     nil,
		"ftp://plex":                       nil,
	} {
		all := mediaserver.Typed(typed, true)
		assert.Equal(t, want, urls(all), typed)
		for _, c := range all {
			assert.True(t, c.Entered && !c.Insecure, typed)
		}
	}
	for _, c := range mediaserver.Typed("192.168.1.5", false) {
		assert.True(t, c.Insecure)
	}
	for _, f := range findings(t, mediaserver.Typed("169.254.169.254", true), errors.New("asked")) {
		assert.Contains(t, f, "not tried: this address is reserved")
	}
	for typed, isLocal := range map[string]bool{"192.168.1.5": true, directLocal: true, directRemote: false, "plex.example": false} {
		for _, a := range probeAll(t, mediaserver.Typed(typed, true)) {
			assert.Equal(t, isLocal, a.Local, typed)
			assert.True(t, a.IsSaved())
		}
	}
}

// The saved address comes first and is tried once. One that was the relay's comes last
// again, unless a person has entered it. Where it leads is known from plex.tv, and how it
// is checked from the settings.
func TestSavedAndListed(t *testing.T) {
	again := remote
	again.URI += "/"
	s := with(ownServer, relayed, remote, again, local)
	saved := func(address string, entered bool) []mediaserver.Candidate {
		all := mediaserver.Typed(address, true)[:1]
		all[0].Entered = entered
		return all
	}
	for name, tc := range map[string]struct {
		saved []mediaserver.Candidate
		want  []string
	}{
		"nothing is saved":   {nil, []string{directLocal, plainLocal, directRemote, relay}},
		"another address":    {saved("https://plex.example", true), []string{"https://plex.example", directLocal, plainLocal, directRemote, relay}},
		"a listed one":       {saved(directRemote+"/", false), []string{directRemote, directLocal, plainLocal, relay}},
		"the relay":          {saved(relay, false), []string{directLocal, plainLocal, directRemote, relay}},
		"the relay, entered": {saved(relay, true), []string{relay, directLocal, plainLocal, directRemote}},
	} {
		t.Run(name, func(t *testing.T) {
			all := mediaserver.SavedAndListed(tc.saved, s)
			assert.Equal(t, tc.want, urls(all))
			for _, a := range probeAll(t, all) {
				assert.Equal(t, a.URL == relay, a.Relay, a.URL)
			}
		})
	}
	unchecked := mediaserver.Typed("https://198-51-100-7."+hash+".Plex.Direct:8443", false)
	unchecked[0].Entered = false
	all := mediaserver.SavedAndListed(unchecked, s)
	last := all[len(all)-1]
	assert.Equal(t, unchecked[0].URL, last.URL)
	assert.True(t, last.Insecure)
}
