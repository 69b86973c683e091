package profile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// change changes a profile by a rule of this package.
type change struct {
	apply      func(p *profile.Profile, value string)
	members    string // of the profile, the only ones that it may change
	parts      string // of its only member, the only ones that it may change; "": any
	isRelative bool   // it depends on what is stored, so that a second time may change more
}

// changes are the rules that FuzzCodec uses. The first one only reads.
var changes = []change{
	{apply: func(p *profile.Profile, _ string) { readAll(p) }},
	{apply: func(p *profile.Profile, value string) { p.SetServerToken(secret.New(value)) }, members: "pms_token pms_token_server"},
	{apply: func(p *profile.Profile, value string) { p.SetMachine(value) }, members: "machine_id"},
	{apply: func(p *profile.Profile, value string) { p.SetServerUserID(int64(len(value))) }, members: "account_id"},
	{apply: func(p *profile.Profile, _ string) { p.ForgetServerUserID() }, members: "account_id"},
	{apply: func(p *profile.Profile, _ string) { p.SetRejected() }, members: "_rejected"},
	{apply: func(p *profile.Profile, value string) { p.SetFound(value == "") }, members: "server_url_found"},
	{apply: func(p *profile.Profile, value string) { p.SetServerCertificate(value) }, members: "_server_certificate"},
	{apply: func(p *profile.Profile, value string) { p.SetServerAccount(int64(len(value))) }, members: "_server_account"},
	{apply: func(p *profile.Profile, value string) { p.SetTakesJWT("m1", "http://box", value == "") }, members: "_jwt_server"},
	{apply: func(p *profile.Profile, _ string) { p.NotePanelPIN(time.Unix(1e9, 0)) }, members: "_cancelled_pin"},
	{apply: func(p *profile.Profile, _ string) { p.ClaimCheck(p.Checked, time.Unix(1e9, 0)) }, members: "_checked"},
	{apply: func(p *profile.Profile, value string) {
		p.SetPending(&profile.PendingPIN{ID: 7, Code: value, Created: time.Unix(1e9, 0), ClientID: "app", Options: profile.PinOptions{Strong: true, ForwardURL: value}})
	}, members: "_pending_pin _refused_pin"},
	{apply: func(p *profile.Profile, _ string) { p.SetPendingExpiry(7, time.Unix(1e9, 0)) }, members: "_pending_pin", parts: "expires_at_ms"},
	{apply: func(p *profile.Profile, value string) { p.Park(7, secret.New(value)) }, members: "_pending_pin", parts: "account_token replaces"},
	{apply: func(p *profile.Profile, _ string) { p.DropPending(7) }, members: "_pending_pin _cancelled_pin"},
	{apply: func(p *profile.Profile, value string) { p.SetHomeUser(8, value, 9) }, members: "_cloud username _home_user account_id", isRelative: true},
	{apply: func(p *profile.Profile, value string) {
		p.SetServer("http://"+value, profile.OwnedServer{MachineID: "m1", Owner: 9})
	}, members: "server_url machine_id account_id pms_token pms_token_server _server_account _jwt_server", isRelative: true},
	{apply: func(p *profile.Profile, value string) { p.NoteWrongPIN(value, time.Unix(1e9, 0)) }, members: "_home_pin_tries", isRelative: true},
}

// oddlySpelled has all members of a profile, in spellings that plexauth would not write.
const oddlySpelled = `{"x":1.0,"server_url":" http://box/","client_id":"app ","account_token":" TEST_a","pms_token":" TEST_s","pms_token_server":"http://box ","machine_id":7e0,"y":[1, {"z":"\u00e9"}],` +
	`"account_id":"12.0","username":null,"home_pin":1234,"verify_ssl":"no","_cloud":{"account_id":"12","bound_to":" ","z":1, "user":[]},"_pending_pin":{"z":1.0,"id":"7","\u0063ode":"ABCD","created":1e9,"expires_at_ms":"9e11"},` +
	`"_next_client_id":7,"device_client_id":"d ","_rejected":"r ","_checked":"1e9","_foreign":" f","_refused_pin":"p ","_cancelled_pin":-5,"server_url_found":" http://box","verify_ssl_server":"http://box ",` +
	`"_server_certificate":" h m u","_jwt_server":"m1","_was":{"cloud_account_id":"3","retired":"yes","z":1},"_home_user":{"id":"8","name":"kid"},"_server_account":"12","_device":{"client_id":"d","kid":"k","x":1,"asked":"1"},` +
	`"_home_pin_tries":{"u":{"wrong":"2","at":1}, "m2":7},"account_token":"TEST_b "}`

