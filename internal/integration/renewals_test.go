package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// exchanges notes when each device gets its next JWT.
type exchanges struct {
	base http.RoundTripper

	mu      sync.Mutex
	devices map[string]int
	at      []time.Time
}

func (e *exchanges) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && r.URL.Path == "/api/v2/auth/token" {
		e.mu.Lock()
		e.devices[r.Header.Get("X-Plex-Client-Identifier")]++
		e.at = append(e.at, time.Now())
		e.mu.Unlock()
	}
	return e.base.RoundTrip(r)
}

// TestTenThousandRenewals has as many documents whose JWTs were made in the same hour, and
// four processes that use all of them.
// G24: each is renewed once, and no minute has more than a fair share.
func TestTenThousandRenewals(t *testing.T) {
	documents := 10_000
	if testing.Short() || raceDetector {
		documents = 500
	}
	const life, round = 7 * 24 * time.Hour, 240 // minutes from a use of a document to the next one in the same process
	synctest.Test(t, func(t *testing.T) {
		plex := plextest.NewServer()
		defer plex.Close()
		alice := plex.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
		sent := &exchanges{base: plex.Client().Transport, devices: map[string]int{}}
		o := plexauth.Options{Product: "My App", Store: plexauth.NewMemoryStore(), DeviceKey: true, HTTPClient: &http.Client{Transport: sent}}
		var processes []*plexauth.PlexAuth
		for range 4 {
			p, err := plexauth.New(o)
			require.NoError(t, err)
			processes = append(processes, p)
		}
		document := func(p *plexauth.PlexAuth, i int) *plexauth.PlexAuth { return p.Namespace(fmt.Sprint("plex/", i)) }

		made := time.Now()
		var all sync.WaitGroup
		for i := range documents {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Minute / time.Duration(documents))
				s, err := document(processes[i%4], i).Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) })
				assert.NoError(t, err)
				assert.True(t, s.Connected)
			})
		}
		all.Wait()
		require.Less(t, time.Since(made), time.Hour)
		begins, ends := made.Add(life*70/100), time.Now().Add(life*75/100)
		time.Sleep(time.Until(begins) - round*time.Minute)

		ctx, stop := context.WithCancel(t.Context())
		for minute := 0; time.Now().Before(ends.Add(round * time.Minute)); minute++ {
			for n, p := range processes {
				all.Go(func() {
					for i := (minute + 60*n) % round; i < documents; i += round {
						use(ctx, t, document(p, i), i)
					}
				})
			}
			all.Wait()
			time.Sleep(time.Minute)
		}
		stop()

		assert.Len(t, sent.devices, documents)
		assert.Len(t, sent.at, documents, "one exchange for each")
		minutes, most := map[int]int{}, 0
		for _, at := range sent.at {
			minute := int(at.Sub(begins).Minutes())
			minutes[minute]++
			most = max(most, minutes[minute])
		}
		fair := float64(documents) / ends.Sub(begins).Minutes()
		t.Logf("%d renewals over %d minutes, %.1f a minute and %d at most", len(sent.at), len(minutes), fair, most)
		assert.Less(t, float64(most), 10+3*fair)
		assert.Empty(t, plex.Violations())
	})
}

// use uses document i as programs do: most ask for the token, some send a request.
func use(ctx context.Context, t *testing.T, p *plexauth.PlexAuth, i int) {
	if i%20 != 0 {
		_, err := p.Token(ctx)
		assert.NoError(t, err)
		return
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://plex.tv/api/v2/user", nil)
	if !assert.NoError(t, err) {
		return
	}
	resp, err := p.Transport(nil).RoundTrip(r)
	if assert.NoError(t, err) {
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		resp.Body.Close()
	}
}
