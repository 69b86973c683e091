package storecall_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/memstore"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/storecall"
)

// store returns document, and fails with err. With hangs it waits for the end of ctx.
type store struct {
	document string
	err      error
	hangs    bool
}

func (s store) Load(ctx context.Context, _ string) (json.RawMessage, error) {
	if s.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return json.RawMessage(s.document), s.err
}

func (s store) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	current, err := s.Load(ctx, namespace)
	if err == nil {
		_, err = edit(current)
	}
	return err
}

func (s store) Check(ctx context.Context) error {
	_, err := s.Load(ctx, "")
	return err
}

func keep(d storecall.Document) (*profile.Stored, bool, error) {
	s, err := d.Parse()
	return s, true, err
}

// A store that hangs is an error of the store after the limit, and not of a context; the end
// of the caller's context is that context's error.
func TestHangingStore(t *testing.T) {
	c := storecall.Caller{Store: store{hangs: true}}
	for name, call := range map[string]func(context.Context) error{
		"Read":   func(ctx context.Context) error { _, err := c.Read(ctx, "plex", storecall.Limit); return err },
		"Update": func(ctx context.Context) error { return c.Update(ctx, "plex", keep) },
		"Check":  c.Check,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := call(t.Context())
				assert.Equal(t, storecall.Limit, time.Since(began))
				assert.ErrorIs(t, err, fault.ErrStore)
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "no answer in 30s")

				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err = call(ctx)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, fault.ErrStore)
			})
		})
	}
}

// An error of a context that is not the caller's is one of the store.
func TestStoreWithAContextOfItsOwn(t *testing.T) {
	for _, own := range []error{context.Canceled, context.DeadlineExceeded} {
		_, err := storecall.Caller{Store: store{err: fmt.Errorf("the pool was closed: %w", own)}}.Read(t.Context(), "plex", time.Second)
		assert.ErrorIs(t, err, fault.ErrStore)
		assert.NotErrorIs(t, err, own)
		assert.ErrorContains(t, err, "the pool was closed")
		assert.NotContains(t, err.Error(), "no answer")
	}
}

// G13: no error of a store shows what it may quote: secrets of the document, of the edit, or
// of the call.
func TestErrorsQuoteNoSecret(t *testing.T) {
	cause := errors.New(`row {"account_token":"TEST_stored"} with TEST_argument, TEST_stored`)
	c := storecall.Caller{Store: quoting{store{document: `{"account_token":"TEST_stored"}`}, cause}}
	err := c.Update(t.Context(), "plex", keep, secret.New("TEST_argument"))
	require.ErrorIs(t, err, fault.ErrStore)
	assert.ErrorIs(t, err, cause)
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		assert.NotContains(t, text, "TEST_")
		assert.Contains(t, text, "[redacted]")
	}
}

// quoting is a store whose Update calls edit, and then fails.
type quoting struct {
	store
	cause error
}

func (q quoting) Update(_ context.Context, _ string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	if _, err := edit(json.RawMessage(q.document)); err != nil {
		return err
	}
	return q.cause
}

// An error of an edit is returned as it is.
func TestErrorOfAnEdit(t *testing.T) {
	refused := errors.New("refused")
	err := storecall.Caller{Store: store{document: `{}`}}.Update(t.Context(), "plex", func(storecall.Document) (*profile.Stored, bool, error) {
		return nil, false, refused
	})
	assert.Same(t, refused, err)
}

// seeing is a store that keeps what an edit has returned.
type seeing struct {
	store
	next json.RawMessage
	err  error
}

func (s *seeing) Update(_ context.Context, _ string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	s.next, s.err = edit(json.RawMessage(s.document))
	return s.err
}

// The store writes what an edit has changed, and nothing else.
func TestWhatTheStoreWrites(t *testing.T) {
	const before, after = `{ "a" : 1 }`, `{"a":2}`
	refused := errors.New("refused")
	changedTo, err := profile.Parse([]byte(after))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		changed bool
		err     error
		next    string
	}{
		"changed":   {true, nil, after},
		"unchanged": {false, nil, before},
		"refused":   {true, refused, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &seeing{store: store{document: before}}
			err := storecall.Caller{Store: s}.Update(t.Context(), "plex", func(storecall.Document) (*profile.Stored, bool, error) {
				return changedTo, c.changed, c.err
			})
			assert.Equal(t, c.err, err)
			assert.Equal(t, c.err, s.err)
			assert.Equal(t, c.next, string(s.next))
		})
	}
}

// bare is a store that cannot tell whether an Update would succeed.
type bare struct{ storecall.Store }

func TestCheck(t *testing.T) {
	assert.NoError(t, storecall.Caller{Store: store{}}.Check(t.Context()))
	assert.NoError(t, storecall.Caller{Store: bare{store{err: errors.New("down")}}}.Check(t.Context()))
	assert.ErrorIs(t, storecall.Caller{Store: store{err: errors.New("down")}}.Check(t.Context()), fault.ErrStore)
}

