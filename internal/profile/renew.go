package profile

import (
	"cmp"
	"errors"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/secret"
)

// ErrOtherAccount says that a new token is not of the account of the one that it was got
// for.
var ErrOtherAccount = errors.New("the new token is another account's")

// leaseLimit bounds how long one process may renew while the others wait.
const leaseLimit = 30 * time.Second

// LeaseState says whether a process may renew a token.
type LeaseState int

// The states of a Lease.
const (
	LeaseUnneeded LeaseState = iota // the profile has another token, or no device key to renew it
	LeaseTaken                      // another process is renewing
	LeaseGranted                    // this process may
)

// Lease is the right of one process to renew a token.
type Lease struct {
	State LeaseState
	Life  *Lifetime // of the token, if the lease is granted
	Until time.Time // when another process may renew
}

// LeaseRenewal takes the lease on renewing the token t at the time now, unless another
// process has it. The error says why the token cannot be renewed.
func (p *Profile) LeaseRenewal(t secret.Value, now time.Time) (Lease, error) {
	l := p.Lifetime()
	switch {
	case !l.Token.Equal(t):
		return Lease{}, nil
	case p.TokenIsDead():
		return Lease{}, p.CheckToken()
	case l.Err != nil:
		return Lease{}, l.Err
	case !l.Renewable():
		return Lease{}, nil
	}
	d := p.device()
	if theirs := d.LeasedUntil; theirs.After(now) && !theirs.After(now.Add(leaseLimit)) { // no other clock can ask for more
		return Lease{State: LeaseTaken}, nil
	}
	d.LeasedUntil = now.Add(leaseLimit)
	return Lease{LeaseGranted, l, d.LeasedUntil}, nil
}

// EndLease lets other processes renew the token t, after err has ended a renewal. It
// stores plex.tv's rejection of the device, if err is one. Nothing else changes.
func (p *Profile) EndLease(t secret.Value, err error) {
	if !p.AccountToken().Equal(t) {
		return
	}
	if d := p.device(); d != nil {
		d.LeasedUntil = time.Time{}
	}
	if errors.Is(err, fault.ErrTokenRejected) {
		p.SetRejected()
	}
}

// Renew replaces the token of old by that of next, which old's device has got for it. A
// login that was made since then stays. If another process has renewed too, the token
// that was issued last stays. The error is [ErrOtherAccount].
func (p *Profile) Renew(old *Lifetime, next Credential) error {
	present := p.Token.Value
	got, _ := devicekey.ReadClaims(next.Token)
	if present.Equal(old.Token) {
		owner := cmp.Or(present.claims.Account.ID, p.AccountID())
		if owner != 0 && got.Account.ID != 0 && owner != got.Account.ID {
			return ErrOtherAccount
		}
	} else if !p.UsesKey(old.Device) || present.claims.Account.ID != got.Account.ID || !present.claims.Issued.Before(got.Issued) {
		return nil
	}
	if !devicekey.IsJWT(old.Token.Secret()) && p.ServerToken().Equal(old.Token) { // the exchange has ended it
		p.forgetServerToken()
	}
	p.install(next, true)
	return nil
}
