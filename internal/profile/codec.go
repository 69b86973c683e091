package profile

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/secret"
)

// In this package, this file alone knows the names of stored fields. Those without an underscore are
// CrossWatch's. It also encrypts the members named account_token, pms_token, home_pin
// and secret at any depth, so every secret is stored under one of these names.
//
// Decoding keeps a value as it is stored, even if no rule accepts it. Encoding writes
// a member only if it decodes to another value, and removes it only if the state has
// dropped it. What was not understood thus survives.

// ParseDocument reads the object of the namespace; nil is an empty one. The error is
// one of [ordered.Parse].
func ParseDocument(raw json.RawMessage) (*Document, error) {
	d := &Document{base: &ordered.Object{}, instances: &ordered.Object{}, profiles: map[string]*Profile{}}
	if raw == nil {
		return d, nil
	}
	base, err := ordered.Parse(raw)
	if err != nil {
		return nil, err
	}
	d.base, d.instances = base, object(base.Get("instances"))
	return d, nil
}

// block returns the object of a profile, nil if it does not exist.
func (d *Document) block(id string) *ordered.Object {
	if id == DefaultInstance {
		return d.base
	}
	if block, err := ordered.Parse(d.instances.Get(id)); err == nil {
		return block
	}
	return nil
}

// Changed reports whether the document differs from what was parsed.
func (d *Document) Changed() bool {
	for _, p := range d.profiles {
		p.encode()
		d.changed = d.changed || p.isDirty
	}
	return d.changed
}

// Encode returns the edited document. changed reports whether it differs from what was
// parsed.
func (d *Document) Encode() (raw json.RawMessage, changed bool) {
	changed = d.Changed()
	for id, p := range d.profiles {
		if p.isDirty && id != DefaultInstance {
			d.instances.Set(id, p.block.Bytes())
			d.base.Set("instances", d.instances.Bytes())
		}
	}
	return d.base.Bytes(), changed
}

// encode writes the state into the block.
func (p *Profile) encode() {
	if p.block != nil && encode(p.block, &p.State) {
		p.isDirty = true
	}
}

// object parses a member. It is empty if v is missing or not an object.
func object(v json.RawMessage) *ordered.Object {
	if o, err := ordered.Parse(v); err == nil {
		return o
	}
	return &ordered.Object{}
}

func decode(block *ordered.Object) State {
	return State{
		ClientID:       text(block, "client_id"),
		NextClientID:   text(block, "_next_client_id"),
		DeviceClientID: text(block, "device_client_id"),
		Token:          Field[Token]{newToken(secret.New(text(block, "account_token"))), block.Get("account_token") != nil},
		RejectedMark:   text(block, "_rejected"),
		User:           textField(block, "username"),
		AccountNumber:  textField(block, "account_id"),
		HomePIN:        secretField(block, "home_pin"),
		Account:        decodeAccount(block.Get("_cloud")),
		Stash:          decodeStash(block.Get("_was")),
		HomeUser:       decodeHomeUser(block.Get("_home_user")),
		Server:         decodeServer(block),
		Login:          decodeLogin(block.Get("_pending_pin")),
		RefusedPIN:     text(block, "_refused_pin"),
		PanelPIN:       seconds(block, panelPIN),
		Device:         decodeDevice(block.Get("_device")),
		WrongPINs:      decodeWrongPINs(block.Get("_home_pin_tries")),
	}
}

// panelPIN dates from when only a cancelled login left the member.
const panelPIN = "_cancelled_pin"

// crossWatchPlaces names, for a new member, those after which CrossWatch writes it.
// One without names comes first, all others come last.
var crossWatchPlaces = map[string][]string{
	"server_url": {},
	"pms_token":  {"account_token"},
	"machine_id": {"client_id", "pms_token"},
	"account_id": {"client_id"},
	"username":   {"account_id", "client_id"},
}

