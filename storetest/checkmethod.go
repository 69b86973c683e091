package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/plexauth/plexauth"
)

func checkCheck(ctx context.Context, a, b plexauth.ConfigStore) error {
	type checker interface {
		Check(context.Context) error
	}
	waiting := map[string]func(context.Context) error{}
	for i, s := range []plexauth.ConfigStore{a, b} {
		c, ok := s.(checker)
		if !ok {
			continue
		}
		if err := c.Check(ctx); err != nil {
			return fmt.Errorf("for an empty store: %w", err)
		}
		if err := expect(ctx, s, namespace, ""); err != nil {
			return err
		}
		if err := put(ctx, s, namespace, `{"n":1}`); err != nil {
			return err
		}
		before, err := s.Load(ctx, namespace)
		if err != nil {
			return err
		}
		if err := c.Check(ctx); err != nil {
			return err
		}
		after, err := s.Load(ctx, namespace)
		if err != nil {
			return err
		}
		if !bytes.Equal(before, after) {
			return fmt.Errorf("it changed %s to %s", brief(before), brief(after))
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := c.Check(ended); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("for a ctx that has ended it returned %v", err)
		}
		if err := put(ctx, s, namespace, ""); err != nil {
			return err
		}
		waiting["a Check by "+[]string{"the same", "the other"}[i]+" handle"] = c.Check
	}
	return checkWaiting(ctx, a, waiting)
}
