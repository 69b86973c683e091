package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/storecall"
)

// Status is the state of a profile's login. Its JSON has CrossWatch's fields.
type Status struct {
	Connected  bool      // there is a token that plex.tv has not rejected, and that works or can be renewed
	Label      string    // "Plex", "Plex (id)"
	User       string    // display name of the account that is signed in; see [Settings].Username
	Instance   string    // the profile
	ExpiresAt  time.Time // when the token expires; zero: unknown, as for a long-lived token
	Scopes     []string  // claims that were asked for with a JWT
	Pending    *Pin      // the PIN that waits for approval; nil: none
	NeedsLogin bool      // only a new login helps: plex.tv rejected the token, the token or its device key is damaged, or the token has expired and cannot be renewed
}

// MarshalJSON writes connected, label, user, expires_at (epoch seconds),
// scopes, extra{pending{code,url,expires_in},needs_login} and instance.
func (s Status) MarshalJSON() ([]byte, error) {
	v := panelStatus(s)
	if s.Pending != nil {
		v.SetPending(s.Pending.Code, s.Pending.URL(), s.Pending.left())
	}
	return json.Marshal(v)
}

// LogValue implements [slog.LogValuer]. The code of a pending PIN is not part of it.
func (s Status) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Bool("connected", s.Connected), slog.String("label", s.Label), slog.String("user", s.User),
		slog.String("instance", s.Instance), slog.Bool("needs_login", s.NeedsLogin),
	}
	if s.Pending != nil {
		attrs = append(attrs, slog.Any("pending", *s.Pending))
	}
	return slog.GroupValue(attrs...)
}

// Status returns the state of the profile's login. It reads the store and makes no
// request. Its errors match [ErrStore].
func (p *PlexAuth) Status(ctx context.Context) (Status, error) {
	return p.readStatus(ctx, &reading{})
}

// readStatus does the work of Status. seen becomes what was read.
func (l *logins) readStatus(ctx context.Context, seen *reading) (Status, error) {
	b, err := l.reload(ctx, seen)
	if err != nil {
		return l.blank(), err
	}
	return l.status(b), nil
}

// blank returns the status of a profile of which nothing is known.
func (s *profileStore) blank() Status {
	blank := Status{Label: "Plex", Instance: s.instance}
	if s.instance != profile.DefaultInstance {
		blank.Label = "Plex (" + s.instance + ")"
	}
	return blank
}

// status returns the state of the login in b.
func (l *logins) status(b *profile.Profile) Status {
	s := l.blank()
	s.User = b.AccountName()
	life, now := l.lifeOf(b), l.client.Clock.Now()
	s.ExpiresAt, s.Scopes = life.Expires, life.Scopes
	s.NeedsLogin = b.TokenIsDead() || life.NeedsLogin(now)
	s.Connected = !life.Token.IsZero() && !b.TokenIsDead() && !(life.NeedsLogin(now) && profile.Past(life.UnusableAt(), now))
	if v := b.Pending(); v != nil && v.Code != "" {
		if pin := l.shown(v); !v.Token.IsZero() || pin.left() > 0 { // it can still bring a token, or has brought one
			s.Pending = pin
		}
	}
	return s
}

// statusGrace bounds how long a call reads its result once its context has ended.
const statusGrace = 150 * time.Millisecond

// statusNow returns the status at the end of a call whose error is err. ctx may have
// ended. It does not wait for a store that hangs. If err is nil, it tries again for a
// moment while the store fails, so that the call does not fail because of that.
func (l *logins) statusNow(ctx context.Context, err error) (Status, error) {
	return l.statusSeen(ctx, &reading{}, err)
}

// statusSeen does what statusNow does. seen is what the call has read.
func (l *logins) statusSeen(ctx context.Context, seen *reading, err error) (Status, error) {
	s, loadErr := l.readStatus(ctx, seen)
	if loadErr == nil {
		return s, err
	}
	late, cancel := gate.Outlive(ctx, statusGrace)
	defer cancel()
	if ctx.Err() != nil {
		s, loadErr = l.readStatus(late, seen)
	}
	if err != nil {
		return s, err
	}
	began := time.Now()
	for pause := 50 * time.Millisecond; errors.Is(loadErr, ErrStore) && pause < time.Second && time.Since(began) < storecall.Limit && gate.Sleep(late, pause) == nil; pause *= 2 {
		s, loadErr = l.readStatus(late, seen)
	}
	return s, loadErr
}

// Settings is what the store holds about one profile. Its JSON has no token in it.
type Settings struct {
	ClientID       string `json:"client_id"`        // X-Plex-Client-Identifier of the profile's credentials
	ServerURL      string `json:"server_url"`       // the media server's address
	MachineID      string `json:"machine_id"`       // the media server's machineIdentifier
	Username       string `json:"username"`         // display name of the user that the program works for: the account, or a member of its Plex Home
	CloudAccountID string `json:"cloud_account_id"` // plex.tv's number of the account; it identifies a person
	AccountID      string `json:"account_id"`       // the media server's own number of that user
	VerifySSL      bool   `json:"verify_ssl"`       // whether the certificate at ServerURL is checked. It is false only where a person typed that address and stored verify_ssl as false
	AccountToken   Token  `json:"-"`                // for plex.tv
	ServerToken    Token  `json:"-"`                // only for the media server at ServerURL
}

// settingsOf returns the settings in b.
func settingsOf(b *profile.Profile) Settings {
	s := Settings{ClientID: b.ClientID(), VerifySSL: true}
	if b.Absent() {
		return s
	}
	server := b.SavedServer()
	s.ServerURL, s.MachineID, s.VerifySSL, s.ServerToken = server.URL, server.MachineID, server.Verify, Token{server.Token}
	if !b.Disowned() {
		s.Username, s.AccountID = b.Username(), b.ServerUserIDText()
	}
	if id := b.ClaimedAccountID(); id != 0 {
		s.CloudAccountID = strconv.FormatInt(id, 10)
	}
	s.AccountToken = Token{b.AccountToken()}
	return s
}

// Settings returns what the store holds about the profile. It makes no request. Its
// errors match [ErrStore].
func (p *PlexAuth) Settings(ctx context.Context) (Settings, error) {
	b, err := p.load(ctx)
	if err != nil {
		return Settings{}, err
	}
	return settingsOf(b), nil
}

// settingsAfter returns Settings at the end of a call whose context may have ended.
func settingsAfter(ctx context.Context, p *PlexAuth) (Settings, error) {
	ctx, cancel := gate.Outlive(ctx, statusGrace)
	defer cancel()
	return p.Settings(ctx)
}