func encode(block *ordered.Object, s *State) (changed bool) {
	e := &editor{object: block, places: crossWatchPlaces}
	e.field("server_url", s.Server.URL)
	e.text("client_id", s.ClientID)
	e.text("_next_client_id", s.NextClientID)
	e.field("account_token", Field[string]{s.Token.Value.Secret(), s.Token.Present})
	e.secret("pms_token", s.Server.Token)
	e.field("machine_id", s.Server.MachineID)
	e.field("username", s.User)
	e.numeric("account_id", s.AccountNumber)
	e.secret("home_pin", s.HomePIN)
	encodeAccount(e, s.Account)
	e.text("_rejected", s.RejectedMark)
	encodeStash(e, s.Stash)
	encodeHomeUser(e, s.HomeUser)
	encodeServer(e, &s.Server)
	encodeDevice(e, s.Device)
	e.text("device_client_id", s.DeviceClientID)
	encodeLogin(e, s.Login)
	e.text("_refused_pin", s.RefusedPIN)
	e.seconds(panelPIN, s.PanelPIN)
	encodeWrongPINs(e, s.WrongPINs)
	return e.changed
}

// "_cloud": {"account_id": …, "bound_to": …, "user": {"id": …, "name": …}}
func decodeAccount(v json.RawMessage) *Account {
	if v == nil {
		return nil
	}
	o := object(v)
	a := &Account{ID: lax.Int(o.Get("account_id")), BoundTo: lax.Text(o.Get("bound_to"))}
	user := object(o.Get("user"))
	a.NameOf, a.Name = lax.Int(user.Get("id")), lax.Text(user.Get("name"))
	return a
}

func encodeAccount(e *editor, a *Account) {
	if a == nil {
		e.remove("_cloud")
		return
	}
	stored := decodeAccount(e.object.Get("_cloud"))
	isNew := stored == nil || stored.ID != 0 && stored.ID != a.ID
	e.edit("_cloud", isNew, func(e *editor) {
		e.number("account_id", a.ID)
		e.text("bound_to", a.BoundTo)
		if !isNew && stored.NameOf == a.NameOf && stored.Name == a.Name {
			return
		}
		if a.NameOf == 0 {
			e.remove("user")
			return
		}
		e.replace("user", members{{"id", ordered.Int(a.NameOf)}, {"name", ordered.String(a.Name)}})
	})
}

// "_was": {"cloud_account_id": …, "pms_token_server": …, "retired": …, …}
func decodeStash(v json.RawMessage) *Stash {
	if v == nil {
		return nil
	}
	o, err := ordered.Parse(v)
	if err != nil {
		return &Stash{isUnreadable: true}
	}
	w := &Stash{
		Account:       lax.Int(o.Get("cloud_account_id")),
		User:          lax.Text(o.Get("username")),
		AccountNumber: lax.Text(o.Get("account_id")),
		HomePIN:       secret.New(lax.Text(o.Get("home_pin"))),
		ServerToken:   secret.New(lax.Text(o.Get("pms_token"))),
		TokenServer:   lax.Text(o.Get("pms_token_server")),
	}
	w.SameToken, _ = lax.Bool(o.Get("retired"))
	return w
}

func encodeStash(e *editor, w *Stash) {
	switch {
	case w == nil:
		e.remove("_was")
	case !w.isUnreadable:
		e.edit("_was", false, func(e *editor) {
			e.number("cloud_account_id", w.Account)
			e.text("pms_token_server", w.TokenServer)
			e.flag("retired", w.SameToken)
			e.text("username", w.User)
			e.numeric("account_id", Field[string]{w.AccountNumber, w.AccountNumber != ""})
			e.text("pms_token", w.ServerToken.Secret())
			e.text("home_pin", w.HomePIN.Secret())
		})
	}
}

// "_home_user": {"id": …, "name": …, "account": …}
func decodeHomeUser(v json.RawMessage) *HomeUser {
	if v == nil {
		return nil
	}
	o := object(v)
	return &HomeUser{lax.Int(o.Get("id")), lax.Text(o.Get("name")), lax.Int(o.Get("account"))}
}

func encodeHomeUser(e *editor, u *HomeUser) {
	if u == nil {
		e.remove("_home_user")
		return
	}
	if stored := decodeHomeUser(e.object.Get("_home_user")); stored == nil || *stored != *u {
		e.replace("_home_user", members{{"id", ordered.Int(u.ID)}, {"name", ordered.String(u.Name)}, {"account", ordered.Int(u.Account)}})
	}
}

