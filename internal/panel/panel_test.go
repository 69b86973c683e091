package panel_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/panel"
)

// host is a profile for tests. Calls that a test does not expect panic.
type host struct {
	panel.Host
	state      func() (*panel.State, *panel.Problem)
	pending    func() (panel.Login, *panel.Problem)
	findServer func() *panel.Problem
	act        func() *panel.Problem // is what a person asks for, except for what follows
	chooseUser func() (complete bool, _ *panel.Problem)
	probe      func() (panel.ProbeResult, *panel.Problem)
	servers    func() ([]panel.Server, *panel.Problem)

	mu     sync.Mutex
	states int // how often the state was read
}

func (h *host) State(context.Context) (*panel.State, *panel.Problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states++
	time.Sleep(10 * time.Millisecond) // as a store takes
	if h.state != nil {
		return h.state()
	}
	return &panel.State{}, nil
}

func (h *host) PendingLogin(context.Context) (panel.Login, *panel.Problem) {
	if h.pending == nil {
		return nil, &panel.Problem{Kind: panel.NoLogin}
	}
	return h.pending()
}

func (h *host) NextLogin() (begun <-chan struct{}, stop func()) { return nil, func() {} }
func (h *host) FindServer(context.Context) *panel.Problem       { return h.findServer() }

func (h *host) do() *panel.Problem {
	if h.act == nil {
		return nil
	}
	return h.act()
}

func (h *host) Cancel(context.Context) *panel.Problem                    { return h.do() }
func (h *host) Start(context.Context, panel.StartOptions) *panel.Problem { return h.do() }
func (h *host) Disconnect(context.Context, bool) *panel.Problem          { return h.do() }
func (h *host) Inspect(context.Context) *panel.Problem                   { return h.do() }
func (h *host) UseServer(context.Context, string) *panel.Problem         { return h.do() }
func (h *host) CheckAccount(context.Context) *panel.Problem              { return nil }
func (h *host) ChooseUser(context.Context, string, string) (bool, *panel.Problem) {
	return h.chooseUser()
}
func (h *host) Probe(context.Context, string) (panel.ProbeResult, *panel.Problem) { return h.probe() }
func (h *host) Servers(context.Context) ([]panel.Server, *panel.Problem)          { return h.servers() }

// login has ended well.
type login struct{}

func (login) Wait(context.Context) *panel.Problem   { return nil }
func (login) Left() time.Duration                   { return 0 }
func (login) Remove(context.Context) *panel.Problem { return nil }

// oneLogin returns one login, and then none.
func oneLogin() func() (panel.Login, *panel.Problem) {
	asked := false
	return func() (panel.Login, *panel.Problem) {
		if asked {
			return nil, &panel.Problem{Kind: panel.NoLogin}
		}
		asked = true
		return login{}, nil
	}
}

// open returns the panel of h, and runs its worker until the test ends.
func open(t *testing.T, h *host) *panel.Panel {
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	p := panel.New(ctx, h, panel.Config{})
	go p.Run()
	return p
}

// ask sends a request as the panel's own page does.
func ask(p *panel.Panel, method, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec
}

// seenIn returns the name of the state that is answered.
func seenIn(t *testing.T, rec *httptest.ResponseRecorder) string {
	var answer struct{ Seen string }
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &answer))
	return answer.Seen
}

// A worker that fails tries again after pauses that grow up to a limit, which is shorter
// for a store than for plex.tv.
func TestWorkerPauses(t *testing.T) {
	for kind, longest := range map[panel.Kind]time.Duration{panel.Store: 10 * time.Second, panel.StoreCorrupt: 10 * time.Second, "status": time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var asked []time.Time
			open(t, &host{pending: func() (panel.Login, *panel.Problem) {
				asked = append(asked, time.Now())
				return nil, &panel.Problem{Kind: kind}
			}})
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			var last time.Duration
			for i := range asked[1:] {
				pause := asked[i+1].Sub(asked[i])
				assert.GreaterOrEqual(t, pause, last, kind)
				last = pause
			}
			assert.Equal(t, time.Second, asked[1].Sub(asked[0]), kind)
			assert.Equal(t, longest, last, kind)
		})
	}
}

// A server that does not answer is looked for three times more, unless a person has done
// something since.
func TestServerDoesNotAnswer(t *testing.T) {
	for _, active := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var searches atomic.Int64
			p := open(t, &host{pending: oneLogin(), findServer: func() *panel.Problem {
				searches.Add(1)
				return &panel.Problem{Kind: "server_unreachable"}
			}})
			time.Sleep(10 * time.Second)
			assert.Contains(t, ask(p, http.MethodGet, "/status").Body.String(), "server_unreachable")
			if active {
				assert.Equal(t, http.StatusOK, ask(p, http.MethodPost, "/cancel").Code)
			}
			time.Sleep(time.Hour)
			want := int64(4)
			if active {
				want = 1
			}
			assert.Equal(t, want, searches.Load())
		})
	}
}

// G12: the store is read once a second at most, however many pages are open.
func TestManyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		p := open(t, h)
		synctest.Wait()
		seen := "?wait=10&seen=" + seenIn(t, ask(p, http.MethodGet, "/status"))
		h.states = 0
		var pages sync.WaitGroup
		for range 50 {
			pages.Go(func() { ask(p, http.MethodGet, "/status"+seen) })
		}
		pages.Wait()
		assert.LessOrEqual(t, h.states, 11)
		assert.Positive(t, h.states)
	})
}