// unchanged returns a JSON object without members that may change. Their order and the
// spelling of their names count too.
func unchanged(t *testing.T, raw []byte, members ...string) string {
	o, err := ordered.Parse(raw)
	require.NoError(t, err)
	for _, name := range members {
		o.Delete(name)
	}
	return string(o.Bytes())
}

// member returns a member of a JSON object, or {} if it has none that is an object.
func member(t *testing.T, raw []byte, name string) []byte {
	o, err := ordered.Parse(raw)
	require.NoError(t, err)
	if v := o.Get(name); len(v) > 0 && v[0] == '{' {
		return v
	}
	return []byte(`{}`)
}

// G16: a change of any document leaves all other members byte for byte and in their order,
// also those of plexauth that are spelled in an odd way. It reads as it was written.
func FuzzCodec(f *testing.F) {
	for n := range changes {
		f.Add([]byte(oddlySpelled), uint8(n), "m2", false)
		f.Add([]byte(`{"x":1.0,"instances":{"P0":{"x":1.0},"P1":`+oddlySpelled+`,"P2":7}}`), uint8(n), "m2", true)
	}
	f.Add([]byte(`{"pms_token":"TEST_s","a":0.10,"pms_token":"TEST_t","server_url":"http://box/"}`), uint8(1), "TEST_u", false)
	f.Add([]byte(`{"_pending_pin":{"x":1.0,"id":"7","\u0063ode":"ABCD","created":1e9},"_x":{}}`), uint8(13), "TEST_p", false)
	f.Add([]byte(`{"_pending_pin":{"id":7.0,"account_token":"TEST_a b","y":null},"_was":7}`), uint8(14), "TEST_p", false)
	f.Add([]byte(`{"instances":{"P\u0031":{"_server_account":"12","_jwt_server":"m1"}},"_home_pin_tries":{"u":{"wrong":"2","at":1}}}`), uint8(18), "u", true)
	f.Add([]byte(`{"_device":{"client_id":"d","kid":"k","x":1},"_cancelled_pin":-5,"_checked":1e99,"username":null}`), uint8(10), "", false)
	f.Fuzz(func(t *testing.T, doc []byte, n uint8, value string, isOther bool) {
		c, id := changes[int(n)%len(changes)], profile.DefaultInstance
		if isOther {
			id = "P1"
		}
		value = strings.ToValidUTF8(value, "?") // as all that is stored
		before, err := profile.Parse(doc)
		if err != nil || before == nil {
			return
		}
		d := before.Document()
		c.apply(d.Profile(id), value)
		after, changed := d.Stored()
		if got := after.Bytes(); !changed {
			require.Equal(t, string(doc), string(got))
		} else {
			requireOnly(t, c, doc, got, isOther)
		}
		require.Equal(t, string(doc), string(before.Bytes()))

		again, err := profile.Parse(after.Bytes())
		require.NoError(t, err)
		d = again.Document()
		readAll(d.Profile(id))
		require.False(t, d.Changed(), "what was written reads otherwise: %s", after.Bytes())
		if !c.isRelative {
			c.apply(d.Profile(id), value)
			next, changed := d.Stored()
			require.False(t, changed, "%s then became %s", after.Bytes(), next.Bytes())
		}
	})
}

// requireOnly requires that a document differs from the one before in what c may change.
func requireOnly(t *testing.T, c change, before, after []byte, isOther bool) {
	require.NotEmpty(t, c.members, "%s became %s by reading", before, after)
	members := strings.Fields(c.members)
	if isOther && c.members != "_home_pin_tries" { // those are the default profile's
		require.Equal(t, unchanged(t, before, "instances"), unchanged(t, after, "instances"))
		before, after = member(t, before, "instances"), member(t, after, "instances")
		require.Equal(t, unchanged(t, before, "P1"), unchanged(t, after, "P1"))
		before, after = member(t, before, "P1"), member(t, after, "P1")
	}
	require.Equal(t, unchanged(t, before, members...), unchanged(t, after, members...))
	if c.parts != "" {
		parts := strings.Fields(c.parts)
		require.Equal(t, unchanged(t, member(t, before, members[0]), parts...), unchanged(t, member(t, after, members[0]), parts...))
	}
}
