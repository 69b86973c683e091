package choice_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// Addresses of the tests' servers: the saved one of BOX, and those that plex.tv lists.
const (
	old    = "https://old.example:32400"
	here   = "https://box.example:32400"
	there  = "https://other.example:32400"
	theirs = "https://shared.example:32400"
)

// network says which machine answers at an address.
type network map[string]string

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	machine := n[r.URL.Scheme+"://"+r.URL.Host]
	if machine == "" {
		return nil, errors.New("nothing there")
	}
	body := `{"MediaContainer":{"machineIdentifier":"` + machine + `"}}`
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// probe probes the candidates of c in n.
func probe(t *testing.T, c *choice.Choice, n network) (found []mediaserver.Address) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := mediaserver.NewProber(plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: n}}))
		defer p.Close()
		found = p.Probe(t.Context(), c.Candidates, c.Expected)
	})
	return found
}

// withToken returns s with another token.
func withToken(s plextv.MediaServer, token string) plextv.MediaServer {
	s.Token, s.OnlyJWT = secret.New(token), false
	return s
}

// onlyJWT returns s, for which plex.tv gives no other token than a JWT.
func onlyJWT(s plextv.MediaServer) plextv.MediaServer {
	s.Token, s.OnlyJWT = secret.Value{}, true
	return s
}

// jwt is an account token of a device key.
var jwt = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA"}`)) + ".e30.c2ln"

// G14: what is missing says why. A choice that does not answer, or that the account may not
// use, does not replace the saved server.
func TestMissing(t *testing.T) {
	box, other, shared := server("BOX", here, true), server("OTHER", there, true), server("SHARED", theirs, false)
	impostor := server("BOX", old, false)
	takesJWT := `{"account_token":"` + jwt + `"` + foundAt + isBox + `,"_jwt_server":"BOX ` + old + `"}`
	for name, c := range map[string]struct {
		document, wanted string
		offers           []plextv.MediaServer
		at               network
		fields           []string
		also             []error // that the last one matches, of the errors below
		nothing          bool    // is to be saved
		entered          bool    // server_url is about an address that a person has entered
	}{
		"the server answers":                  {known(""), "", []plextv.MediaServer{box}, network{here: "BOX"}, nil, nil, false, false},
		"nothing answers":                     {known(""), "", []plextv.MediaServer{box}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, false, false},
		"nothing where it was typed":          {known(typedAt), "", []plextv.MediaServer{box}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, false, false},
		"nothing there, beside a machine":     {known(typedAt + isBox), "", []plextv.MediaServer{box}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, true, false},
		"nothing where another one may be":    {known(foundAt + isBox), "", []plextv.MediaServer{server("OTHER", old, false), box}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, true, false},
		"nothing where it is typed now":       {known(""), "https://new.example", nil, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, false, true},
		"the same, beside a nameless one":     {known(isBox), "https://new.example", []plextv.MediaServer{withToken(server("", here, true), "")}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, false, true},
		"nothing there, beside a server":      {known(foundAt + isBox + ownedBy), "https://new.example", nil, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, true, true},
		"neither a machine nor an address":    {known(""), "UNKNOWN", []plextv.MediaServer{box}, nil, []string{"server_url", "machine_id"}, []error{errNone}, true, true},
		"the chosen one is off":               {known(""), "BOX", []plextv.MediaServer{box}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, false, false},
		"the chosen one, beside a server":     {known(foundAt + isBox + ownedBy), "SHARED", []plextv.MediaServer{box, shared}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, true, false},
		"the chosen one is the saved one":     {known(foundAt + isBox + ownedBy), "BOX", []plextv.MediaServer{box}, nil, []string{"server_url"}, []error{fault.ErrUnavailable}, false, false},
		"another one at the saved address":    {known(foundAt + isBox + ownedBy), "", []plextv.MediaServer{box}, network{old: "OTHER"}, []string{"server_url"}, []error{fault.ErrUnavailable, choice.ErrAnotherServer}, false, false},
		"another one where plex.tv listed it": {known(foundAt + isBox + ownedBy), "", []plextv.MediaServer{box}, network{here: "OTHER"}, []string{"server_url"}, []error{fault.ErrUnavailable}, false, false},
		"a stranger at a typed address":       {known(typedAt), "", []plextv.MediaServer{box}, network{old: "OTHER"}, []string{"machine_id, server token"}, []error{fault.ErrServerToken, choice.ErrNotShared}, true, false},
		"the saved machine of another owner":  {known(typedAt + isBox + ownedBy), "", []plextv.MediaServer{impostor}, network{old: "BOX"}, []string{"machine_id, server token"}, []error{fault.ErrServerToken, choice.ErrNotShared}, true, false},
		"the same, chosen":                    {known(typedAt + isBox + ownedBy), old, []plextv.MediaServer{impostor}, network{old: "BOX"}, nil, nil, false, false},
		"no token":                            {known(""), "", []plextv.MediaServer{withToken(box, "")}, network{here: "BOX"}, []string{"server token"}, []error{fault.ErrServerToken}, false, false},
		"no token for a friend's":             {known(""), "SHARED", []plextv.MediaServer{withToken(shared, "")}, network{theirs: "SHARED"}, []string{"server token"}, []error{fault.ErrServerToken, choice.ErrNotShared}, false, false},
		"only a JWT":                          {known(""), "", []plextv.MediaServer{onlyJWT(box)}, network{here: "BOX"}, []string{"server token"}, []error{fault.ErrServerToken, choice.ErrNeedsLongLived}, false, false},
		"only a JWT, instead of the saved":    {known(foundAt + isBox + bound), "", []plextv.MediaServer{onlyJWT(box)}, network{old: "BOX"}, []string{"server token"}, []error{fault.ErrServerToken, choice.ErrNeedsLongLived}, false, false},
		"a JWT that it takes":                 {takesJWT, "", []plextv.MediaServer{onlyJWT(box)}, network{old: "BOX"}, nil, nil, false, false},
		"a JWT that another one takes":        {takesJWT, "OTHER", []plextv.MediaServer{onlyJWT(other)}, network{there: "OTHER"}, []string{"server token"}, []error{fault.ErrServerToken, choice.ErrNeedsLongLived}, false, false},
		"not even a JWT any more":             {takesJWT, "", []plextv.MediaServer{withToken(box, "")}, network{old: "BOX"}, []string{"server token"}, []error{fault.ErrServerToken}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			search := choice.New(profileOf(t, c.document), c.offers, c.wanted, errNone)
			require.NoError(t, search.Target())
			missing, nothing := search.Found(probe(t, search, c.at))
			assert.Equal(t, c.nothing, nothing)
			var fields []string
			for _, m := range missing {
				fields = append(fields, m.Fields)
			}
			require.Equal(t, c.fields, fields)
			if c.fields == nil {
				return
			}
			last := missing[len(missing)-1].Err
			for _, err := range []error{errNone, fault.ErrUnavailable, fault.ErrServerToken, choice.ErrAnotherServer, choice.ErrNotShared, choice.ErrNeedsLongLived} {
				assert.Equal(t, slices.Contains(c.also, err), errors.Is(last, err), err)
			}
			assert.Equal(t, c.entered, errors.As(missing[0].Err, new(mediaserver.EnteredError)))
		})
	}
}

