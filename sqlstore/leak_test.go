package sqlstore_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/canary"
)

// G13: printing a Store shows nothing from the memory of the database, and printing an error
// shows nothing of a driver's message.
func TestNothingLeaks(t *testing.T) { synctest.Test(t, testNothingLeaks) }

func testNothingLeaks(t *testing.T) {
	const secret = "TEST_STORED_SECRET" // quoted by the errors of fakeDB
	c := canary.New()
	c.Add("account token", secret)
	f := newFakeDB()
	s := open(t, f)
	require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"account_token":"`+secret+`"}`)))
	text := canary.Forms(s)
	require.Contains(t, text, "sqlstore.Store", "a dump")
	assert.Empty(t, c.Search().In(text, false))

	for _, e := range []error{&stateError{"23514"}, &codeError{1}, &detailed{"failing row contains " + secret}} {
		for _, op := range []string{"select", "update"} {
			f.fault = failsAt(op, e)
			err := s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
			require.ErrorIs(t, err, plexauth.ErrStore)
			assert.Empty(t, c.Search().In(canary.Forms(err), true))
		}
	}
}

// detailed is a driver's error with the row in a field.
type detailed struct{ Detail string }

func (e *detailed) Error() string { return e.Detail }
