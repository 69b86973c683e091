package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// TestManyTabs has a thousand browser tabs that wait for one login.
// G6: plex.tv is asked once per interval, however many tabs wait.
func TestManyTabs(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	synctest.Test(t, func(t *testing.T) {
		const tabs, minutes = 1000, 2
		fake := plextest.NewServer()
		alice := fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
		store := &countingStore{ConfigStore: plexauth.NewMemoryStore()}
		p, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: fake.Client(), Store: store})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		h := p.Handler(ctx)
		var pin struct {
			Extra struct{ Pending struct{ Code string } }
		}
		require.NoError(t, json.Unmarshal(ask(h, http.MethodPost, "/start"), &pin))

		begun := time.Now()
		before, loads := looksAt(fake), store.loads.Load()
		results := make(chan error, tabs)
		for range tabs {
			go func() { results <- panelTab(h) }()
		}
		time.Sleep(minutes * time.Minute)
		looks := looksAt(fake) - before
		assert.LessOrEqual(t, looks, minutes*60, "plex.tv is asked more than once a second")
		assert.GreaterOrEqual(t, looks, minutes*55, "plex.tv is asked too rarely")
		// In each second one read serves all tabs, and one the look.
		assert.LessOrEqual(t, store.loads.Load()-loads, int64(minutes*60*3), "the store is read for each tab")

		approved := time.Now()
		require.NoError(t, fake.Approve(pin.Extra.Pending.Code, alice))
		for range tabs {
			require.NoError(t, <-results)
		}
		assert.Less(t, time.Since(approved), 5*time.Second, "until every tab shows the login")
		t.Logf("%d tabs, %v: %d looks, %d reads of the store", tabs, time.Since(begun).Round(time.Second), looks, store.loads.Load()-loads)
		assert.Empty(t, fake.Violations())
		cancel()
		fake.Close()
		synctest.Wait()
	})
}

// panelTab polls as the panel does, until alice is connected.
func panelTab(h http.Handler) error {
	seen := ""
	for range 100 {
		var s struct {
			Connected bool
			User      string
			Seen      string
		}
		if err := json.Unmarshal(ask(h, http.MethodGet, "/status?wait=25&seen="+seen), &s); err != nil {
			return err
		}
		if s.Connected && s.User == "alice" {
			return nil
		}
		seen = s.Seen
	}
	return errors.New("a tab never showed the login")
}

// ask sends a request from a page of the same origin, and returns the body of the answer.
func ask(h http.Handler, method, path string) []byte {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Body.Bytes()
}

// looksAt counts the requests about PINs that plex.tv has had.
func looksAt(fake *plextest.Server) (n int) {
	for _, r := range fake.Requests() {
		if r.Method == http.MethodGet && r.Path == "/api/v2/pins/{id}" {
			n++
		}
	}
	return n
}

// countingStore counts its reads.
type countingStore struct {
	plexauth.ConfigStore
	loads atomic.Int64
}

func (s *countingStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	s.loads.Add(1)
	return s.ConfigStore.Load(ctx, namespace)
}
