package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
)

// These cases are about what an edit returns and gets.

func checkNoChange(ctx context.Context, a, _ plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, ""); err != nil {
		return err
	}
	if err := expect(ctx, a, namespace, ""); err != nil {
		return fmt.Errorf("after an edit that returned nil for nil: %w", err)
	}
	if err := put(ctx, a, "storetest 2", ` { "n" : [ 1.0 ] } `); err != nil {
		return err
	}
	before, err := a.Load(ctx, "storetest 2")
	if err != nil {
		return err
	}
	for range 3 {
		err := a.Update(ctx, "storetest 2", func(current json.RawMessage) (json.RawMessage, error) { return current, nil })
		if err != nil {
			return err
		}
	}
	after, err := a.Load(ctx, "storetest 2")
	if err != nil {
		return err
	}
	if !bytes.Equal(before, after) {
		return fmt.Errorf("the Updates without a change made %s of %s", brief(after), brief(before))
	}
	return nil
}

// prepare makes value the object of the namespace. If value is "", it does nothing, so that
// the namespace was never written.
func prepare(ctx context.Context, s plexauth.ConfigStore, namespace, value string) error {
	if value == "" {
		return nil
	}
	return put(ctx, s, namespace, value)
}

// editError is the error of an edit, for errors.As.
type editError struct{ code int }

func (*editError) Error() string { return "storetest: an edit that fails" }

func checkEditError(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const value = `{"n":1}`
	mine := &editError{code: 7}
	for namespace, old := range map[string]string{"storetest 1": "", "storetest 2": value} {
		if err := prepare(ctx, a, namespace, old); err != nil {
			return err
		}
		err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`{"n":2}`), fmt.Errorf("%w: %w", errStop, mine)
		})
		var found *editError
		if !errors.Is(err, errStop) || !errors.As(err, &found) || found != mine {
			return fmt.Errorf("the Update returned %v, which does not match the error of edit", err)
		}
		if err := expect(ctx, a, namespace, old); err != nil {
			return err
		}
	}
	return nil
}

func checkNotObject(ctx context.Context, a, _ plexauth.ConfigStore) error {
	for namespace, old := range map[string]string{"storetest 1": "", "storetest 2": `{"n":1}`} {
		if err := prepare(ctx, a, namespace, old); err != nil {
			return err
		}
		for _, bad := range []string{`[]`, `[{"n":1}]`, `null`, `"text"`, `7`, `true`, `{`, `{"n":`, `{"n":1}}`, `{"n":1}{"n":2}`, `{n:1}`, ` `} {
			err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(bad), nil })
			if !errors.Is(err, plexauth.ErrStore) {
				return fmt.Errorf("an edit that returns %q: Update returned %v", bad, err)
			}
			if err := expect(ctx, a, namespace, old); err != nil {
				return fmt.Errorf("an edit that returns %q: %w", bad, err)
			}
		}
		// Empty but not nil, which is easily returned by mistake.
		err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage{}, nil })
		if !errors.Is(err, plexauth.ErrStore) {
			return fmt.Errorf("an edit that returns an empty slice that is not nil: Update returned %v", err)
		}
		if err := expect(ctx, a, namespace, old); err != nil {
			return fmt.Errorf("an edit that returns an empty slice that is not nil: %w", err)
		}
	}
	return nil
}

func checkPanic(ctx context.Context, a, b plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	func() {
		defer func() { _ = recover() }()
		_ = a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { panic("storetest: an edit that panics") })
	}()
	ends, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return inOrder(
		expects(ends, a, namespace, `{"n":1}`),
		puts(ends, a, namespace, `{"n":2}`),
		puts(ends, b, namespace, `{"n":3}`),
	)
}

// scribble overwrites a value, which the rules allow.
func scribble(v json.RawMessage) {
	for i := range v {
		v[i] = 'X'
	}
}

func checkCurrentAlias(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const value = `{"n":1}`
	if err := put(ctx, a, namespace, value); err != nil {
		return err
	}
	var kept json.RawMessage
	err := a.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		kept = current
		scribble(current)
		return nil, errStop
	})
	if !errors.Is(err, errStop) {
		return fmt.Errorf("the Update returned %v", err)
	}
	if err := expect(ctx, a, namespace, value); err != nil {
		return fmt.Errorf("after an edit that wrote to current and failed: %w", err)
	}
	err = a.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		kept = current
		i := bytes.IndexByte(current, '1')
		if i < 0 {
			return nil, fmt.Errorf("current is %s", brief(current))
		}
		current[i] = '2'
		return current, nil
	})
	if err != nil {
		return err
	}
	if err := expect(ctx, a, namespace, `{"n":2}`); err != nil {
		return fmt.Errorf("after an edit that wrote to current and returned it: %w", err)
	}
	scribble(kept)
	return expect(ctx, a, namespace, `{"n":2}`)
}

func checkResultAlias(ctx context.Context, a, _ plexauth.ConfigStore) error {
	result := json.RawMessage(`{"n":1}`)
	if err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return result, nil }); err != nil {
		return err
	}
	scribble(result)
	return expect(ctx, a, namespace, `{"n":1}`)
}

func checkLoadAlias(ctx context.Context, a, _ plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	loaded, err := a.Load(ctx, namespace)
	if err != nil {
		return err
	}
	scribble(loaded)
	return expect(ctx, a, namespace, `{"n":1}`)
}

func checkSecrets(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const stored, edited = "TEST_STORED_SECRET", "TEST_EDITED_SECRET"
	if err := put(ctx, a, namespace, `{"account_token":"`+stored+`"}`); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	edits := map[string]func(json.RawMessage) (json.RawMessage, error){
		"an edit that fails": func(json.RawMessage) (json.RawMessage, error) { return nil, errStop },
	}
	for i, bad := range []string{`["` + edited + `"]`, `"` + edited + `"`, `{"account_token":"` + edited, `{"account_token":"` + edited + `"} ` + edited, `{` + edited + `:1}`} {
		edits[fmt.Sprintf("an edit that does not return an object (%d)", i+1)] = func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(bad), nil }
	}
	for what, edit := range edits {
		for _, ctx := range []context.Context{ctx, ended} {
			err := a.Update(ctx, namespace, edit)
			text := fmt.Sprintf("%v %+v %#v", err, err, err)
			for e := err; e != nil; e = errors.Unwrap(e) {
				text += fmt.Sprintf(" %+v", e)
			}
			if strings.Contains(text, stored) || strings.Contains(text, edited) {
				return fmt.Errorf("%s: the error quotes the object", what)
			}
		}
	}
	return nil
}
