package plexauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/renewal"
	"github.com/plexauth/plexauth/internal/secret"
)

// Token is a Plex credential that does not print itself. No fmt verb, slog
// handler, encoder or reflection dumper shows it: it points to bytes that are
// masked with a random key of the process. Marshalling it is an error, so that
// a token is never lost or written down by accident, and comparing two with ==
// does not compile. Call [Token.Secret] where the token is really wanted.
//
// The zero Token holds nothing. A Token is safe for concurrent use.
type Token struct{ v secret.Value }

// NewToken returns a token from elsewhere as a Token, to carry it about or to
// compare it with another. NewToken("") is the zero Token.
func NewToken(token string) Token { return Token{secret.New(token)} }

// Secret returns the token itself, "" for the zero Token. Send it in the
// X-Plex-Token header and nowhere else.
func (t Token) Secret() string { return t.v.Secret() }

// IsZero reports whether t holds nothing.
func (t Token) IsZero() bool { return t.v.IsZero() }

// Equal reports, in constant time, whether both hold the same secret. Two zero
// Tokens are not equal: "no token" is never a match.
func (t Token) Equal(u Token) bool { return t.v.Equal(u.v) }

// Format writes "[redacted]", or nothing for the zero Token, for every verb.
func (t Token) Format(f fmt.State, verb rune) { t.v.Format(f, verb) }

// LogValue implements [slog.LogValuer] with the same.
func (t Token) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t.v)) }

var errTokenMarshal = errors.New("plexauth: a Token cannot be marshalled; use its Secret method where the token is really wanted")

// MarshalJSON always fails.
func (t Token) MarshalJSON() ([]byte, error) { return nil, errTokenMarshal }

// MarshalText always fails.
func (t Token) MarshalText() ([]byte, error) { return nil, errTokenMarshal }

// session is the login of one profile, whose token it keeps good.
type session struct {
	profileStore
	*shared
}

// shared is what the sessions of one PlexAuth have in common.
type shared struct {
	options  Options
	client   *plextv.Client
	renewals renewal.History
}

// on returns the session of another profile of the store.
func (s *session) on(instance string) *session {
	other := *s
	other.instance = instance
	return &other
}

// Token returns the account token, good for a request to plex.tv now. A JWT is
// renewed first if it is due: for 800 ms at most, where the old one
// still works, so that plex.tv being away does no harm. Do not keep it: ask again
// for each request.
//
// Its errors are [ErrNotConnected], [ErrTokenRejected], [ErrTokenExpired] with
// the reason where a JWT is over and no new one can be had now, and those of the
// store.
func (p *PlexAuth) Token(ctx context.Context) (Token, error) {
	t, _, err := p.usableToken(ctx)
	return Token{t}, err
}

// usableToken returns the token and the identifier that it was made under.
func (s *session) usableToken(ctx context.Context) (secret.Value, string, error) {
	b, err := s.load(ctx)
	if err != nil {
		return secret.Value{}, "", err
	}
	if err := b.Unusable(); err != nil {
		return secret.Value{}, "", err
	}
	renewed, err := s.ensureFresh(ctx, s.lifeOf(b))
	if err != nil {
		return secret.Value{}, "", err
	}
	if renewed {
		if b, err = s.load(ctx); err != nil {
			return secret.Value{}, "", err
		}
	}
	if b.ClientID() == "" { // a token that was put there by hand
		if b, err = s.ensureClientID(ctx); err != nil {
			return secret.Value{}, "", err
		}
	}
	if err := b.Unusable(); err != nil { // it is another one now
		return secret.Value{}, "", err
	}
	return b.AccountToken(), b.ClientID(), nil
}

// ensureClientID makes the store's identifier if it has none, and returns the
// profile as it is then: its token and identifier belong together.
func (s *session) ensureClientID(ctx context.Context) (*profile.Profile, error) {
	err := s.update(ctx, func(b *profile.Profile) error {
		b.EnsureClientID(s.options.ClientID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.load(ctx)
}

// ask makes a request in the account's name. Where plex.tv rejects the token,
// that verdict is kept. Where there has been another login since, or a device key
// gets another token, the request is made once more.
func (s *session) ask(ctx context.Context, request func(t secret.Value, clientID string) error) error {
	for again := true; ; again = false {
		t, clientID, err := s.usableToken(ctx)
		if err != nil {
			return err
		}
		err = request(t, clientID)
		if !errors.Is(err, fault.ErrTokenRejected) && !errors.Is(err, fault.ErrTokenExpired) {
			return err
		}
		if again {
			renewed, renewErr := s.afterRefusal(ctx, t, err)
			if renewed {
				continue
			}
			err = renewErr
		} else if errors.Is(err, fault.ErrTokenExpired) {
			s.renewals.Futile(s.instance)
		}
		if !errors.Is(err, fault.ErrTokenRejected) {
			return err
		}
		current, updateErr := s.reject(ctx, t)
		if updateErr != nil {
			return errors.Join(err, updateErr)
		}
		if current || !again {
			return err
		}
	}
}

// reject keeps plex.tv's verdict on t, for all profiles that live on it, and also
// when ctx ends just now. current tells whether it is still this one's token.
func (s *session) reject(ctx context.Context, t secret.Value) (current bool, err error) {
	late, cancel := gate.Outlive(ctx, saveGrace)
	defer cancel()
	err = s.update(late, func(b *profile.Profile) error {
		current = b.AccountToken().Equal(t)
		for _, b := range append(b.Others(), b) {
			if b.AccountToken().Equal(t) {
				b.SetRejected()
			}
		}
		return nil
	}, t)
	if err != nil && late.Err() != nil {
		err = fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return current, err
}
