package signin

import (
	"context"
	"errors"
	"slices"

	"github.com/plexauth/plexauth"
)

// Policy decides whether a visitor gets in. An error means that it could not decide, for
// example because plex.tv is down. The visitor then does not get in, and is asked to try
// again. A Policy is called once per sign-in, with a ctx that ends after half a minute. It
// must be safe for concurrent use.
type Policy func(ctx context.Context, v Visitor) (bool, error)

// Visitor is a person whose Plex account is known. It is valid until the Policy returns.
type Visitor struct {
	Account plexauth.Account

	visitor *plexauth.PlexAuth
	plex    *plexauth.PlexAuth // the app's own login; may be nil
	reason  *reason            // for note; nil if the app made this Visitor
}

// Servers asks plex.tv for the media servers that the visitor may use. Its errors are
// those of [plexauth.PlexAuth.Servers].
func (v Visitor) Servers(ctx context.Context) ([]plexauth.Server, error) {
	return v.visitor.Servers(ctx)
}

// Owner lets in the owner of the app's media server. That is the account of Options.Plex,
// if it owns the server that was chosen there or, as long as none was chosen, any server.
// Otherwise Owner lets no one in.
func Owner(ctx context.Context, v Visitor) (bool, error) {
	return v.withStableLogin(ctx, func() (bool, error) {
		owner, _, err := v.owner(ctx)
		v.note(notOwner)
		return owner != 0 && v.Account.ID == owner, err
	})
}

// Home lets in the owner of the app's media server, as [Owner] does, and the members and
// guests of the owner's Plex Home.
func Home(ctx context.Context, v Visitor) (bool, error) {
	return v.withStableLogin(ctx, func() (bool, error) {
		owner, _, err := v.owner(ctx)
		if owner == 0 || err != nil || v.Account.ID == owner {
			return owner != 0 && err == nil, err
		}
		v.note(notInHome)
		users, err := v.plex.HomeUsers(ctx)
		return err == nil && slices.ContainsFunc(users, func(u plexauth.HomeUser) bool { return u.ID == v.Account.ID }), err
	})
}

// Shared lets in the owner of the app's media server, as [Owner] does, and everyone with
// whom the owner shares it. A server must have been chosen in Options.Plex.
func Shared(ctx context.Context, v Visitor) (bool, error) {
	return v.withStableLogin(ctx, func() (bool, error) {
		owner, machineID, err := v.owner(ctx)
		if owner == 0 || err != nil || v.Account.ID == owner {
			return owner != 0 && err == nil, err
		}
		if machineID == "" {
			v.note(noServer)
			return false, nil
		}
		v.note(notShared)
		servers, err := v.Servers(ctx)
		// The owner must match too, because anyone can give a server of their own any
		// machine identifier. plex.tv sends no owner for the visitor's own servers.
		return err == nil && slices.ContainsFunc(servers, func(s plexauth.Server) bool {
			return s.MachineID == machineID && s.OwnerID == owner
		}), err
	})
}

// Accounts lets in the accounts with these IDs.
func Accounts(ids ...int64) Policy {
	ids = slices.Clone(ids)
	return func(_ context.Context, v Visitor) (bool, error) {
		if slices.Contains(ids, v.Account.ID) {
			return true, nil
		}
		v.note(notListed)
		return false, nil
	}
}

// owner returns the account of Options.Plex and the server that has been chosen there.
// It returns 0 if the account does not own the server. It asks plex.tv for the account,
// because the stored ID may be that of another login. Call it in withStableLogin.
func (v Visitor) owner(ctx context.Context) (owner int64, machineID string, err error) {
	s, err := v.plex.Settings(ctx)
	if err != nil {
		return 0, "", err
	}
	account, err := v.plex.Account(ctx)
	if err != nil {
		return 0, "", err
	}
	servers, err := v.plex.Servers(ctx)
	if err != nil {
		return 0, "", err
	}
	owns := slices.ContainsFunc(servers, func(o plexauth.Server) bool {
		return o.Owned && (s.MachineID == "" || o.MachineID == s.MachineID)
	})
	if !owns {
		v.note(notOwned)
		return 0, "", nil
	}
	return account.ID, s.MachineID, nil
}

// errLoginChanged is the error of a policy that could not get an answer about one and
// the same login of the app.
var errLoginChanged = errors.New("signin: the app's own login or its media server changed during the check: sign in again")

// withStableLogin calls ask, and returns its answer if the app's login and server were
// the same before and after. If a token was renewed in between, it asks once more.
func (v Visitor) withStableLogin(ctx context.Context, ask func() (bool, error)) (bool, error) {
	if v.plex == nil {
		v.note(noConnection)
		return false, nil
	}
	for range 2 {
		v.forget()
		before, err := v.plex.Token(ctx)
		if errors.Is(err, plexauth.ErrNotConnected) {
			v.note(noConnection)
			return false, nil
		}
		if err != nil {
			return false, err
		}
		s, err := v.plex.Settings(ctx)
		if err != nil {
			return false, err
		}
		allowed, err := ask()
		if err != nil {
			return false, err
		}
		after, err := v.plex.Settings(ctx)
		if err != nil {
			return false, err
		}
		if after.AccountToken.Equal(before) && s.MachineID == after.MachineID {
			if allowed {
				v.forget()
			}
			return allowed, nil
		}
	}
	return false, errLoginChanged
}

// note tells the Handler why the visitor is refused, if they are. A part of the app's setup
// that is missing remains the reason, whatever else a policy of the app's own finds.
func (v Visitor) note(r reason) {
	if v.reason != nil && !v.reason.isSetup() {
		*v.reason = r
	}
}

// forget takes back what was noted.
func (v Visitor) forget() {
	if v.reason != nil {
		*v.reason = noReason
	}
}
