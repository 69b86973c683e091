package plexauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/ordered"
)

// Namespace is the one key of a config document that plexauth reads and
// writes.
const Namespace = "plex"

// ErrStore is matched by every error that comes from a [ConfigStore].
var ErrStore = errors.New("plexauth: config store")

// ErrCorruptConfig is matched when what is stored cannot be read: an empty or
// truncated file, a namespace that is not a JSON object. Nothing is written
// over it. It always comes with [ErrStore].
var ErrCorruptConfig = errors.New("plexauth: config is corrupt")

// A ConfigStore keeps one JSON object for each namespace. Implementations are
// safe for concurrent use. The package storetest checks every rule below.
//
// What a store holds is a credential, in clear: it belongs in no log and in
// no error.
//
// A store may also have a method Check(context.Context) error that answers
// "would an Update succeed now?"; [PlexAuth.Start] asks it before it makes a
// PIN, so that a person is not sent to plex.tv for a login that cannot be
// saved.
type ConfigStore interface {
	// Load returns a copy of the namespace's JSON object, or nil where it is
	// absent or null. A value that is not an object is [ErrCorruptConfig].
	Load(ctx context.Context, namespace string) (json.RawMessage, error)

	// Update replaces the object by what edit makes of it, atomically against
	// every other Update of that namespace, in this process or another.
	//
	// current is as from Load, and edit's own. What edit returns becomes the
	// object: nil removes the namespace, {} is kept, bytes equal to current
	// write nothing, and anything but an object is an error. edit may run
	// more than once; it must not block, keep current or call the store. An
	// error of edit changes nothing and is returned so that errors.Is finds
	// it. ctx counts until the commit, never after it.
	Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error
}

// MemoryStore is a [ConfigStore] that forgets with the process. It is safe
// for concurrent use.
type MemoryStore struct {
	turn chan struct{} // held during an Update; a channel, so that waiting ends with a context

	mu   sync.RWMutex             // guards docs
	docs map[string]func() []byte // hidden
}

var _ ConfigStore = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{turn: make(chan struct{}, 1), docs: map[string]func() []byte{}}
}

// Load implements [ConfigStore].
func (s *MemoryStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if doc := s.docs[namespace]; doc != nil {
		return bytes.Clone(doc()), nil
	}
	return nil, nil
}

// Update implements [ConfigStore].
func (s *MemoryStore) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	current, err := s.Load(ctx, namespace)
	if err != nil {
		return err
	}
	next, err := edit(current)
	if err != nil {
		return err
	}
	if err := checkEdited(next); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if next == nil {
		delete(s.docs, namespace)
	} else {
		s.docs[namespace] = hide(bytes.Clone(next))
	}
	return nil
}

// checkEdited refuses what an edit must not return.
func checkEdited(next json.RawMessage) error {
	if next == nil {
		return nil
	}
	if err := ordered.Check(next); err != nil {
		return fmt.Errorf("%w: the edit returned no JSON object: %w", ErrStore, err)
	}
	return nil
}

// Settings is what the namespace says about one profile. Its JSON has no
// token in it.
type Settings struct {
	ClientID       string `json:"client_id"`        // X-Plex-Client-Identifier of the profile's credentials
	ServerURL      string `json:"server_url"`       // the media server's address
	MachineID      string `json:"machine_id"`       // the media server's machineIdentifier
	Username       string `json:"username"`         // of the account, for display
	CloudAccountID string `json:"cloud_account_id"` // plex.tv's number of the account: what identifies a person
	AccountID      string `json:"account_id"`       // the media server's own number of the account
	VerifySSL      bool   `json:"verify_ssl"`       // whether the media server's certificate is checked; true where nothing is stored
	AccountToken   Token  `json:"-"`                // for plex.tv
	ServerToken    Token  `json:"-"`                // for the media server at ServerURL, and no other
}

// document is the namespace's object while it is read or edited. This file
// alone knows its paths; the names are CrossWatch's, those that begin with an
// underscore partly ours.
type document struct {
	base      *ordered.Object
	instances *ordered.Object
	blocks    map[string]*profile // read so far
	changed   bool
}

// profile is one block of a document: the base for "default", else
// instances.<id>.
type profile struct {
	*document
	id    string
	block *ordered.Object // nil where the profile does not exist
	dirty bool
}

