package signin

import (
	"context"
	"errors"
	"slices"

	"github.com/plexauth/plexauth"
)

// Policy decides whether a visitor gets in. An error means that nobody can say
// (plex.tv is down): the visitor stays out and is asked to try again. A Policy
// is called once a sign-in and must be safe for concurrent use; ctx ends after
// half a minute.
type Policy func(ctx context.Context, v Visitor) (bool, error)

// Visitor is somebody whom Plex has named. A Visitor is good until the Policy
// returns.
type Visitor struct {
	Account plexauth.Account

	visitor *plexauth.PlexAuth
	plex    *plexauth.PlexAuth // the app's own login
	lacks   *setup             // told to the Handler beside the policy's answer
}

// Servers asks plex.tv for the media servers that the visitor may use. Its
// errors are those of [plexauth.PlexAuth.Servers].
func (v Visitor) Servers(ctx context.Context) ([]plexauth.Server, error) {
	return v.visitor.Servers(ctx)
}

// Owner lets in the owner of the configured server: the account of
// Options.Plex, if it owns the server that it is set to (any server, while
// none has been chosen). Where it owns none, nobody gets in.
func Owner(ctx context.Context, v Visitor) (bool, error) {
	return v.asOne(ctx, func() (bool, error) {
		owner, _, err := v.owner(ctx)
		return owner != 0 && v.Account.ID == owner, err
	})
}

// Home lets in the members of that owner's Plex Home, the owner and guests
// among them.
func Home(ctx context.Context, v Visitor) (bool, error) {
	return v.asOne(ctx, func() (bool, error) {
		owner, _, err := v.owner(ctx)
		if owner == 0 || err != nil || v.Account.ID == owner {
			return owner != 0 && err == nil, err
		}
		users, err := v.plex.HomeUsers(ctx)
		return err == nil && slices.ContainsFunc(users, func(u plexauth.HomeUser) bool { return u.ID == v.Account.ID }), err
	})
}

// Shared lets in everybody who may use the configured server: its owner, and
// those whom plex.tv lists it for as that owner's. A server must have been
// chosen.
func Shared(ctx context.Context, v Visitor) (bool, error) {
	return v.asOne(ctx, func() (bool, error) {
		owner, machineID, err := v.owner(ctx)
		if owner == 0 || err != nil || v.Account.ID == owner {
			return owner != 0 && err == nil, err
		}
		if machineID == "" {
			v.refuse(serverChoice)
			return false, nil
		}
		servers, err := v.Servers(ctx)
		// The owner's number counts too: anybody can give a device of their own
		// any identifier. It is 0 where the visitor is the owner.
		return err == nil && slices.ContainsFunc(servers, func(s plexauth.Server) bool {
			return s.MachineID == machineID && s.OwnerID == owner
		}), err
	})
}

// Accounts lets in the accounts with these numbers.
func Accounts(ids ...int64) Policy {
	ids = slices.Clone(ids)
	return func(_ context.Context, v Visitor) (bool, error) { return slices.Contains(ids, v.Account.ID), nil }
}

// owner returns the account of Options.Plex and the server it is set to, and 0
// where that account does not own it. plex.tv is asked for both with the same
// token: the stored number may be that of another login. Call it inside asOne.
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
		v.refuse(ownership)
		return 0, "", nil
	}
	return account.ID, s.MachineID, nil
}

// errRelinked keeps a visitor out while the app's own login changes.
var errRelinked = errors.New("signin: the app's own login or server was changed at the same time: sign in again")

// asOne asks about the app's login, and takes an answer only where that login and
// its server were the same from the first question to the last.
func (v Visitor) asOne(ctx context.Context, ask func() (bool, error)) (bool, error) {
	if v.plex == nil {
		v.refuse(connection)
		return false, nil
	}
	for range 2 { // a JWT may have been renewed on the way
		v.refuse("")
		before, err := v.plex.Token(ctx)
		if errors.Is(err, plexauth.ErrNotConnected) {
			v.refuse(connection)
			return false, nil
		}
		if err != nil {
			return false, err
		}
		s, err := v.plex.Settings(ctx)
		if err != nil {
			return false, err
		}
		in, err := ask()
		if err != nil {
			return false, err
		}
		after, err := v.plex.Settings(ctx)
		if err != nil {
			return false, err
		}
		if after.AccountToken.Equal(before) && s.MachineID == after.MachineID {
			return in, nil
		}
	}
	return false, errRelinked
}
