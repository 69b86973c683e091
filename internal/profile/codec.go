package profile

import (
	"encoding/json"
	"time"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/secret"
)

// Decoding keeps a value as it is stored, even if no rule accepts it. Encoding writes
// a member only if it decodes to another value, and removes it only if the state has
// dropped it. What was not understood thus survives.

// object parses a member. It is empty if v is missing or not an object.
func object(v json.RawMessage) *ordered.Object {
	if o, err := ordered.View(v); err == nil {
		return o
	}
	return &ordered.Object{}
}

func decode(block *ordered.Object, s *State) {
	*s = decodeOwner(block)
	s.ClientID = text(block, keyClientID)
	s.NextClientID = text(block, keyNextClientID)
	s.DeviceClientID = text(block, keyDeviceClientID)
	s.ForeignMark = text(block, keyForeign)
	s.User = textField(block, keyUsername)
	s.ServerUserID = textField(block, keyServerUserID)
	s.HomePIN = secretField(block, keyHomePIN)
	s.Stash = decodeStash(block.Get(keyStash))
	s.HomeUser = decodeHomeUser(block.Get(keyHomeUser))
	s.Server = decodeServer(block)
	s.StoredPIN = decodePIN(block.Get(keyPendingPIN))
	s.Checked = seconds(block.Get(keyChecked))
	s.RefusedPIN = text(block, keyRefusedPIN)
	s.PanelPIN = seconds(block.Get(keyPanelPIN))
	s.WrongPINs = decodeWrongPINs(block.Get(keyWrongPINs))
}

// decodeOwner decodes only what AccountID, Rejected and boundDevice need.
func decodeOwner(block *ordered.Object) State {
	return State{
		Token:        Field[Token]{newToken(secret.New(text(block, keyAccountToken))), block.Get(keyAccountToken) != nil},
		RejectedMark: text(block, keyRejected),
		Account:      decodeAccount(block.Get(keyAccount)),
		Device:       decodeDevice(block),
	}
}

// crossWatchPlaces names, for a new member, those after which CrossWatch writes it.
// One without names comes first, all others come last.
var crossWatchPlaces = map[string][]string{
	keyServerURL:    {},
	keyServerToken:  {keyAccountToken},
	keyMachineID:    {keyClientID, keyServerToken},
	keyServerUserID: {keyClientID},
	keyUsername:     {keyServerUserID, keyClientID},
}