// answered is what is saved of a server of the account 7 that has answered.
func answered(at, machineID, token string, owner, number int64) string {
	return fmt.Sprintf(`,"server_url":%[1]q,"machine_id":%[2]q,"pms_token":%[3]q,"pms_token_server":%[1]q,"account_id":%[5]d,`+
		`"_server_account":{"account":7,"url":%[1]q,"machine_id":%[2]q,"owner":%[4]d}`, at, machineID, token, owner, number)
}

// foundBy is answered, at an address that plex.tv lists.
func foundBy(at, machineID, token string, owner, number int64) string {
	return answered(at, machineID, token, owner, number) + fmt.Sprintf(`,"server_url_found":%q`, at)
}

// G14, G22: what is saved of what was found. The token for a server is saved only with an
// address at which this server has answered.
func TestSave(t *testing.T) {
	box, other, shared := server("BOX", here, true), server("OTHER", there, true), server("SHARED", theirs, false)
	impostor := server("BOX", "https://impostor.example:32400", false)
	theSaved := foundAt + isBox + ownedBy + bound
	const owner, chosen = `,"account_id":1`, `,"_server_account":{"account":7,"url":"","machine_id":"","owner":0}`
	kid := `,"username":"kid","_home_user":{"id":55,"name":"kid","account":7}`
	for name, c := range map[string]struct {
		document, wanted string
		offers           []plextv.MediaServer
		at               network
		savedTo          string // the document when it is saved, "" if it is the same
		want             string
	}{
		"found":                         {known(""), "", []plextv.MediaServer{box}, network{here: "BOX"}, "", known(foundBy(here, "BOX", "token-of-BOX", 7, 1))},
		"found, an impostor is listed":  {known(""), "", []plextv.MediaServer{withToken(impostor, "not"), box}, network{here: "BOX"}, "", known(foundBy(here, "BOX", "token-of-BOX", 7, 1))},
		"shared":                        {known(""), "SHARED", []plextv.MediaServer{box, shared}, network{theirs: "SHARED"}, "", known(foundBy(theirs, "SHARED", "token-of-SHARED", 99, 7))},
		"typed":                         {known(typedAt), "", []plextv.MediaServer{box}, network{old: "BOX"}, "", known(answered(old, "BOX", "token-of-BOX", 7, 1))},
		"typed, with its certificate":   {known(typedAt + `,"verify_ssl":false`), "", []plextv.MediaServer{box}, network{old: "BOX"}, "", known(answered(old, "BOX", "token-of-BOX", 7, 1) + `,"verify_ssl":false,"verify_ssl_server":"` + old + `"`)},
		"typed, another one than saved": {known(typedAt + isBox), "", []plextv.MediaServer{box, other}, network{old: "OTHER"}, "", known(answered(old, "OTHER", "token-of-OTHER", 7, 1))},
		"typed instead of a found one":  {known(theSaved), "https://new.example", []plextv.MediaServer{box}, network{"https://new.example": "BOX"}, "", known(answered("https://new.example", "BOX", "token-of-BOX", 7, 1))},
		"typed, off":                    {known(typedAt + owner), "", []plextv.MediaServer{box}, nil, "", known(typedAt + owner)},
		"typed, then chosen, there":     {known(typedAt), "BOX", []plextv.MediaServer{box}, network{old: "BOX"}, "", known(answered(old, "BOX", "token-of-BOX", 7, 1))},
		"typed, then chosen, elsewhere": {known(typedAt), "BOX", []plextv.MediaServer{box}, network{here: "BOX"}, "", known(foundBy(here, "BOX", "token-of-BOX", 7, 1))},
		"found again":                   {known(theSaved), "", []plextv.MediaServer{box}, network{old: "BOX"}, "", known(foundBy(old, "BOX", "token-of-BOX", 7, 1))},
		"not found again":               {known(theSaved), "", []plextv.MediaServer{box}, nil, "", known(foundBy(old, "BOX", "token-of-BOX", 7, 1))},
		"another one in its place":      {known(theSaved), "", []plextv.MediaServer{box}, network{old: "OTHER"}, "", known(foundBy(old, "BOX", "old", 7, 1))},
		"no token any more":             {known(theSaved), "", []plextv.MediaServer{withToken(box, "")}, network{old: "BOX"}, "", known(foundBy(old, "BOX", "old", 7, 1))},
		"no token yet, off":             {known(foundAt + isBox + ownedBy), "", []plextv.MediaServer{box}, nil, "", known(foundAt + isBox + ownedBy + owner)},
		"only a machine, off":           {known(isBox), "", []plextv.MediaServer{box}, nil, "", known(isBox + owner + chosen)},
		"chosen, off":                   {known(""), "BOX", []plextv.MediaServer{box}, nil, "", known(isBox + owner + chosen)},
		"typed beside a machine, off":   {known(isBox), "https://new.example", []plextv.MediaServer{box}, nil, "", known(isBox)},
		"after another account's, off":  {strings.Replace(known(theSaved), `"account":7`, `"account":8`, 1), "", []plextv.MediaServer{other}, nil, "", known(`,"server_url":"","machine_id":"OTHER","pms_token":""` + owner + chosen)},
		"account unknown by now":        {unknown(foundAt + isBox + ownedBy), "", []plextv.MediaServer{box}, network{old: "BOX"}, "", unknown(foundBy(old, "BOX", "token-of-BOX", 7, 1))},
		"the account's token":           {known(""), "", []plextv.MediaServer{withToken(box, "t")}, network{here: "BOX"}, "", known(foundBy(here, "BOX", "t", 7, 1))},
		"another login of the account":  {known(""), "", []plextv.MediaServer{box}, network{here: "BOX"}, knownBy("t7", ""), knownBy("t7", foundBy(here, "BOX", "token-of-BOX", 7, 1))},
		"the token has ended with it":   {known(""), "", []plextv.MediaServer{withToken(box, "t")}, network{here: "BOX"}, knownBy("t7", ""), strings.Replace(knownBy("t7", foundBy(here, "BOX", "", 7, 1)), `"pms_token":"","pms_token_server":"`+here+`",`, "", 1)},
		"saved by another process":      {known(""), "", []plextv.MediaServer{box}, network{here: "BOX"}, known(isBox + `,"server_url":"` + here + `"`), known(foundBy(here, "BOX", "token-of-BOX", 7, 1))},
		"another number since":          {known(""), "", []plextv.MediaServer{box}, network{here: "BOX"}, known(`,"account_id":42`), known(foundBy(here, "BOX", "token-of-BOX", 7, 42))},
		"a Home user since":             {known(""), "", []plextv.MediaServer{box}, network{here: "BOX"}, known(kid), strings.Replace(known(kid+foundBy(here, "BOX", "token-of-BOX", 7, 1)), owner, "", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			b := profileOf(t, c.document)
			search := choice.New(b, c.offers, c.wanted, errNone)
			require.NoError(t, search.Target())
			_, nothing := search.Found(probe(t, search, c.at))
			require.False(t, nothing)
			if c.savedTo != "" {
				b = profileOf(t, c.savedTo)
			}
			require.NoError(t, search.Save(b))
			stored, _ := b.Stored()
			assert.JSONEq(t, c.want, string(stored.Bytes()))
		})
	}
}

