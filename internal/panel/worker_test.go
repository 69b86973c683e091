package panel_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/panel"
)

// attempt is a login that ends after a time.
type attempt struct {
	after  time.Duration
	ends   *panel.Problem
	left   time.Duration
	remove func() *panel.Problem
}

func (a attempt) Wait(ctx context.Context) *panel.Problem {
	select {
	case <-time.After(a.after):
	case <-ctx.Done():
	}
	return a.ends
}
func (a attempt) Left() time.Duration { return a.left }
func (a attempt) Remove(context.Context) *panel.Problem {
	return a.remove()
}

// logins returns these logins one after the other, and then none.
func logins(all ...attempt) func() (panel.Login, *panel.Problem) {
	return func() (panel.Login, *panel.Problem) {
		if len(all) == 0 {
			return nil, &panel.Problem{Kind: panel.NoLogin}
		}
		next := all[0]
		all = all[1:]
		return next, nil
	}
}

// A request that comes while a login ends waits for its outcome, but for a second at most. No
// request waits for one that is shown, or when nothing is going on.
func TestStatusAwaitsTheOutcome(t *testing.T) {
	const moment = 10 * time.Millisecond // that the state takes
	search := func() *panel.Problem {
		time.Sleep(time.Minute)
		return nil
	}
	fails := &panel.Problem{Status: http.StatusBadGateway, Kind: "status"}
	shown := &panel.State{Pending: &panel.Pending{Approved: true}}
	for name, tc := range map[string]struct {
		pending func() (panel.Login, *panel.Problem)
		state   *panel.State
		asked   time.Duration // after the beginning
		took    time.Duration
		finding bool
	}{
		"the login ends": {logins(attempt{after: 300 * time.Millisecond}), &panel.State{}, 0, 300*time.Millisecond + moment, true},
		"it ends later":  {logins(attempt{after: time.Hour}), &panel.State{}, 0, time.Second + 2*moment, false},
		"it is shown":    {logins(attempt{after: time.Hour}), shown, 0, moment, false},
		"none is there":  {logins(), &panel.State{}, time.Second, moment, false},
		"it has failed":  {logins(attempt{ends: fails}), &panel.State{}, 100 * time.Millisecond, moment, false},
		"the store takes longer": {func() (panel.Login, *panel.Problem) {
			time.Sleep(500 * time.Millisecond)
			return nil, &panel.Problem{Kind: panel.NoLogin}
		}, &panel.State{}, 0, 500*time.Millisecond + moment, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := open(t, &host{pending: tc.pending, findServer: search, state: func() (*panel.State, *panel.Problem) { return tc.state, nil }})
				time.Sleep(tc.asked)
				synctest.Wait()
				began := time.Now()
				s := status(t, p)
				assert.Equal(t, tc.took, time.Since(began))
				assert.Equal(t, tc.finding, s.Finding)
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// A login that is saved, and whose search begins in a moment, is not shown as one without a
// server.
func TestFindingIsExpected(t *testing.T) {
	for name, tc := range map[string]struct {
		state     panel.State
		attending bool
		want      bool
	}{
		"saved":                {panel.State{Status: panel.Status{Connected: true}}, true, true},
		"half of a server":     {panel.State{Status: panel.Status{Connected: true}, Settings: panel.Settings{ServerURL: "https://plex"}}, true, true},
		"the other half":       {panel.State{Status: panel.Status{Connected: true}, Settings: panel.Settings{MachineID: "m1"}}, true, true},
		"the server is known":  {panel.State{Status: panel.Status{Connected: true}, Settings: panel.Settings{ServerURL: "https://plex", MachineID: "m1"}}, true, false},
		"not saved":            {panel.State{}, true, false},
		"no login is going on": {panel.State{Status: panel.Status{Connected: true}}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &host{state: func() (*panel.State, *panel.Problem) { return &tc.state, nil }}
				if tc.attending {
					h.pending = logins(attempt{after: time.Hour})
					h.findServer = func() *panel.Problem { return nil }
				}
				p := open(t, h)
				synctest.Wait()
				assert.Equal(t, tc.want, status(t, p).Finding)
			})
		})
	}
}