func encode(block *ordered.Object, s *State) (changed bool) {
	e := &editor{object: block, places: crossWatchPlaces}
	e.field(keyServerURL, s.Server.URL)
	e.text(keyClientID, s.ClientID)
	e.text(keyNextClientID, s.NextClientID)
	e.field(keyAccountToken, Field[string]{s.Token.Value.Secret(), s.Token.Present})
	e.secret(keyServerToken, s.Server.Token)
	e.field(keyMachineID, s.Server.MachineID)
	e.field(keyUsername, s.User)
	e.numeric(keyServerUserID, s.ServerUserID)
	e.secret(keyHomePIN, s.HomePIN)
	encodeAccount(e, s.Account)
	e.text(keyRejected, s.RejectedMark)
	e.seconds(keyChecked, s.Checked)
	e.text(keyForeign, s.ForeignMark)
	encodeStash(e, s.Stash)
	encodeHomeUser(e, s.HomeUser)
	encodeServer(e, &s.Server)
	encodeDevice(e, s.Device)
	e.text(keyDeviceClientID, s.DeviceClientID)
	encodePIN(e, s.StoredPIN)
	e.text(keyRefusedPIN, s.RefusedPIN)
	e.seconds(keyPanelPIN, s.PanelPIN)
	encodeWrongPINs(e, s.WrongPINs)
	return e.changed
}

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
		e.remove(keyAccount)
		return
	}
	stored := decodeAccount(e.object.Get(keyAccount))
	isNew := stored == nil || stored.ID != 0 && stored.ID != a.ID
	e.edit(keyAccount, isNew, func(e *editor) {
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

func decodeStash(v json.RawMessage) *Stash {
	if v == nil {
		return nil
	}
	o, err := ordered.View(v)
	if err != nil {
		return &Stash{isUnreadable: true}
	}
	w := &Stash{
		Account:      lax.Int(o.Get("cloud_account_id")),
		User:         lax.Text(o.Get("username")),
		ServerUserID: lax.Text(o.Get("account_id")),
		HomePIN:      secret.New(lax.Text(o.Get("home_pin"))),
		ServerToken:  secret.New(lax.Text(o.Get("pms_token"))),
		TokenServer:  lax.Text(o.Get("pms_token_server")),
	}
	w.SameToken, _ = lax.Bool(o.Get("retired"))
	return w
}

func encodeStash(e *editor, w *Stash) {
	switch {
	case w == nil:
		e.remove(keyStash)
	case !w.isUnreadable:
		e.edit(keyStash, false, func(e *editor) {
			e.number("cloud_account_id", w.Account)
			e.text("pms_token_server", w.TokenServer)
			e.flag("retired", w.SameToken)
			e.text("username", w.User)
			e.numeric("account_id", Field[string]{w.ServerUserID, w.ServerUserID != ""})
			e.text("pms_token", w.ServerToken.Secret())
			e.text("home_pin", w.HomePIN.Secret())
		})
	}
}

func decodeHomeUser(v json.RawMessage) *HomeUser {
	if v == nil {
		return nil
	}
	o := object(v)
	return &HomeUser{lax.Int(o.Get("id")), lax.Text(o.Get("name")), lax.Int(o.Get("account"))}
}

func encodeHomeUser(e *editor, u *HomeUser) {
	if u == nil {
		e.remove(keyHomeUser)
		return
	}
	if stored := decodeHomeUser(e.object.Get(keyHomeUser)); stored == nil || *stored != *u {
		e.replace(keyHomeUser, members{{"id", ordered.Int(u.ID)}, {"name", ordered.String(u.Name)}, {"account", ordered.Int(u.Account)}})
	}
}

func decodePIN(v json.RawMessage) *StoredPIN {
	if v == nil {
		return nil
	}
	l := &StoredPIN{}
	ordered.Each(v, func(key []byte, v json.RawMessage) {
		switch string(key) {
		case "id":
			l.ID = lax.Int(v)
		case "code":
			l.Code = lax.Text(v)
		case "created":
			l.Created = seconds(v)
		case "expires_at_ms":
			l.Expires = milliseconds(v)
		case "lifetime_known":
			l.LifetimeKnown, _ = lax.Bool(v)
		case "client_id":
			l.ClientID = lax.Text(v)
		case "kid":
			l.Kid = lax.Text(v)
		case "secret":
			l.Seed = secret.New(lax.Text(v))
		case "account_token":
			l.Token = secret.New(lax.Text(v))
		case "replaces":
			l.Replaces = lax.Text(v)
		case "strong":
			l.Options.Strong, _ = lax.Bool(v)
		case "switch_account":
			l.Options.SwitchAccount, _ = lax.Bool(v)
		case "forward_url":
			l.Options.ForwardURL = lax.Text(v)
		}
	})
	return l
}

func encodePIN(e *editor, l *StoredPIN) {
	if l == nil {
		e.remove(keyPendingPIN)
		return
	}
	stored, err := e.object.Parsed(keyPendingPIN)
	if err != nil || lax.Int(stored.Get("id")) != l.ID {
		stored = nil
	}
	e.editParsed(keyPendingPIN, stored, func(e *editor) {
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

func decodeDevice(block *ordered.Object) *Device {
	if block.Get(keyDevice) == nil {
		return nil
	}
	o, err := block.Parsed(keyDevice)
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
		LeasedUntil: milliseconds(o.Get("leased_until_ms")),
	}
	d.Asked, _ = lax.Bool(o.Get("asked"))
	return d
}

func encodeDevice(e *editor, d *Device) {
	switch {
	case d == nil:
		e.remove(keyDevice)
		return
	case d.isUnreadable:
		return
	}
	stored, err := e.object.Parsed(keyDevice)
	if err != nil || lax.Text(stored.Get("client_id")) != d.ClientID || lax.Text(stored.Get("kid")) != d.Kid {
		stored = nil
	}
	e.editParsed(keyDevice, stored, func(e *editor) {
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
		e.remove(keyWrongPINs)
		return
	}
	e.edit(keyWrongPINs, false, func(e *editor) {
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