// A store that keeps its documents parsed is called for that, and not for JSON.
func TestParsed(t *testing.T) {
	memory := memstore.New()
	c := storecall.Caller{Store: store{err: errors.New("not called")}, Parsed: memory}
	stored, err := profile.Parse([]byte(`{"a":1}`))
	require.NoError(t, err)
	require.NoError(t, c.Update(t.Context(), "plex", func(storecall.Document) (*profile.Stored, bool, error) { return stored, true, nil }))
	d, err := c.Read(t.Context(), "plex", time.Second)
	require.NoError(t, err)
	assert.Equal(t, storecall.Parsed(stored), d)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Read(ended, "plex", time.Second)
	assert.ErrorIs(t, err, context.Canceled)
}

// Documents with the same contents have the same hash.
func TestHash(t *testing.T) {
	read := func(document string) uint64 {
		d, err := storecall.Caller{Store: store{document: document}}.Read(t.Context(), "plex", time.Second)
		require.NoError(t, err)
		return d.Hash()
	}
	assert.Equal(t, read(`{"a":1}`), read(`{"a":1}`))
	assert.NotEqual(t, read(`{"a":1}`), read(`{"a":2}`))
	parsed := func(document string) uint64 {
		s, err := profile.Parse([]byte(document))
		require.NoError(t, err)
		return storecall.Parsed(s).Hash()
	}
	assert.NotEqual(t, parsed(`{"a":1}`), parsed(`{"a":2}`))
}

// direct is a Direct whose Update fails once edit has returned.
type direct struct {
	d      storecall.Document
	next   *profile.Stored
	failed error
}

func (d *direct) Load(context.Context, string) (storecall.Document, error) { return d.d, d.failed }

func (d *direct) Update(_ context.Context, _ string, edit func(storecall.Document) (*profile.Stored, bool, error)) error {
	next, changed, err := edit(d.d)
	if err != nil || !changed {
		return err
	}
	d.next = next
	return d.failed
}

// A store that needs no copies is called without any. Its errors quote no secret of a document.
func TestDirect(t *testing.T) {
	text := json.RawMessage(`{"account_token":"TEST_stored"}`)
	parsed, err := profile.Parse(text)
	require.NoError(t, err)
	for name, d := range map[string]storecall.Document{"JSON": storecall.JSON(text), "parsed": storecall.Parsed(parsed)} {
		t.Run(name, func(t *testing.T) {
			s := &direct{d: d}
			c := storecall.Caller{Store: store{hangs: true}, Direct: s}
			got, err := c.Read(t.Context(), "plex", storecall.Limit)
			require.NoError(t, err)
			assert.Equal(t, d, got)
			require.NoError(t, c.Update(t.Context(), "plex", keep))
			assert.Equal(t, text, s.next.Bytes())
			refused := errors.New("refused")
			assert.Same(t, refused, c.Update(t.Context(), "plex", func(storecall.Document) (*profile.Stored, bool, error) { return nil, true, refused }))

			s.failed = errors.New(`the row TEST_stored`)
			for _, err := range []error{
				c.Update(t.Context(), "plex", keep),
				c.Update(t.Context(), "plex", func(storecall.Document) (*profile.Stored, bool, error) { return nil, true, nil }),
			} {
				require.ErrorIs(t, err, fault.ErrStore)
				require.ErrorIs(t, err, s.failed)
				assert.NotContains(t, err.Error(), "TEST_")
			}
		})
	}
}

// special is a store whose Direct is known.
type special struct {
	store
	*direct
}

func (s special) Load(ctx context.Context, n string) (json.RawMessage, error) {
	return s.store.Load(ctx, n)
}

func (s special) Update(ctx context.Context, n string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	return s.store.Update(ctx, n, edit)
}

func TestDirectOf(t *testing.T) {
	storecall.RegisterDirect(func(storecall.Store) storecall.Direct { return nil }) // of a type that is not used here
	storecall.RegisterDirect(func(s storecall.Store) storecall.Direct {
		if s, ok := s.(special); ok {
			return s.direct
		}
		return nil
	})
	d := &direct{}
	assert.Same(t, d, storecall.DirectOf(special{direct: d}))
	assert.Nil(t, storecall.DirectOf(store{}))
	assert.Nil(t, storecall.DirectOf(struct{ storecall.Store }{special{direct: d}}), "another type does more")
}

// A document is the same as long as nothing has changed it.
func TestSameDocument(t *testing.T) {
	memory := memstore.New()
	read := func(c storecall.Caller) storecall.Document {
		d, err := c.Read(t.Context(), "plex", time.Second)
		require.NoError(t, err)
		return d
	}
	put := func(document string) {
		require.NoError(t, memory.UpdateJSON(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(document), nil }))
	}
	asJSON := func(document string) storecall.Document {
		return read(storecall.Caller{Store: store{document: document}})
	}
	assert.True(t, asJSON(`{"a":1}`).Is(asJSON(`{"a":1}`)))
	assert.False(t, asJSON(`{"a":1}`).Is(asJSON(`{"a":2}`)))
	assert.False(t, storecall.JSON(nil).Is(storecall.JSON([]byte{})), "absent and empty")

	parsed := storecall.Caller{Parsed: memory}
	absent := read(parsed)
	put(`{"a":1}`)
	first := read(parsed)
	assert.True(t, first.Is(read(parsed)))
	assert.False(t, first.Is(absent))
	put(`{"a":2}`)
	assert.False(t, first.Is(read(parsed)))
}
