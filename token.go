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
	"github.com/plexauth/plexauth/internal/renewbackoff"
	"github.com/plexauth/plexauth/internal/secret"
)

// Token is a Plex credential that does not print itself. No fmt verb, slog handler,
// encoder or reflection dumper shows it: it points to bytes that are masked with a
// random key of the process. Marshalling it is an error, so that a token is never lost
// or written down by accident. Comparing two Tokens with == does not compile. Call
// [Token.Secret] to get the token.
//
// The zero Token holds nothing. A Token is safe for concurrent use.
type Token struct{ v secret.Value }

// NewToken returns token as a Token, for example to compare it with another one.
// NewToken("") is the zero Token.
func NewToken(token string) Token { return Token{secret.New(token)} }

// Secret returns the token as text, "" for the zero Token. Send it only in the
// X-Plex-Token header.
func (t Token) Secret() string { return t.v.Secret() }

// IsZero reports whether t holds nothing.
func (t Token) IsZero() bool { return t.v.IsZero() }

// Equal reports, in constant time, whether t and u hold the same secret. Two zero Tokens
// are not equal.
func (t Token) Equal(u Token) bool { return t.v.Equal(u.v) }

// Format writes "[redacted]", or nothing for the zero Token, for every verb.
func (t Token) Format(f fmt.State, verb rune) { t.v.Format(f, verb) }

// LogValue implements [slog.LogValuer]. It returns the same text as Format.
func (t Token) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t.v)) }

var errTokenMarshal = errors.New("plexauth: a Token cannot be marshalled; use its Secret method to get the token")

// MarshalJSON always fails.
func (t Token) MarshalJSON() ([]byte, error) { return nil, errTokenMarshal }

// MarshalText always fails.
func (t Token) MarshalText() ([]byte, error) { return nil, errTokenMarshal }

// session is the login of one profile, whose token it keeps valid.
type session struct {
	profileStore
	*shared
}

// shared is what the sessions of one PlexAuth have in common.
type shared struct {
	options Options
	client  *plextv.Client
}

// on returns the session of another profile of the store.
func (s *session) on(instance string) *session {
	other := *s
	other.instance = instance
	return &other
}

// Token returns the account token, valid for a request to plex.tv now. If a JWT is due,
// it is renewed first. That takes 800 ms at most while the old one still works, so an
// outage of plex.tv does no harm. Do not keep the token: call Token for each request.
//
// Its errors are [ErrNotConnected]; [ErrTokenRejected]; [ErrTokenExpired] with the
// reason if a JWT has expired and cannot be renewed now; and those of the store.
func (p *PlexAuth) Token(ctx context.Context) (Token, error) {
	t, _, err := p.usableToken(ctx)
	return Token{t}, err
}

// usableToken returns the account token and the identifier that it was made under.
func (s *session) usableToken(ctx context.Context) (secret.Value, string, error) {
	b, err := s.load(ctx)
	if err != nil {
		return secret.Value{}, "", err
	}
	if err := b.CheckToken(); err != nil {
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
	if b.ClientID() == "" { // another program has written the token
		if b, err = s.ensureClientID(ctx); err != nil {
			return secret.Value{}, "", err
		}
	}
	if err := b.CheckToken(); err != nil { // the token may be another one now
		return secret.Value{}, "", err
	}
	return b.AccountToken(), b.ClientID(), nil
}

// fixedClientID returns the identifier that the program has set for the profile's
// document; "" if it has set none, or for another document.
func (s *session) fixedClientID() string {
	if s.namespace != s.options.Namespace {
		return ""
	}
	return s.options.ClientID
}

// ensureClientID makes the store's client identifier if it has none. It returns the
// profile as it is then, because its token and identifier belong together.
func (s *session) ensureClientID(ctx context.Context) (*profile.Profile, error) {
	err := s.update(ctx, func(b *profile.Profile) error {
		b.EnsureClientID(s.fixedClientID())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.load(ctx)
}

// ask makes a request with the account token. If plex.tv refuses the token, and the
// profile has another one now or its device key gets one, the request is made once
// more. A rejection is saved.
func (s *session) ask(ctx context.Context, request func(t secret.Value, clientID string) error) error {
	t, err := s.askOnce(ctx, request)
	if !isRefused(t, err) {
		return err
	}
	renewed, err := s.afterRefusal(ctx, t, err)
	if !renewed {
		if !errors.Is(err, fault.ErrTokenRejected) {
			return err
		}
		current, saveErr := s.reject(ctx, t)
		if current || saveErr != nil {
			return joined(err, saveErr)
		}
	}
	if t, err = s.askOnce(ctx, request); !isRefused(t, err) {
		return err
	}
	if errors.Is(err, fault.ErrTokenExpired) {
		s.noteRenewal((*renewbackoff.History).Futile)
	}
	if !errors.Is(err, fault.ErrTokenRejected) {
		return err
	}
	_, saveErr := s.reject(ctx, t)
	return joined(err, saveErr)
}

// askOnce makes a request, and returns the token that it was made with. The token is
// zero if there was none.
func (s *session) askOnce(ctx context.Context, request func(t secret.Value, clientID string) error) (secret.Value, error) {
	t, clientID, err := s.usableToken(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	return t, request(t, clientID)
}

// isRefused reports whether plex.tv has refused t itself: t is rejected or has expired.
func isRefused(t secret.Value, err error) bool {
	return !t.IsZero() && (errors.Is(err, fault.ErrTokenRejected) || errors.Is(err, fault.ErrTokenExpired))
}

// joined returns err, together with another error if there is one.
func joined(err, other error) error {
	if other == nil {
		return err
	}
	return errors.Join(err, other)
}

// reject saves that plex.tv has rejected t, for all profiles with that token, even if
// ctx ends now. current reports whether t is still this profile's token.
func (s *session) reject(ctx context.Context, t secret.Value) (current bool, err error) {
	late, cancel := gate.Outlive(ctx, saveGrace)
	defer cancel()
	err = s.update(late, func(b *profile.Profile) error {
		current = b.Reject(t)
		return nil
	}, t)
	if err != nil && late.Err() != nil {
		err = fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return current, err
}
