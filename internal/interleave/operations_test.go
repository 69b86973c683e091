package interleave_test

import (
	"context"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/interleave"
)

// effect says what an operation may do to a login.
type effect int

const (
	keeps    effect = iota
	begins          // it may begin a login
	replaces        // it may begin one in the place of a pending login
	cancels         // it gives up a pending login
	ends            // it ends the login that is there
	forgets         // the same, and leaves its token valid at plex.tv
	restores        // it may bring back what another operation has removed
)

// operation is what one program does.
type operation struct {
	name   string
	effect effect
	run    func(ctx context.Context, w *world, p *plexauth.PlexAuth) error
}

var operations = map[string]operation{}

func init() {
	for _, o := range []operation{
		{"Start", begins, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error {
			return w.show(p.Start(ctx, plexauth.PinOptions{}))
		}},
		{"StartSwitch", replaces, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error {
			return w.show(p.Start(ctx, plexauth.PinOptions{SwitchAccount: true}))
		}},
		{"Finish", keeps, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error { return errOf(p.Finish(ctx)) }},
		{"Wait", keeps, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error { return errOf(p.Wait(ctx)) }},
		{"Cancel", cancels, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error { return p.Cancel(ctx) }},
		{"Disconnect", forgets, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error { return errOf(p.Disconnect(ctx)) }},
		{"SignOut", ends, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error { return errOf(p.SignOut(ctx)) }},
		{"Verify", keeps, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error { return errOf(p.Verify(ctx)) }},
		{"Refresh", keeps, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error { return errOf(p.Refresh(ctx)) }},
		{"Adopt", replaces, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error {
			t := w.plex.Token(w.alice, foreignID)
			return errOf(p.Adopt(ctx, plexauth.NewToken(t), plexauth.AdoptOptions{ClientID: foreignID}))
		}},
		{"LoginBob", replaces, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error {
			return errOf(p.Login(ctx, plexauth.PinOptions{SwitchAccount: true}, func(pin *plexauth.Pin) error {
				_ = interleave.Step(ctx, "bob approves")
				w.approve(pin.Code, w.bob)
				return nil
			}))
		}},
		{"Member", keeps, func(ctx context.Context, w *world, _ *plexauth.PlexAuth) error {
			return w.store.Update(ctx, plexauth.Namespace, edited(map[string]any{"foreign": 1}))
		}},
		// As CrossWatch does, which keeps a copy of its config in memory.
		{"StaleSave", restores, func(ctx context.Context, w *world, _ *plexauth.PlexAuth) error {
			old, err := w.store.Load(ctx, plexauth.Namespace)
			if err != nil || old == nil {
				return err
			}
			if old, err = edited(map[string]any{"foreign": 1})(old); err != nil {
				return err
			}
			return w.store.Update(ctx, plexauth.Namespace, becomes(old))
		}},
	} {
		operations[o.name] = o
	}
}

func errOf[T any](_ T, err error) error { return err }

// show notes the code of a PIN that a person sees.
func (w *world) show(pin *plexauth.Pin, err error) error {
	if err == nil {
		w.shown = pin.Code
	}
	return err
}