// The fields that hold a profile's credentials and identifiers. Where one is
// absent CrossWatch takes the default profile's, so a new profile has them
// all, empty.
var profileFields = []string{"server_url", "account_token", "pms_token", "machine_id", "username", "account_id", "home_pin"}

const defaultInstance = "default"

func parseDocument(raw json.RawMessage) (*document, error) {
	d := &document{base: &ordered.Object{}, instances: &ordered.Object{}, blocks: map[string]*profile{}}
	if raw == nil {
		return d, nil
	}
	base, err := ordered.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %q: %w", ErrStore, ErrCorruptConfig, Namespace, err)
	}
	d.base = base
	if instances, err := ordered.Parse(base.Get("instances")); err == nil {
		d.instances = instances // null, a list and the like count as none
	}
	return d, nil
}

// profile returns the block of id; absent blocks are not created.
func (d *document) profile(id string) *profile {
	if b, ok := d.blocks[id]; ok {
		return b
	}
	b := &profile{document: d, id: id}
	if id == defaultInstance {
		b.block = d.base
	} else if block, err := ordered.Parse(d.instances.Get(id)); err == nil {
		b.block = block
	}
	d.blocks[id] = b
	return b
}

// ids lists the profiles that exist, the default one first. An empty block
// counts as none, as it does for CrossWatch.
func (d *document) ids() []string {
	ids := []string{defaultInstance}
	for _, m := range d.instances.Members() {
		if b := d.profile(m.Key); m.Key != defaultInstance && m.Key == normalizeInstance(m.Key) && b.exists() {
			ids = append(ids, m.Key)
		}
	}
	return ids
}

// bytes is the edited document.
func (d *document) bytes() json.RawMessage {
	for id, b := range d.blocks {
		if b.dirty && id != defaultInstance {
			d.instances.Set(id, b.block.Bytes())
			d.base.Set("instances", d.instances.Bytes())
		}
	}
	return d.base.Bytes()
}

// exists reports whether the block has anything in it.
func (b *profile) exists() bool { return b.block != nil && len(b.block.Members()) > 0 }

// create makes the block where it does not exist.
func (b *profile) create() {
	if b.exists() || b.id == defaultInstance {
		return
	}
	b.block = &ordered.Object{}
	for _, key := range profileFields {
		b.set(key, ordered.String(""))
	}
}

// text returns a string (or a number, as text) of the block, "" for the rest.
// White space around it, left there by a hand, is none of it.
func (b *profile) text(key string) string {
	if b.block == nil {
		return ""
	}
	return strings.TrimSpace(text(b.block.Get(key)))
}

func (b *profile) token(key string) Token { return NewToken(b.text(key)) }

// set gives key a value, at the place where CrossWatch would put it.
func (b *profile) set(key string, value json.RawMessage) {
	if bytes.Equal(b.block.Get(key), value) {
		return
	}
	switch key {
	case "server_url":
		b.block.SetFirst(key, value)
	case "pms_token":
		b.block.SetAfter(key, value, "account_token")
	case "machine_id":
		b.block.SetAfter(key, value, "client_id", "pms_token")
	case "account_id":
		b.block.SetAfter(key, value, "client_id")
	case "username":
		b.block.SetAfter(key, value, "account_id", "client_id")
	default:
		b.block.Set(key, value)
	}
	b.dirty, b.changed = true, true
}

func (b *profile) setText(key, value string) {
	if b.block.Get(key) != nil && b.text(key) == value {
		return
	}
	b.set(key, ordered.String(value))
}

func (b *profile) remove(keys ...string) {
	if b.block == nil {
		return
	}
	for _, key := range keys {
		if b.block.Delete(key) {
			b.dirty, b.changed = true, true
		}
	}
}

// clientID is the identifier that the profile's token was made under: the
// device's own, if it is a device's token.
func (b *profile) clientID() string {
	if o := b.deviceBlock(); o != nil && b.bound(o) && usableID(text(o.Get("client_id"))) {
		return text(o.Get("client_id"))
	}
	return b.longLivedID()
}

// longLivedID is the identifier of the profile's long-lived tokens.
func (b *profile) longLivedID() string {
	if id := b.text("client_id"); usableID(id) {
		return id
	}
	if id := b.document.profile(defaultInstance).text("client_id"); usableID(id) {
		return id
	}
	return ""
}