func decodeServer(block *ordered.Object) Server {
	verify, isKnown := lax.Bool(block.Get("verify_ssl"))
	return Server{
		URL:           textField(block, "server_url"),
		MachineID:     textField(block, "machine_id"),
		Found:         textField(block, "server_url_found"),
		Token:         secretField(block, "pms_token"),
		TokenServer:   text(block, "pms_token_server"),
		Unverified:    isKnown && !verify,
		UnverifiedFor: text(block, "verify_ssl_server"),
		Known:         decodeKnownServer(block.Get("_server_account")),
		Certificate:   decodeCertificate(block.Get("_server_certificate")),
		TakesJWT:      decodeTakesJWT(block.Get("_jwt_server")),
	}
}

// encodeServer writes what encode has not written; verify_ssl is the user's.
func encodeServer(e *editor, s *Server) {
	encodeKnownServer(e, s.Known)
	e.text("pms_token_server", s.TokenServer)
	e.field("server_url_found", s.Found)
	e.text("verify_ssl_server", s.UnverifiedFor)
	encodeCertificate(e, s.Certificate)
	encodeTakesJWT(e, s.TakesJWT)
}

// "_server_account": {"account": …, "url": …, "machine_id": …, "owner": …}, or, as
// older versions wrote it, the number of the account alone.
func decodeKnownServer(v json.RawMessage) *KnownServer {
	if v == nil {
		return nil
	}
	o, err := ordered.Parse(v)
	if err != nil {
		return &KnownServer{Account: lax.Int(v)}
	}
	return &KnownServer{lax.Int(o.Get("account")), MachineAt{lax.Text(o.Get("machine_id")), lax.Text(o.Get("url"))}, lax.Int(o.Get("owner"))}
}

func encodeKnownServer(e *editor, k *KnownServer) {
	if k == nil {
		e.remove("_server_account")
		return
	}
	if stored := decodeKnownServer(e.object.Get("_server_account")); stored == nil || *stored != *k {
		e.replace("_server_account", members{
			{"account", ordered.Int(k.Account)}, {"url", ordered.String(k.URL)},
			{"machine_id", ordered.String(k.MachineID)}, {"owner", ordered.Int(k.Owner)},
		})
	}
}

// "_server_certificate": "<hash> <machine> <address>"
func decodeCertificate(v json.RawMessage) *Certificate {
	if v == nil {
		return nil
	}
	c := &Certificate{}
	if parts := strings.SplitN(strings.TrimSpace(lax.Text(v)), " ", 3); len(parts) == 3 {
		c.Hash, c.MachineID, c.URL = parts[0], parts[1], parts[2]
	}
	return c
}

func encodeCertificate(e *editor, c *Certificate) {
	if c == nil {
		e.remove("_server_certificate")
		return
	}
	if stored := decodeCertificate(e.object.Get("_server_certificate")); stored == nil || *stored != *c {
		e.put("_server_certificate", ordered.String(strings.Join([]string{c.Hash, c.MachineID, c.URL}, " ")))
	}
}

// "_jwt_server": "<machine> <address>"
func decodeTakesJWT(v json.RawMessage) *MachineAt {
	if v == nil {
		return nil
	}
	m := &MachineAt{}
	if machineID, address, ok := strings.Cut(strings.TrimSpace(lax.Text(v)), " "); ok {
		m.MachineID, m.URL = machineID, address
	}
	return m
}

func encodeTakesJWT(e *editor, m *MachineAt) {
	if m == nil {
		e.remove("_jwt_server")
		return
	}
	if stored := decodeTakesJWT(e.object.Get("_jwt_server")); stored == nil || *stored != *m {
		e.put("_jwt_server", ordered.String(m.MachineID+" "+m.URL))
	}
}

// "_pending_pin": {"id": …, "code": …, "created": …, …}; the first three are CrossWatch's.
func decodeLogin(v json.RawMessage) *Login {
	if v == nil {
		return nil
	}
	o := object(v)
	l := &Login{
		ID:       lax.Int(o.Get("id")),
		Code:     lax.Text(o.Get("code")),
		Created:  seconds(o, "created"),
		Expires:  milliseconds(o, "expires_at_ms"),
		ClientID: lax.Text(o.Get("client_id")),
		Kid:      lax.Text(o.Get("kid")),
		Seed:     secret.New(lax.Text(o.Get("secret"))),
		Token:    secret.New(lax.Text(o.Get("account_token"))),
		Replaces: lax.Text(o.Get("replaces")),
	}
	l.LifetimeKnown, _ = lax.Bool(o.Get("lifetime_known"))
	l.Options.Strong, _ = lax.Bool(o.Get("strong"))
	l.Options.SwitchAccount, _ = lax.Bool(o.Get("switch_account"))
	l.Options.ForwardURL = lax.Text(o.Get("forward_url"))
	return l
}

