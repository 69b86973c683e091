package watch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/watch"
)

// login is a login in a store. It notes what is done with it, and when.
type login struct {
	mu       sync.Mutex
	stored   *profile.Stored
	writes   int           // by this process
	written  chan struct{} // closed by the next one
	version  uint64        // of stored
	events   []string      // with the time since the beginning
	began    time.Time
	renewAt  time.Time // of the token
	unusable time.Time
	notYet   bool // a renewal has just failed

	readTakes, workTakes time.Duration // workTakes is for Ask and Renew
	lingers              time.Duration // how long a call goes on after its context has ended

	readErr, updateErr, askErr, rejectErr, renewErr error

	askPanics          any    // the value that Ask panics with
	storedBeforeUpdate string // the document that another process stores before the next Update
	storedByAsk        string
	afterUpdate        func()
}

// newLogin returns a login over a document. It was checked at midnight, and is checked at six.
func newLogin(t *testing.T, doc string) *login {
	l := &login{began: time.Now(), written: make(chan struct{})}
	l.store(t, doc)
	return l
}

// checked is a document whose token was checked when the test began, which is at midnight.
func checked() string {
	return fmt.Sprintf(`{"account_token":"TEST_a","_checked":%d}`, time.Now().Unix())
}

// store stores a document as another process does.
func (l *login) store(t *testing.T, doc string) {
	s, err := profile.Parse([]byte(doc))
	require.NoError(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = s
	l.version++
}

// set changes what the calls return.
func (l *login) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// note notes an event.
func (l *login) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, fmt.Sprint(time.Since(l.began).Round(time.Second), " ", fmt.Sprintf(format, args...)))
}

// noted returns the events since the last call.
func (l *login) noted() (events []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, l.events = l.events, nil
	return events
}

// wait takes time, unless ctx ends.
func (l *login) wait(ctx context.Context, took *time.Duration) error {
	l.mu.Lock()
	d := *took
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		d = l.lingers
		l.mu.Unlock()
		time.Sleep(d)
		return ctx.Err()
	}
}

func (l *login) Written() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

func (l *login) Writes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

func (l *login) Read(ctx context.Context, last *watch.State[string]) (*watch.State[string], error) {
	l.note("read")
	if err := l.wait(ctx, &l.readTakes); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readErr != nil {
		return nil, l.readErr
	}
	if last != nil && last.Hash == l.version {
		return last, nil
	}
	p := l.stored.Document().Profile("default")
	return &watch.State[string]{
		Status: "status " + fmt.Sprint(l.version), View: watch.View{Connected: p.CheckToken() == nil, NeedsLogin: p.TokenIsDead(), User: p.Username()},
		Token: p.AccountToken(), Checked: p.Checked, Hash: l.version, RenewAt: l.renewAt, UnusableAt: l.unusable,
	}, nil
}

func (l *login) Update(ctx context.Context, edit func(*profile.Profile) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.afterUpdate != nil {
		defer l.afterUpdate()
	}
	if l.storedBeforeUpdate != "" {
		l.stored, _ = profile.Parse([]byte(l.storedBeforeUpdate))
		l.version++
		l.storedBeforeUpdate = ""
	}
	d := l.stored.Document()
	p := d.Profile("default")
	err := errors.Join(edit(p), l.updateErr)
	checked := "never"
	if !p.Checked.IsZero() {
		checked = p.Checked.Sub(l.began).String()
	}
	l.events = append(l.events, fmt.Sprint(time.Since(l.began).Round(time.Second), " checked ", checked))
	if s, changed := d.Stored(); err == nil && changed {
		l.stored = s
		l.version++
		l.writes++
		close(l.written)
		l.written = make(chan struct{})
	}
	return err
}

func (l *login) Ask(ctx context.Context) error {
	l.note("ask")
	if err := l.wait(ctx, &l.workTakes); err != nil {
		return err
	}
	if l.askPanics != nil {
		panic(l.askPanics)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.storedByAsk != "" {
		l.stored, _ = profile.Parse([]byte(l.storedByAsk))
		l.version++
	}
	return l.askErr
}

func (l *login) Reject(_ context.Context, t secret.Value) error {
	l.note("reject %s", t.Secret())
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rejectErr
}

func (l *login) MayRenew(secret.Value) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.notYet
}

func (l *login) Renew(ctx context.Context, t secret.Value) error {
	_, isLimited := ctx.Deadline()
	l.note("renew %s, limited: %t", t.Secret(), isLimited)
	if err := l.wait(ctx, &l.workTakes); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewErr
}

func (l *login) Log(_ context.Context, level slog.Level, what string, attrs ...slog.Attr) {
	l.note("%s: %s %v", level, what, attrs)
}

// watching runs script beside a watcher of l, in a bubble with a clock of its own.
func watching(t *testing.T, shared *watch.Shared[string], l *login, script func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := watcher(l, shared)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	script()
	cancel()
	<-done
}