// ensureClientID returns the identifier for the next PIN, made and remembered
// in the base block where there is none. want is the program's own, or "".
func (b *profile) ensureClientID(want string) string {
	base := b.document.profile(defaultInstance)
	id := base.text("client_id")
	unfit := func(id string) bool { return !usableID(id) || b.movedOver(id) }
	if unfit(id) {
		if id = want; id == "" {
			id = b.text("client_id")
		}
		if unfit(id) {
			id = newClientID()
		}
		base.setClientID(id)
	}
	if want != "" {
		return want
	}
	return id
}

// setClientID notes the identifier of the profile's new token. Profiles that
// went by the base's old one get a copy of it first.
func (b *profile) setClientID(id string) {
	if b.id == defaultInstance {
		old := b.text("client_id")
		for _, other := range b.others() {
			if old != id && usableID(old) && other.text("client_id") == "" && other.text("account_token") != "" {
				other.setText("client_id", old)
			}
		}
	}
	b.setText("client_id", id)
}

func usableID(id string) bool { return id != "" && headerSafe(id) == id }

// others are the other profiles that exist.
func (b *profile) others() []*profile {
	var others []*profile
	for _, id := range b.ids() {
		if id != b.id {
			others = append(others, b.document.profile(id))
		}
	}
	return others
}

// cloudID is plex.tv's number of the linked account, 0 where none is known.
func (b *profile) cloudID() int64 {
	if b.block == nil {
		return 0
	}
	if cloud, err := ordered.Parse(b.block.Get("_cloud")); err == nil {
		return integer(cloud.Get("account_id"))
	}
	return 0
}

func (b *profile) setCloudID(id int64) {
	cloud, err := ordered.Parse(b.block.Get("_cloud"))
	if err != nil {
		cloud = &ordered.Object{}
	}
	cloud.Set("account_id", ordered.Int(id))
	b.set("_cloud", cloud.Bytes())
}

// rejected reports whether plex.tv is known to have rejected the very token
// that is stored now.
func (b *profile) rejected() bool {
	mark := b.text("_rejected")
	return mark != "" && mark == fingerprint(b.token("account_token"))
}

func (b *profile) setRejected() { b.setText("_rejected", fingerprint(b.token("account_token"))) }

// fingerprint recognizes a token without giving it away.
func fingerprint(t Token) string {
	if t.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte("plexauth rejected " + t.Secret()))
	return hex.EncodeToString(sum[:16])
}

// signIn replaces the profile's account token.
func (b *profile) signIn(t Token, clientID string) {
	b.setClientID(clientID)
	b.setText("account_token", t.Secret())
	b.remove("_pending_pin", "_rejected")
}

// forgetAccount empties what belongs to the account. The server choice stays.
func (b *profile) forgetAccount() {
	for _, key := range []string{"username", "account_id", "pms_token", "home_pin"} {
		b.setText(key, "")
	}
	b.remove("_cloud", "_was_account", "pms_token_server", "_jwt_server")
}

// doubt notes that a new token may be another account's than what is stored of
// the old one. adopt decides.
func (b *profile) doubt() {
	if id := b.cloudID(); id != 0 {
		b.set("_was_account", ordered.Int(id))
		b.remove("_cloud")
	}
}

// isAnothers reports whether what is stored is not a's. Where only a name is
// known, it is the name.
func (b *profile) isAnothers(a *Account) bool {
	id := b.cloudID()
	if id == 0 {
		id = integer(b.block.Get("_was_account"))
	}
	if id != 0 {
		return id != a.ID
	}
	name := b.text("username")
	return name != "" && !slices.ContainsFunc([]string{a.Username, a.Title, a.FriendlyName, a.Email}, func(s string) bool { return strings.EqualFold(s, name) })
}

// adopt notes whose token the profile holds, and gives the token to every
// other profile of that account and identifier: theirs was retired by it.
func (b *profile) adopt(a *Account) {
	if b.isAnothers(a) {
		b.forgetAccount()
	}
	b.remove("_was_account")
	if b.text("username") == "" {
		b.setText("username", a.name())
	}
	b.setCloudID(a.ID)
	b.remove("_rejected")
	if b.life().renewable() { // a JWT retires nobody's token, and is nobody else's
		return
	}
	for _, other := range b.others() {
		if other.sameCredential(a.ID, b.clientID()) {
			other.succeed(b.token("account_token"))
		}
	}
}

