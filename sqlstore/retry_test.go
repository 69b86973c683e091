package sqlstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// G11: what time does not change is reported at once, what it may change is
// tried again for a while, and each says what to do.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err      error
		attempts int
		says     string
	}{
		{&stateError{"42501"}, 1, "grant"},
		{&stateError{"25006"}, 1, "read-only"},
		{&stateError{"53100"}, 6, "disk is full"},
		{&stateError{"08006"}, 6, "SQLSTATE 08006"},
		{&codeError{8}, 1, "read-only"},
		{&codeError{13}, 1, "disk is full"},
		{&codeError{10 + 3<<8}, 6, "I/O"},
		{io.ErrUnexpectedEOF, 6, "EOF"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, 6, "dial tcp: connection refused"},
		{errors.New("TEST_STORED_SECRET"), 6, "*errors.errorString"},
	} {
		t.Run(fmt.Sprintf("%T %s", c.err, c.says), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeDB()
				s := open(t, f)
				defer f.open(t).Close()
				var n int
				f.fault = func(op string) (error, error) {
					n++
					return c.err, nil
				}
				start := time.Now()
				_, loadErr := s.Load(t.Context(), "plex")
				assert.Equal(t, c.attempts, n)
				assert.Less(t, time.Since(start), 2*time.Second)
				for what, err := range map[string]error{
					"Load":   loadErr,
					"Update": s.Update(t.Context(), "plex", becomes(`{"account_token":"TEST_EDITED_SECRET"}`)),
					"Check":  s.Check(t.Context()),
				} {
					require.ErrorIs(t, err, plexauth.ErrStore, what)
					require.ErrorIs(t, err, c.err, what)
					assert.ErrorContains(t, err, c.says, what)
					checkNoSecret(t, err)
				}
				var state *stateError
				assert.Equal(t, errors.As(c.err, &state), errors.As(loadErr, &state))
			})
		})
	}
}

// checkNoSecret walks what can be printed of an error.
func checkNoSecret(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
			assert.NotContains(t, fmt.Sprintf(verb, err), "SECRET")
		}
		b, _ := json.Marshal(err)
		assert.NotContains(t, string(b), "SECRET")
	}
}

// A busy database is waited for, but not for ever.
func TestBusy(t *testing.T) {
	for name, fault := range map[string]error{
		"PostgreSQL": &stateError{"40001"},
		"modernc":    &codeError{5 + 2<<8},
		"mattn":      errors.New("database is locked"),
		"conflicts":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeDB()
				s, other := open(t, f), open(t, f)
				ctx := t.Context()
				var free atomic.Bool
				f.fault = func(op string) (error, error) {
					switch {
					case free.Load() || op == "select":
						return nil, nil
					case fault != nil:
						return fault, nil
					}
					free.Store(true)
					var calls int
					assert.NoError(t, other.Update(ctx, "plex", counts(&calls)))
					free.Store(false)
					return nil, nil
				}
				start := time.Now()
				err := s.Update(ctx, "plex", becomes(`{"n":0}`))
				require.ErrorIs(t, err, plexauth.ErrStore)
				assert.ErrorContains(t, err, "gave up after 30s")
				assert.InDelta(t, 30, time.Since(start).Seconds(), 1)

				soon, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				start = time.Now()
				require.ErrorIs(t, s.Update(soon, "plex", becomes(`{"n":0}`)), context.DeadlineExceeded)
				assert.Equal(t, time.Second, time.Since(start))

				time.AfterFunc(20*time.Second, func() { free.Store(true) })
				require.NoError(t, s.Update(ctx, "plex", becomes(`{"n":0}`)))
			})
		})
	}
}