func encodeLogin(e *editor, l *Login) {
	if l == nil {
		e.remove("_pending_pin")
		return
	}
	stored, err := ordered.Parse(e.object.Get("_pending_pin"))
	if err != nil || lax.Int(stored.Get("id")) != l.ID {
		stored = nil
	}
	e.editParsed("_pending_pin", stored, func(e *editor) {
		e.number("id", l.ID)
		e.text("code", l.Code)
		e.seconds("created", l.Created)
		e.text("client_id", l.ClientID)
		e.milliseconds("expires_at_ms", l.Expires)
		e.flag("lifetime_known", l.LifetimeKnown)
		e.flag("strong", l.Options.Strong)
		e.flag("switch_account", l.Options.SwitchAccount)
		e.text("forward_url", l.Options.ForwardURL)
		e.text("kid", l.Kid)
		e.text("secret", l.Seed.Secret())
		e.text("account_token", l.Token.Secret())
		e.text("replaces", l.Replaces)
	})
}

// "_device": {"client_id": …, "kid": …, "secret": …, "bound_to": …, …}. The key's token
// stands in account_token, where CrossWatch and Settings look for it.
func decodeDevice(v json.RawMessage) *Device {
	if v == nil {
		return nil
	}
	o, err := ordered.Parse(v)
	if err != nil {
		return &Device{isUnreadable: true}
	}
	d := &Device{
		ClientID:    lax.Text(o.Get("client_id")),
		Kid:         lax.Text(o.Get("kid")),
		Seed:        secret.New(lax.Text(o.Get("secret"))),
		BoundTo:     lax.Text(o.Get("bound_to")),
		Scope:       lax.Text(o.Get("scope")),
		Skew:        time.Duration(lax.Int(o.Get("clock_skew"))) * time.Second,
		LeasedUntil: milliseconds(o, "leased_until_ms"),
	}
	d.Asked, _ = lax.Bool(o.Get("asked"))
	return d
}

func encodeDevice(e *editor, d *Device) {
	switch {
	case d == nil:
		e.remove("_device")
		return
	case d.isUnreadable:
		return
	}
	stored, err := ordered.Parse(e.object.Get("_device"))
	if err != nil || lax.Text(stored.Get("client_id")) != d.ClientID || lax.Text(stored.Get("kid")) != d.Kid {
		stored = nil
	}
	e.editParsed("_device", stored, func(e *editor) {
		e.text("client_id", d.ClientID)
		e.text("kid", d.Kid)
		e.text("secret", d.Seed.Secret())
		e.flag("asked", d.Asked)
		e.text("bound_to", d.BoundTo)
		e.text("scope", d.Scope)
		e.number("clock_skew", int64(d.Skew/time.Second))
		e.milliseconds("leased_until_ms", d.LeasedUntil)
	})
}

// "_home_pin_tries": {"<uuid>": {"wrong": …, "at": …}}
func decodeWrongPINs(v json.RawMessage) []WrongPINs {
	if v == nil {
		return nil
	}
	all := []WrongPINs{}
	for _, m := range object(v).Members() {
		o := object(m.Value)
		all = append(all, WrongPINs{m.Key, lax.Int(o.Get("wrong")), time.Unix(lax.Int(o.Get("at")), 0)})
	}
	return all
}

func encodeWrongPINs(e *editor, all []WrongPINs) {
	if all == nil {
		e.remove("_home_pin_tries")
		return
	}
	e.edit("_home_pin_tries", false, func(e *editor) {
		left := map[string]WrongPINs{}
		for _, w := range all {
			left[w.UUID] = w
		}
		for _, stored := range decodeWrongPINs(e.object.Bytes()) {
			if _, ok := left[stored.UUID]; !ok {
				e.remove(stored.UUID)
			} else if stored == left[stored.UUID] {
				delete(left, stored.UUID)
			}
		}
		for _, w := range all {
			if _, ok := left[w.UUID]; ok {
				e.replace(w.UUID, members{{"wrong", ordered.Int(w.Wrong)}, {"at", ordered.Int(w.At.Unix())}})
			}
		}
	})
}