// A login that another one has replaced ends without a problem, and removes the one before.
func TestSupersededLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := &panel.Problem{Kind: "status"}
		p := open(t, &host{pending: logins(attempt{ends: fails}, attempt{after: 10 * time.Second, ends: &panel.Problem{Kind: panel.Superseded}})})
		time.Sleep(5 * time.Second)
		require.NotNil(t, status(t, p).Problem)
		time.Sleep(10 * time.Second)
		assert.Nil(t, status(t, p).Problem)
	})
}

// A login that another process has begun is attended to as soon as a page shows it.
func TestLoginOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stored *panel.Pending
		attended := 0
		p := open(t, &host{
			pending: func() (panel.Login, *panel.Problem) {
				if stored == nil {
					return nil, &panel.Problem{Kind: panel.NoLogin}
				}
				attended++
				return attempt{after: time.Hour}, nil
			},
			state: func() (*panel.State, *panel.Problem) { return &panel.State{Pending: stored}, nil },
		})
		synctest.Wait()
		stored = &panel.Pending{Approved: true}
		time.Sleep(time.Minute)
		assert.Zero(t, attended)
		status(t, p)
		synctest.Wait()
		assert.Equal(t, 1, attended)
	})
}

// An expired login is removed once. If the store fails, that is tried again after pauses that
// grow.
func TestExpiredLoginIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried []time.Duration
		began := time.Now()
		remove := func() *panel.Problem {
			tried = append(tried, time.Since(began).Truncate(time.Second))
			if len(tried) < 7 {
				return &panel.Problem{Kind: panel.Store}
			}
			return nil
		}
		open(t, &host{pending: logins(attempt{ends: &panel.Problem{Kind: panel.PinExpired}, remove: remove})})
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{0, 1, 3, 7, 15, 25, 35}
		for i := range want {
			want[i] *= time.Second
		}
		assert.Equal(t, want, tried)
	})
}

// Nothing begins when the panel's context has ended.
func TestStoppedWorker(t *testing.T) {
	silent := &panel.Problem{Kind: "server_unreachable"}
	for name, tc := range map[string]struct {
		login    attempt
		searches int64
	}{
		"during the login":  {attempt{after: time.Hour}, 0},
		"before the search": {attempt{}, 1}, // and not another one
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var searches atomic.Int64
				ctx, stop := context.WithCancel(t.Context())
				p := panel.New(ctx, &host{pending: logins(tc.login), findServer: func() *panel.Problem {
					searches.Add(1)
					return silent
				}}, panel.Config{})
				go p.Run()
				time.Sleep(10 * time.Second)
				stop()
				time.Sleep(time.Hour)
				assert.Equal(t, tc.searches, searches.Load())
			})
		})
	}
}

// A server that does not answer is looked for again, and those who wait see it at once. If a
// person has to choose, there is no other search.
func TestSearchAgain(t *testing.T) {
	for kind, again := range map[panel.Kind]bool{
		"server_unreachable": true, "dns": true, "connect": true, "timeout": true, "content": true, "status": true,
		"server_choice": false, "rejected": false, "store": false, "internal": false,
	} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var searches atomic.Int64
				p := open(t, &host{pending: logins(attempt{}), findServer: func() *panel.Problem {
					if searches.Add(1) > 1 {
						time.Sleep(10 * time.Second)
					}
					return &panel.Problem{Kind: kind}
				}})
				time.Sleep(19500 * time.Millisecond)
				before := status(t, p)
				assert.False(t, before.Finding)
				began := time.Now()
				rec := ask(p, http.MethodGet, "/status?wait=5&seen="+before.Seen)
				require.Equal(t, http.StatusOK, rec.Code)
				took := time.Since(began)
				assert.Equal(t, again, status(t, p).Finding)
				if again {
					assert.Less(t, took, 600*time.Millisecond)
				}
				time.Sleep(time.Hour)
				assert.Equal(t, again, searches.Load() == 4)
				assert.Equal(t, !again, searches.Load() == 1)
				assert.False(t, status(t, p).Finding)
			})
		})
	}
}
