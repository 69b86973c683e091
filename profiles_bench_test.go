package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/internal/secret"
)

// BenchmarkLoginAmongProfiles measures a login in a document with 1,000 other profiles, each
// signed in to an account of its own, and the same login in an empty document, in turns. It
// reports the medians, and as "x" how many times longer a login takes among the others.
//
//	go test -run '^$' -bench LoginAmongProfiles -benchtime 200x .
func BenchmarkLoginAmongProfiles(b *testing.B) {
	for _, bench := range []struct {
		name string
		open func(b *testing.B) plexauth.ConfigStore
	}{
		{"MemoryStore", func(*testing.B) plexauth.ConfigStore { return plexauth.NewMemoryStore() }},
		{"FileStore", func(b *testing.B) plexauth.ConfigStore {
			return plexauth.NewFileStore(filepath.Join(b.TempDir(), "config.json"))
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			wires := loginWires{
				created: recorded(b, 201, "pin-created.json"), pending: recorded(b, 200, "pin-pending.json"),
				approved: recorded(b, 200, "pin-approved.json"), user: recorded(b, 200, "user.json"),
			}
			alone, among := newLoginBench(bench.open(b), wires, 0), newLoginBench(bench.open(b), wires, 1000)
			for b.Loop() {
				alone.signIn(b)
				among.signIn(b)
			}
			b.ReportMetric(0, "ns/op") // that of both would say nothing
			b.ReportMetric(float64(alone.median().Microseconds()), "µs-alone")
			b.ReportMetric(float64(among.median().Microseconds()), "µs-among-1000")
			b.ReportMetric(float64(among.median())/float64(alone.median()), "x")
		})
	}
}

type loginWires struct{ created, pending, approved, user measure.Answer }

// loginBench signs a profile in, again and again, and notes how long each login takes.
type loginBench struct {
	store  plexauth.ConfigStore
	before string // the document before each login
	wires  loginWires
	took   []time.Duration
}

func (l *loginBench) median() time.Duration {
	return slices.Sorted(slices.Values(l.took))[len(l.took)/2]
}

func newLoginBench(store plexauth.ConfigStore, wires loginWires, others int) *loginBench {
	return &loginBench{store: store, wires: wires, before: documentOf(others)}
}

// documentOf returns a document with n profiles as their logins leave them.
func documentOf(n int) string {
	var blocks []string
	for i := range n {
		token := fmt.Sprintf("TEST_token-%09d", i)
		blocks = append(blocks, fmt.Sprintf(`"PLEX-P%04d":{"server_url":"","account_token":%q,"pms_token":"","machine_id":"","username":"user%d","account_id":"","home_pin":"","_cloud":{"account_id":%d,"bound_to":%q,"user":{"id":%[4]d,"name":"user%[3]d"}}}`,
			i, token, i, 1000+i, secret.Fingerprint(secret.New(token))))
	}
	return `{"client_id":"` + measure.ClientID + `","instances":{` + strings.Join(blocks, ",") + `}}`
}

// signIn signs in with Start, a Finish while the PIN is pending, and another in another process
// when it is approved.
func (l *loginBench) signIn(b *testing.B) {
	ctx := context.Background()
	require.NoError(b, l.store.Update(ctx, plexauth.Namespace, becomes(l.before)))
	c := &http.Client{}
	client := func() *plexauth.PlexAuth {
		o := measure.Options(c)
		o.Store, o.Instance = l.store, "PLEX-NEW"
		p, err := plexauth.New(o)
		require.NoError(b, err)
		return p
	}
	here, there := client(), client()
	began := time.Now()
	c.Transport = l.wires.created
	_, err := here.Start(ctx, plexauth.PinOptions{})
	require.NoError(b, err)
	c.Transport = l.wires.pending
	status, err := here.Finish(ctx)
	require.NoError(b, err)
	require.NotNil(b, status.Pending)
	c.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Path, "/api/v2/pins") {
			return l.wires.approved.RoundTrip(r)
		}
		return l.wires.user.RoundTrip(r)
	})
	status, err = there.Finish(ctx)
	l.took = append(l.took, time.Since(began))
	require.NoError(b, err)
	require.True(b, status.Connected)
	require.NotEmpty(b, status.User)
}