// G25: the plex.direct certificate that a server shows at another name is saved with it.
func TestSaveCertificate(t *testing.T) {
	b := profileOf(t, known(""))
	search := choice.New(b, []plextv.MediaServer{server("BOX", here, true)}, "", errNone)
	require.NoError(t, search.Target())
	assert.Nil(t, choice.Certificate(b.SavedServer()))
	search.Found([]mediaserver.Address{{URL: here, MachineID: "BOX", OK: true, DirectHash: "hash"}})
	require.NoError(t, search.Save(b))
	assert.Equal(t, mediaserver.DirectOwners{"hash": {"BOX"}}, choice.Certificate(b.SavedServer()))
}

// A refused token means that a friend's server is not shared any more only where plex.tv
// has been asked, and does not list it.
func TestRefused(t *testing.T) {
	box := server("BOX", here, false)
	friends := strings.Replace(ownedBy, `"owner":7`, `"owner":99`, 1)
	refusal := fmt.Errorf("%w: refused", fault.ErrServerToken)
	for name, c := range map[string]struct {
		members   string
		servers   []plextv.MediaServer
		notShared bool
	}{
		"not listed any more":       {foundAt + isBox + friends, []plextv.MediaServer{}, true},
		"listed":                    {foundAt + isBox + friends, []plextv.MediaServer{box}, false},
		"plex.tv was not asked":     {foundAt + isBox + friends, nil, false},
		"the account's own":         {foundAt + isBox + ownedBy, []plextv.MediaServer{}, false},
		"the machine is not known":  {foundAt, []plextv.MediaServer{}, false},
		"the owner is not known":    {foundAt + isBox, []plextv.MediaServer{}, true},
		"another owner's is listed": {foundAt + isBox + friends, []plextv.MediaServer{server("BOX", here, true)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := choice.Refused(signedIn(t, c.members).SavedServer(), c.servers, 7, refusal)
			require.ErrorIs(t, err, refusal)
			assert.Equal(t, c.notShared, errors.Is(err, choice.ErrNotShared))
		})
	}
}

// Another server is at the saved address if it answers there, and is not the expected one.
func TestUnreachable(t *testing.T) {
	saved := signedIn(t, foundAt+isBox+ownedBy).SavedServer()
	for name, c := range map[string]struct {
		found     mediaserver.Address
		isAnother bool
	}{
		"another one":                  {mediaserver.Address{URL: old + "/", MachineID: "OTHER"}, true},
		"another one at another place": {mediaserver.Address{URL: here, MachineID: "OTHER"}, false},
		"the expected one":             {mediaserver.Address{URL: old, MachineID: "BOX", OK: true}, false},
		"none":                         {mediaserver.Address{URL: old}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := choice.Unreachable(saved, []mediaserver.Address{c.found})
			require.ErrorIs(t, err, fault.ErrUnavailable)
			assert.Equal(t, c.isAnother, errors.Is(err, choice.ErrAnotherServer))
		})
	}
}
