package plexauth

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// source is what a Transport puts on requests.
type source struct {
	read         time.Time
	account      []string // header values, shared by all requests
	accountErr   error
	server       []string
	serverErr    error
	serverJWT    bool // server is the account's JWT, which the server has accepted
	serverOrigin string
	insecure     bool // its certificate is not checked
	direct       mediaserver.DirectOwners
	identity     plextv.Identity

	life *profile.Life // of the account token
	due  time.Time     // when to renew it, by plex.tv's clock; zero: never
}

// sources keeps one source a profile.
type sources struct {
	mu         sync.Mutex                // never held while reading the store
	generation int                       // counts what forget has thrown away
	byInstance map[string]func() *source // hidden
	dropping   bool                      // what is old is dropped later
	reading    gate.Map                  // who reads the store for a profile
}

// noteServer remembers the origin of the saved server, for when the store cannot be
// read.
func (t *transport) noteServer(origin string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.server = origin
}

// wasServer reports whether the saved server was last at this origin.
func (t *transport) wasServer(origin string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.server != "" && t.server == origin
}

// forget makes the next request read the store.
func (s *sources) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	clear(s.byInstance)
}

func (s *sources) get(instance string) (*source, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byInstance[instance]; v != nil {
		return v(), s.generation
	}
	return nil, s.generation
}

// put keeps what was read, unless something has been written since.
func (s *sources) put(instance string, v *source, generation int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != generation {
		return
	}
	if s.byInstance == nil {
		s.byInstance = map[string]func() *source{}
	}
	s.byInstance[instance] = secret.Hide(v)
	s.dropLater()
}

// dropLater sees to it that no tokens are kept that no request has asked for in a
// while. mu must be held.
func (s *sources) dropLater() {
	if s.dropping || len(s.byInstance) == 0 {
		return
	}
	s.dropping = true
	time.AfterFunc(readAgain, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		maps.DeleteFunc(s.byInstance, func(_ string, v func() *source) bool { return time.Since(v().read) >= readAgain })
		s.dropping = false
		s.dropLater()
	})
}

// freshSource returns s, or what takes its place where its token is due to be
// renewed.
func (p *PlexAuth) freshSource(ctx context.Context, s *source) (*source, error) {
	if s.accountErr != nil || p.client.Clock.Now().Before(s.due) {
		return s, nil
	}
	renewed, err := p.freshen(ctx, s.life)
	if err != nil || !renewed {
		return s, err
	}
	return p.source(ctx)
}

func (p *PlexAuth) source(ctx context.Context) (*source, error) {
	if s, _ := p.sources.get(p.instance); s != nil && time.Since(s.read) < readAgain {
		return s, nil
	}
	leave, err := p.sources.reading.Enter(ctx, p.instance) // one reads for all
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	defer leave()
	s, generation := p.sources.get(p.instance)
	if s != nil && time.Since(s.read) < readAgain {
		return s, nil
	}
	read := time.Now()
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	v := settingsOf(b)
	if v.ClientID == "" && b.Unusable() == nil { // a token that was put there by hand
		if b, err = p.ensureClientID(ctx); err != nil {
			return nil, err
		}
		v = settingsOf(b)
	}
	s = &source{read: read, identity: p.client.Identity}
	if v.ClientID != "" {
		s.identity = s.identity.Under(v.ClientID)
	}
	if s.accountErr = b.Unusable(); s.accountErr == nil {
		s.account = []string{v.AccountToken.Secret()}[:1:1]
		s.life = p.lifeOf(b)
		s.due = s.life.Due()
		if s.due.IsZero() { // nothing renews it: it is good until its end
			s.due = s.life.Over()
		}
	}
	s.addServer(b, v)
	p.sources.put(p.instance, s, generation)
	return s, nil
}

// addServer adds what requests to the saved server get: its token, or why it has
// none that could be sent.
func (s *source) addServer(b *profile.Profile, v Settings) {
	u, err := url.Parse(v.ServerURL)
	if err != nil || u.Host == "" {
		return
	}
	if v.ServerToken.IsZero() {
		switch held := b.ServerToken(); {
		case held.IsZero():
			return
		case !secret.UsableToken(held.Secret()):
			s.serverErr = fmt.Errorf("%w: the one that is saved is damaged and no request can carry it, Inspect gets another", fault.ErrServerToken)
		case devicekey.IsJWT(held.Secret()): // from a program that took it for the server's token
			s.serverErr = fmt.Errorf("%w: what is saved for it is a JWT, which media servers do not take", fault.ErrServerToken)
		default: // another server's
			return
		}
	}
	s.serverOrigin = netaddr.Origin(u)
	s.server = []string{v.ServerToken.Secret()}[:1:1]
	s.insecure = !v.VerifySSL
	s.direct = directOf(b.Server())
	s.serverJWT = devicekey.IsJWT(v.ServerToken.Secret())
}