func watcher(l *login, shared *watch.Shared[string]) *watch.Watcher[string] {
	return &watch.Watcher[string]{
		Login: l, Client: plextv.New(plextv.Config{}), Shared: shared, Share: 0.25,
		Changed: func(status string, rejected bool) { l.note("told %s, rejected: %t", status, rejected) },
	}
}

// withoutReads leaves out the readings of the store.
func withoutReads(events []string) (others []string) {
	for _, e := range events {
		if !strings.HasSuffix(e, " read") {
			others = append(others, e)
		}
	}
	return others
}

// The store is read every 15 seconds, and when this process has written it. Only news is told.
func TestWatcherReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, `{}`)
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(35 * time.Second)
			assert.Equal(t, []string{"0s read", "0s told status 1, rejected: false", "15s read", "30s read"}, l.noted())
			l.store(t, `{"x":1}`)
			time.Sleep(15 * time.Second)
			assert.Equal(t, []string{"45s read"}, l.noted(), "nothing of it is told")
			l.store(t, `{"username":"al"}`)
			time.Sleep(15 * time.Second)
			assert.Equal(t, []string{"1m0s read", "1m0s told status 3, rejected: false"}, l.noted())
			require.NoError(t, l.Update(t.Context(), func(p *profile.Profile) error { p.SetHomeUser(7, "bo", 1); return nil }))
			time.Sleep(16 * time.Second)
			assert.Equal(t, []string{"1m5s checked never", "1m5s read", "1m5s told status 4, rejected: false", "1m20s read"}, l.noted())
		})
	})
}

// All watchers of a profile in one process share a reading. One that leaves while it reads lets
// another read at once.
func TestWatchersShareAReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, `{}`)
		shared := &watch.Shared[string]{}
		watching(t, shared, l, func() {
			time.Sleep(5 * time.Second)
			watching(t, shared, l, func() {
				time.Sleep(12 * time.Second)
				assert.Equal(t, []string{"0s read", "0s told status 1, rejected: false", "5s told status 1, rejected: false", "15s read"}, l.noted())
			})
		})
		l.set(func() { l.readTakes = 5 * time.Second })
		shared = &watch.Shared[string]{}
		var after sync.WaitGroup
		watching(t, shared, l, func() {
			time.Sleep(time.Second)
			after.Go(func() { watching(t, shared, l, func() { time.Sleep(10 * time.Second) }) })
			time.Sleep(time.Second)
		})
		after.Wait()
		assert.Equal(t, []string{"17s read", "19s read", "24s told status 1, rejected: false"}, l.noted())
	})
}

// A watcher leaves at once, also while another one reads.
func TestWatcherLeavesBesideAReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, `{}`)
		l.readTakes = time.Minute
		shared := &watch.Shared[string]{}
		watching(t, shared, l, func() {
			time.Sleep(time.Second)
			watching(t, shared, l, func() { time.Sleep(time.Second) })
			assert.Equal(t, 2*time.Second, time.Since(l.began))
		})
	})
}

// Trouble with the store is logged when it begins, changes and ends. Until then nothing is told
// or done.
func TestWatcherOfABrokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, `{}`)
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(5 * time.Second)
			l.set(func() { l.readErr = errors.New("disk") })
			l.store(t, checked())
			time.Sleep(30 * time.Second)
			l.set(func() { l.readErr = fmt.Errorf("damaged: %w", fault.ErrCorruptConfig) })
			time.Sleep(30 * time.Second)
			l.set(func() { l.readErr = nil })
			time.Sleep(30 * time.Second)
			const cannot = "cannot read the store; the login is watched again when it can be read"
			assert.Equal(t, []string{
				"0s told status 1, rejected: false",
				"15s WARN: " + cannot + " [error=disk]",
				"45s WARN: " + cannot + " [error=damaged: " + fault.ErrCorruptConfig.Error() + "]",
				"1m15s INFO: the store can be read again []", "1m15s told status 2, rejected: false",
			}, withoutReads(l.noted()))
			time.Sleep(6*time.Hour - 2*time.Minute)
			l.set(func() { l.readErr = errors.New("disk") })
			time.Sleep(time.Hour)
			assert.Len(t, withoutReads(l.noted()), 1, "it is not known whether the token is still there")
		})
	})
}

// The token is checked at the profile's time of day, once for all watchers, and the time of it
// is stored.
func TestWatcherChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		l.workTakes = 20 * time.Second
		shared := &watch.Shared[string]{}
		watching(t, shared, l, func() {
			watching(t, shared, l, func() {
				time.Sleep(31 * time.Hour)
				assert.Equal(t, []string{"6h0m0s checked 6h0m0s", "6h0m0s ask", "30h0m0s checked 30h0m0s", "30h0m0s ask"}, withoutReads(l.noted())[2:])
			})
		})
	})
}