// succeed puts the successor of the account's token in its place, also where it
// serves as the server's: plex.tv may give it for a server of one's own.
func (b *profile) succeed(t Token) {
	if b.token("pms_token").Equal(b.token("account_token")) {
		b.setText("pms_token", t.Secret())
	}
	b.setText("account_token", t.Secret())
	b.remove("_rejected")
}

// sameCredential reports whether the profile lives on the account's token
// under that identifier. A device's token is its own, whatever the account does.
func (b *profile) sameCredential(accountID int64, clientID string) bool {
	if b.life().renewable() {
		return false
	}
	return accountID != 0 && b.cloudID() == accountID && b.clientID() == clientID && b.text("account_token") != ""
}

// disconnect forgets the credentials and whose they were.
func (b *profile) disconnect() {
	if !b.exists() {
		return
	}
	b.setText("account_token", "")
	b.forgetAccount()
	b.keepDeviceID()
	b.remove("_pending_pin", "_rejected", "_device")
}

func (b *profile) settings() Settings {
	s := Settings{ClientID: b.clientID(), VerifySSL: true}
	if b.block == nil {
		return s
	}
	server := b.server()
	s.ServerURL, s.MachineID, s.VerifySSL, s.ServerToken = server.url, server.machineID, server.verify, server.token
	s.Username = b.text("username")
	s.AccountID = b.text("account_id")
	if id := b.cloudID(); id != 0 {
		s.CloudAccountID = strconv.FormatInt(id, 10)
	}
	s.AccountToken = b.token("account_token")
	return s
}

// pendingPIN is the stored form of a PIN that waits for its approval.
type pendingPIN struct {
	id            int64
	code          string
	created       time.Time // zero where unknown, as all that CrossWatch does not write
	expires       time.Time
	lifetimeKnown bool // plex.tv said how long the PIN lives
	clientID      string
	options       PinOptions
	device        *device // of a login with a device key
	token         Token   // approved, and parked until its account is known
}

// pending returns the PIN that waits, nil where there is none.
func (b *profile) pending() *pendingPIN {
	if b.block == nil {
		return nil
	}
	o, err := ordered.Parse(b.block.Get("_pending_pin"))
	if err != nil {
		return nil
	}
	v := &pendingPIN{
		id:       integer(o.Get("id")),
		code:     text(o.Get("code")),
		clientID: text(o.Get("client_id")),
		token:    NewToken(text(o.Get("account_token"))),
	}
	if v.id <= 0 {
		return nil
	}
	if !usableID(v.clientID) {
		v.clientID = b.longLivedID()
	}
	if secret := NewToken(text(o.Get("secret"))); !secret.IsZero() {
		var err error
		if v.device, err = readDevice(v.clientID, text(o.Get("kid")), secret); err != nil {
			return nil // nothing can be made of its approval
		}
	}
	v.options.Strong, _ = truth(o.Get("strong"))
	v.options.ForwardURL = text(o.Get("forward_url"))
	v.options.SwitchAccount, _ = truth(o.Get("switch_account"))
	v.lifetimeKnown, _ = truth(o.Get("lifetime_known"))
	if s := integer(o.Get("created")); s > 0 {
		v.created = time.Unix(s, 0)
		v.expires = v.created.Add(defaultLifetime)
	}
	if ms := integer(o.Get("expires_at_ms")); ms > 0 {
		v.expires = time.UnixMilli(ms)
	}
	if v.expires.IsZero() { // CrossWatch wrote it, and not when
		v.expires = time.Now().Round(0).Add(defaultLifetime)
	}
	return v
}

// setPending remembers a new PIN, CrossWatch's three fields first.
func (b *profile) setPending(v *pendingPIN) {
	o := &ordered.Object{}
	o.Set("id", ordered.Int(v.id))
	o.Set("code", ordered.String(v.code))
	o.Set("created", ordered.Int(v.created.Unix()))
	o.Set("client_id", ordered.String(v.clientID))
	o.Set("expires_at_ms", ordered.Int(v.expires.UnixMilli()))
	for _, f := range []struct {
		key string
		on  bool
	}{
		{"lifetime_known", v.lifetimeKnown},
		{"strong", v.options.Strong},
		{"switch_account", v.options.SwitchAccount},
	} {
		if f.on {
			o.Set(f.key, ordered.Bool(true))
		}
	}
	if v.options.ForwardURL != "" {
		o.Set("forward_url", ordered.String(v.options.ForwardURL))
	}
	if v.device != nil {
		o.Set("kid", ordered.String(v.device.kid))
		o.Set("secret", ordered.String(v.device.secret.Secret()))
	}
	b.set("_pending_pin", o.Bytes())
}

