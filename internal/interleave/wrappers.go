package interleave

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// ConfigStore is a plexauth.ConfigStore.
type ConfigStore interface {
	Load(ctx context.Context, namespace string) (json.RawMessage, error)
	Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error
}

// Store makes each access to a store a step. An Update that waits for its turn has read the
// document already and tried its edit, like a store that tries again after a conflict.
type Store struct {
	ConfigStore
	// Wrote is called after each Update that has succeeded. nil: not called.
	Wrote func()
}

// Load implements [ConfigStore].
func (s *Store) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if err := Step(ctx, "store: Load"); err != nil {
		return nil, err
	}
	raw, err := s.ConfigStore.Load(ctx, namespace)
	Saw(ctx, string(raw))
	_ = StepBack(ctx, "Load")
	return raw, err
}

// Update implements [ConfigStore].
func (s *Store) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	before, err := s.ConfigStore.Load(ctx, namespace)
	if err != nil {
		return err
	}
	_, editErr := edit(before)
	Saw(ctx, fmt.Sprint(string(before), editErr))
	if err := Step(ctx, "store: Update"); err != nil {
		return err
	}
	err = s.ConfigStore.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		Saw(ctx, string(current))
		return edit(current)
	})
	if s.Wrote != nil && err == nil {
		s.Wrote()
	}
	_ = StepBack(ctx, "Update")
	return err
}

// Transport makes each request a step.
type Transport struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	what := r.Method + " " + r.URL.Path
	if err := Step(ctx, what); err != nil {
		return nil, err
	}
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		Saw(ctx, err.Error())
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	Saw(ctx, fmt.Sprint(resp.StatusCode, string(body)))
	if err := StepBack(ctx, what); err != nil {
		return nil, err
	}
	return resp, nil
}