// A check that another process has made is not made again.
func TestWatcherLeavesACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(6*time.Hour - time.Second)
			l.set(func() {
				l.storedBeforeUpdate = fmt.Sprintf(`{"account_token":"TEST_a","_checked":%d}`, time.Now().Unix()+1)
			})
			time.Sleep(time.Hour)
			assert.Equal(t, []string{"6h0m0s checked 6h0m0s"}, withoutReads(l.noted())[1:])
		})
	})
}

// A check is made although the store cannot be written.
func TestWatcherOfAReadOnlyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		l.updateErr, l.workTakes = errors.New("read-only"), 20*time.Second
		shared := &watch.Shared[string]{}
		watching(t, shared, l, func() {
			watching(t, shared, l, func() {
				time.Sleep(31 * time.Hour)
				assert.Equal(t, []string{
					"6h0m0s checked 6h0m0s", "6h0m0s DEBUG: the time of the check was not saved [error=read-only]", "6h0m0s ask",
					"30h0m0s checked 30h0m0s", "30h0m0s DEBUG: the time of the check was not saved [error=read-only]", "30h0m0s ask",
				}, withoutReads(l.noted())[2:])
			})
		})
	})
}

// unavailable is plex.tv's failure, which may name a pause.
func unavailable(pause time.Duration) error {
	return &plextv.Failure{Op: "read account", Where: "plex.tv", StatusCode: 503, Sentinel: fault.ErrUnavailable, Temporary: true, RetryAfter: pause}
}

// G28: a failure to ask is not taken for a rejection. It is logged once, tried again, and
// another process may check in between.
func TestWatcherCannotAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		l.askErr = unavailable(0)
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(6*time.Hour + 70*time.Second)
			events := withoutReads(l.noted())[1:]
			require.Len(t, events, 7)
			assert.Equal(t, []string{"6h0m0s checked 6h0m0s", "6h0m0s ask", "6h0m0s checked 0s"}, events[:3])
			assert.Contains(t, events[3], "6h0m0s WARN: cannot ask plex.tv whether the login is still valid; it stays as it is [error=")
			assert.Regexp(t, `^6h1m\ds ask$`, events[5])
			assert.Regexp(t, `^6h1m\ds checked 0s$`, events[6])

			l.set(func() { l.askErr = errors.New("another failure") })
			time.Sleep(130 * time.Second)
			assert.Contains(t, strings.Join(l.noted(), "\n"), "WARN: cannot ask plex.tv whether the login is still valid; it stays as it is [error=another failure]")
			l.set(func() { l.askErr = nil })
			time.Sleep(5 * time.Minute)
			events = withoutReads(l.noted())
			require.Len(t, events, 3)
			assert.Contains(t, events[1], " ask")
			assert.Contains(t, events[2], " INFO: plex.tv answers again []")
			time.Sleep(22 * time.Hour)
			assert.Empty(t, withoutReads(l.noted()))
		})
	})
}

// A pause that plex.tv asks for is kept: after a check, and after a request of anyone else.
func TestWatcherKeepsPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		l.askErr = unavailable(30 * time.Minute)
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(6*time.Hour + 29*time.Minute)
			assert.Len(t, withoutReads(l.noted()), 5)
			time.Sleep(4 * time.Minute)
			assert.NotEmpty(t, withoutReads(l.noted()))
		})
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		w := watcher(l, &watch.Shared[string]{})
		w.Client = plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: tooMany{}}})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.Run(ctx) })
		time.Sleep(6*time.Hour - 15*time.Second)
		_, err := w.Client.ReadServers(ctx, secret.New("TEST_a"), "app")
		require.ErrorIs(t, err, fault.ErrRateLimited)
		until := w.Client.Guard.OpenAt().Sub(l.began)
		time.Sleep(time.Minute)
		assert.Equal(t, []string{fmt.Sprint(until, " checked ", until), fmt.Sprint(until, " ask")}, withoutReads(l.noted())[1:], "the pause is over")
		cancel()
		running.Wait()
	})
}

// tooMany answers that too many requests were made, and asks for a pause of 30 seconds.
type tooMany struct{}

func (tooMany) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}, "Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(`{"errors":[{"code":1003,"message":"Too many","status":429}]}`)), Request: r,
	}, nil
}

// A token that another caller has just removed is neither rejected nor asked for again.
func TestWatcherOfARemovedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		l.askErr = fault.ErrNotConnected
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(7 * time.Hour)
			assert.Equal(t, []string{"6h0m0s checked 6h0m0s", "6h0m0s ask"}, withoutReads(l.noted())[1:])
		})
	})
}