// changePending sets one field of the PIN that waits.
func (b *profile) changePending(key string, value json.RawMessage) {
	o, err := ordered.Parse(b.block.Get("_pending_pin"))
	if err != nil {
		return
	}
	o.Set(key, value)
	b.set("_pending_pin", o.Bytes())
}

// dropPending removes the PIN that waits, if it is still this one.
func (b *profile) dropPending(id int64) {
	if v := b.pending(); v != nil && v.id == id {
		b.remove("_pending_pin")
	}
}

func (b *profile) setPendingExpiry(t time.Time) {
	b.changePending("expires_at_ms", ordered.Int(t.UnixMilli()))
}

// park keeps an approved token beside the PIN until its account is known. The
// name is one that CrossWatch encrypts.
func (b *profile) park(t Token) { b.changePending("account_token", ordered.String(t.Secret())) }

// unpark drops a parked token that turned out to be none.
func (b *profile) unpark() {
	if o, err := ordered.Parse(b.block.Get("_pending_pin")); err == nil && o.Delete("account_token") {
		b.set("_pending_pin", o.Bytes())
	}
}

// storeError is an error of a ConfigStore, its text free of the secrets that
// a careless store might have put there.
type storeError struct {
	text string
	err  func() error // as in cause
}

func (e *storeError) Error() string              { return e.text }
func (e *storeError) Is(target error) bool       { return target == ErrStore || errors.Is(e.err(), target) }
func (e *storeError) As(target any) bool         { return errors.As(e.err(), target) }
func (e *storeError) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.text) }
func newStoreError(err error, s ...string) error {
	text := quotedFields.ReplaceAllString(err.Error(), "${1}"+redacted)
	return &storeError{"plexauth: config store: " + strings.TrimPrefix(redact(text, s...), ErrStore.Error()+": "), hide(err)}
}

// load reads this profile.
func (p *PlexAuth) load(ctx context.Context) (*profile, error) {
	raw, err := p.loadRaw(ctx)
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(raw)
	if err != nil {
		return nil, err
	}
	return d.profile(p.instance), nil
}

func (p *PlexAuth) loadRaw(ctx context.Context) (json.RawMessage, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	raw, err := p.store.Load(ctx, Namespace)
	if err == nil {
		return raw, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return nil, newStoreError(err)
}

// update edits this profile. edit may run more than once; its error is
// returned as it is and changes nothing. secrets are what the store's own
// errors must not quote.
func (p *PlexAuth) update(ctx context.Context, edit func(*profile) error, secrets ...Token) error {
	if p.invalid != nil {
		return p.invalid
	}
	var editErr error
	var quotable []byte
	err := p.store.Update(ctx, Namespace, func(current json.RawMessage) (json.RawMessage, error) {
		editErr, quotable = nil, bytes.Clone(current)
		d, err := parseDocument(current)
		if err == nil {
			err = edit(d.profile(p.instance))
		}
		if err != nil {
			editErr = err
			return nil, err
		}
		if !d.changed {
			return current, nil
		}
		next := d.bytes()
		quotable = append(quotable, next...)
		return next, nil
	})
	p.sources.forget()
	switch {
	case editErr != nil:
		return editErr
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %w", ctx.Err())
	}
	var quoted []string
	for _, t := range secrets {
		quoted = append(quoted, t.Secret())
	}
	for _, m := range secretFields.FindAllSubmatch(quotable, -1) {
		quoted = append(quoted, string(m[1]))
	}
	return newStoreError(err, quoted...)
}

// secretFields finds what an error must not quote of a document, quotedFields
// what it quotes all the same, be it as a Go string.
var (
	secretFields = regexp.MustCompile(`"(?:account_token|pms_token|home_pin|secret|id|code)"\s*:\s*"?((?:[^"\\,}\s]|\\.){4,})`)
	quotedFields = regexp.MustCompile(`(\\*"(?:account_token|pms_token|home_pin|secret|id|code)\\*"\s*:\s*\\*"?)[^"\\,}\s]+`)
)