// A rejection is told at once. If the store could not say so, it is saved later, and plex.tv is
// not asked again.
func TestWatcherOfARejectedToken(t *testing.T) {
	for name, c := range map[string]struct {
		ask  error
		want []string
	}{
		"saved":     {fault.ErrTokenRejected, []string{"told status 4, rejected: false"}},
		"not saved": {fmt.Errorf("%w, and %w", fault.ErrTokenRejected, fault.ErrStore), []string{"reject TEST_a", "reject TEST_a", "told status 3, rejected: false"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogin(t, checked())
				l.askErr, l.rejectErr, l.workTakes = c.ask, errors.New("read-only"), time.Second
				if name == "saved" {
					l.storedByAsk = fmt.Sprintf(`{"account_token":"TEST_a","_rejected":%q}`, secret.Fingerprint(secret.New("TEST_a")))
				}
				watching(t, &watch.Shared[string]{}, l, func() {
					time.Sleep(6*time.Hour + 20*time.Second)
					assert.Equal(t, []string{
						"6h0m0s checked 6h0m0s", "6h0m0s ask", "6h0m1s WARN: plex.tv has rejected the token: sign in again [error=" + c.ask.Error() + "]",
						"6h0m1s told status 2, rejected: true",
					}, withoutReads(l.noted())[1:])
					time.Sleep(4 * time.Minute)
					l.store(t, `{"account_token":"TEST_b"}`)
					time.Sleep(15 * time.Second)
					var rejected []string
					for _, e := range withoutReads(l.noted()) {
						_, what, _ := strings.Cut(e, " ")
						rejected = append(rejected, what)
					}
					assert.Equal(t, c.want, rejected)
				})
			})
		})
	}
}

// A token is renewed when it is due, in a limited time. Only plex.tv's rejection says that it
// is lost.
func TestWatcherRenews(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want []string
	}{
		"renewed":  {nil, []string{"1h0m0s renew TEST_a, limited: true"}},
		"failed":   {unavailable(0), []string{"1h0m0s renew TEST_a, limited: true"}},
		"rejected": {fault.ErrTokenRejected, []string{"1h0m0s renew TEST_a, limited: true", "1h0m0s told status 1, rejected: true"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogin(t, checked())
				l.renewAt, l.unusable = time.Now().Add(time.Hour), time.Now().Add(day)
				l.renewErr = c.err
				watching(t, &watch.Shared[string]{}, l, func() {
					time.Sleep(time.Hour + 10*time.Second)
					assert.Equal(t, c.want, withoutReads(l.noted())[1:])
				})
			})
		})
	}
}

// A renewal that has just failed is not tried again yet. Two are at least 15 seconds apart.
func TestWatcherRenewsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		l.renewAt, l.unusable = time.Now().Add(time.Hour), time.Now().Add(day)
		l.renewErr, l.notYet, l.workTakes = unavailable(0), true, 4*time.Second
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(2*time.Hour - time.Second)
			assert.Len(t, withoutReads(l.noted()), 1)
			l.set(func() { l.notYet = false })
			time.Sleep(time.Minute)
			var at []string
			for _, e := range withoutReads(l.noted()) {
				when, _, _ := strings.Cut(e, " ")
				at = append(at, when)
			}
			assert.Equal(t, []string{"2h0m0s", "2h0m19s", "2h0m38s", "2h0m57s"}, at)
		})
	})
}

// Work under way ends with the context, and a check is then undone.
func TestWatcherIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		watching(t, &watch.Shared[string]{}, l, func() {
			time.Sleep(6*time.Hour - 10*time.Second)
			l.set(func() { l.workTakes, l.lingers = time.Minute, 2*time.Second })
			time.Sleep(20 * time.Second)
		})
		assert.Equal(t, []string{"6h0m0s checked 6h0m0s", "6h0m0s ask", "6h0m12s checked 0s"}, withoutReads(l.noted())[1:])
	})
	for name, err := range map[string]error{"the claim is saved": nil, "it is perhaps saved": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogin(t, checked())
				ctx, cancel := context.WithCancel(t.Context())
				l.updateErr, l.afterUpdate = err, cancel
				watcher(l, &watch.Shared[string]{}).Run(ctx)
				assert.Equal(t, []string{"6h0m0s checked 6h0m0s", "6h0m0s checked 0s"}, withoutReads(l.noted())[1:])
			})
		})
	}
}

// A panic of the program's own code goes through Run, after the work has ended.
func TestWatcherPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(t, checked())
		l.askPanics = "from the store"
		shared := &watch.Shared[string]{}
		assert.PanicsWithValue(t, "from the store", func() { watcher(l, shared).Run(t.Context()) })
		assert.Equal(t, 6*time.Hour, time.Since(l.began))
		l.askPanics = nil
		l.store(t, checked())
		watching(t, shared, l, func() { time.Sleep(day + time.Minute) })
		assert.Contains(t, withoutReads(l.noted()), "30h0m0s ask", "another one may work")
	})
}
