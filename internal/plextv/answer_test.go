package plextv_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
)

// plexError returns an error as plex.tv writes it.
func plexError(code, message string) string {
	return `{"errors":[{"code":` + code + `,"message":"` + message + `"}]}`
}

const page = "<!DOCTYPE html><html><body>Sign in to the network</body></html>"

// G2, G3: what an error answer means depends on status, body and kind of call. Only
// plex.tv's own word is a verdict; anything else passes.
func TestVerdicts(t *testing.T) {
	rejected := plexError("1001", "User could not be authenticated")
	verdict := func(sentinel error) want { return want{sentinel: sentinel} }
	temporary := want{sentinel: fault.ErrUnavailable, temporary: true}
	refused := want{sentinel: fault.ErrUnavailable}
	for name, tc := range map[string]struct {
		call   string
		status int
		body   string
		want   want
	}{
		"a token is rejected":                     {"account", 401, rejected, verdict(fault.ErrTokenRejected)},
		"a token is rejected without code":        {"account", 401, plexError("0", "x"), verdict(fault.ErrTokenRejected)},
		"a token is rejected in XML":              {"account", 401, `<errors><error code="1001" message="x"/></errors>`, verdict(fault.ErrTokenRejected)},
		"a token is rejected by older parts":      {"account", 422, plexError("1008", "Invalid authentication token."), verdict(fault.ErrTokenRejected)},
		"422 about another thing":                 {"account", 422, plexError("1008", "Something else"), refused},
		"401 with another code":                   {"account", 401, plexError("1031", "x"), refused},
		"401 from a proxy":                        {"account", 401, page, temporary},
		"401 without a body":                      {"account", 401, "", temporary},
		"401 with foreign JSON":                   {"account", 401, `{"error":"unauthorized"}`, temporary},
		"403 of plex.tv":                          {"account", 403, plexError("1009", "x"), refused},
		"403 from a proxy":                        {"account", 403, page, temporary},
		"a JWT has expired":                       {"account", 498, "", verdict(fault.ErrTokenExpired)},
		"408":                                     {"account", 408, plexError("1", "x"), temporary},
		"425":                                     {"account", 425, plexError("1", "x"), temporary},
		"500 of plex.tv":                          {"account", 500, plexError("1", "x"), temporary},
		"502 from a proxy":                        {"account", 502, page, temporary},
		"a redirect in plex.tv's form":            {"account", 302, plexError("1", "x"), temporary},
		"a redirect":                              {"account", 302, "", temporary},
		"429":                                     {"account", 429, "", verdict(fault.ErrRateLimited)},
		"429 from a proxy":                        {"account", 429, page, verdict(fault.ErrRateLimited)},
		"the code of a rate limit":                {"account", 400, plexError("1003", "x"), verdict(fault.ErrRateLimited)},
		"an empty success":                        {"account", 200, "", temporary},
		"a page as a success":                     {"account", 200, page, temporary},
		"an account without a number":             {"account", 200, `{"username":"x"}`, temporary},
		"an account":                              {"account", 200, `{"id":"7"}`, want{success: true}},
		"no token was sent":                       {"create PIN", 401, rejected, want{}},
		"a PIN is refused":                        {"create PIN", 400, plexError("1000", "x"), want{}},
		"498 without a token":                     {"create PIN", 498, plexError("1", "x"), want{}},
		"a PIN from a proxy":                      {"create PIN", 403, page, temporary},
		"a PIN has expired":                       {"check PIN", 404, plexError("1020", "Code not found or expired"), verdict(fault.ErrPinExpired)},
		"a PIN is gone":                           {"check PIN", 410, plexError("1", "x"), verdict(fault.ErrPinExpired)},
		"a proxy says gone":                       {"check PIN", 410, page, temporary},
		"404 with another code":                   {"check PIN", 404, plexError("1002", "x"), want{}},
		"404 from a proxy":                        {"check PIN", 404, page, temporary},
		"422 for a poll":                          {"check PIN", 422, plexError("1", "x"), want{}},
		"422 refuses the device JWT by the clock": {"check device PIN", 422, plexError("1", "x"), temporary},
		"a device PIN has expired":                {"check device PIN", 404, plexError("1020", "x"), verdict(fault.ErrPinExpired)},
		"revoked":                                 {"revoke", 204, "", want{success: true}},
		"revoked, with an empty body":             {"revoke", 200, " ", want{success: true}},
		"revoked before":                          {"revoke", 401, rejected, want{success: true}},
		"revocation: a page":                      {"revoke", 200, page, temporary},
		"revocation: an error as a success":       {"revoke", 200, rejected, temporary},
		"revocation: expired":                     {"revoke", 498, "", verdict(fault.ErrTokenExpired)},
		"a Home PIN is wrong":                     {"switch", 403, plexError("1041", "x"), verdict(fault.ErrHomePin)},
		"a Home PIN is wrong, other parts":        {"switch", 403, plexError("1038", "x"), verdict(fault.ErrHomePin)},
		"a Home PIN is wrong, older parts":        {"switch", 401, plexError("0", "Incorrect PIN"), verdict(fault.ErrHomePin)},
		"a Home PIN is missing":                   {"switch without PIN", 403, plexError("1041", "x"), verdict(fault.ErrHomePin)},
		"a switch with a rejected token":          {"switch", 401, rejected, verdict(fault.ErrTokenRejected)},
		"a refusal of plex.tv's keys":             {"read keys", 404, plexError("1002", "x"), refused},
		"a server refuses the token":              {"server with token", 401, "", verdict(fault.ErrServerToken)},
		"a server refuses the token by its page":  {"server with token", 401, "<html><body><h1>401 Unauthorized</h1></body></html>", verdict(fault.ErrServerToken)},
		"a proxy in front of a server":            {"server with token", 401, page, temporary},
		"403 in front of a server":                {"server with token", 403, "", temporary},
		"a server asked without a token":          {"server", 401, "", temporary},
		"a server that fails":                     {"server", 500, "", temporary},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(reply{status: tc.status, body: tc.body})
			tc.want.check(t, calls[tc.call](t.Context(), c, t))
		})
	}
}

// want is what a call is expected to return.
type want struct {
	success   bool
	sentinel  error // nil: none
	temporary bool
}

// check compares the error of a call with w.
func (w want) check(t *testing.T, err error) {
	t.Helper()
	if w.success {
		require.NoError(t, err)
		return
	}
	f := plextv.FailureIn(err)
	require.NotNil(t, f, "%v", err)
	assert.Equal(t, w.sentinel, f.Sentinel)
	assert.Equal(t, w.temporary, f.Temporary)
	assert.NotContains(t, err.Error(), token.Secret())
	assert.NotContains(t, err.Error(), "<html>")
}

// Both forms of Retry-After are read, an hour at most. A date counts from the Date of the
// answer, not from this machine's clock.
func TestRetryAfter(t *testing.T) {
	const date = "Wed, 01 Jan 2020 12:00:00 GMT"
	for name, tc := range map[string]struct {
		status int
		header http.Header
		want   time.Duration
	}{
		"seconds":                {429, http.Header{"Retry-After": {"7"}}, 7 * time.Second},
		"part of a second":       {429, http.Header{"Retry-After": {" 1.5 "}}, 1500 * time.Millisecond},
		"a date":                 {429, http.Header{"Retry-After": {"Wed, 01 Jan 2020 12:00:09 GMT"}, "Date": {date}}, 9 * time.Second},
		"the first that says so": {429, http.Header{"Retry-After": {"soon", "0", "3"}}, 3 * time.Second},
		"hostile":                {429, http.Header{"Retry-After": {"1e300"}}, time.Hour},
		"a far date":             {429, http.Header{"Retry-After": {"Wed, 01 Jan 2090 12:00:00 GMT"}, "Date": {date}}, time.Hour},
		"a date without Date":    {429, http.Header{"Retry-After": {time.Now().Add(time.Hour + time.Minute).UTC().Format(http.TimeFormat)}}, time.Hour},
		"a past date":            {503, http.Header{"Retry-After": {time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)}}, 0},
		"with 503":               {503, http.Header{"Retry-After": {"9"}}, 9 * time.Second},
		"with 503, nothing":      {503, nil, 0},
		"with 503, a past date":  {503, http.Header{"Retry-After": {"Wed, 01 Jan 2020 11:00:00 GMT"}, "Date": {date}}, 0},
		"with 503, negative":     {503, http.Header{"Retry-After": {"-5"}}, 0},
		"with 503, no number":    {503, http.Header{"Retry-After": {"NaN"}}, 0},
		"with 500 it is ignored": {500, http.Header{"Retry-After": {"9"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(reply{status: tc.status, header: tc.header})
			f := plextv.FailureIn(calls["account"](t.Context(), c, t))
			require.NotNil(t, f)
			assert.Equal(t, tc.want, f.RetryAfter)
		})
	}
}

// G12: after a 429 without a time, the failure says until when no request is sent, and
// the next one is held back without being sent.
func TestRateLimitHoldsRequestsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sent := answering(reply{status: 429}, reply{status: 200, body: `{"id":7}`})
		for range 2 {
			f := plextv.FailureIn(calls["account"](t.Context(), c, t))
			require.NotNil(t, f)
			assert.Equal(t, fault.ErrRateLimited, f.Sentinel)
			assert.Equal(t, plextv.GuessedPause, f.RetryAfter)
		}
		assert.Equal(t, 1, *sent)
		time.Sleep(plextv.GuessedPause)
		assert.NoError(t, calls["account"](t.Context(), c, t))
	})
}

// A read is repeated after a failure that passes, a write only if it certainly had no
// effect.
func TestRetries(t *testing.T) {
	const once = " once" // at the end of a method: no second attempt
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	for name, tc := range map[string]struct {
		method string
		reply  reply
		sent   int
	}{
		"a read, once":                {http.MethodGet + once, reply{status: 500}, 1},
		"a read, 500":                 {http.MethodGet, reply{status: 500}, 3},
		"a read, no answer":           {http.MethodGet, reply{err: io.ErrUnexpectedEOF}, 3},
		"a read, refused":             {http.MethodGet, reply{status: 403, body: plexError("1009", "x")}, 1},
		"a write, 500":                {http.MethodPost, reply{status: 500}, 1},
		"a write, 503":                {http.MethodPost, reply{status: 503}, 3},
		"a write, no answer":          {http.MethodPost, reply{err: io.ErrUnexpectedEOF}, 1},
		"a write, no connection":      {http.MethodPost, reply{err: dial}, 3},
		"a long pause is not waited":  {http.MethodGet, reply{status: 503, header: http.Header{"Retry-After": {"60"}}}, 1},
		"a short pause is waited for": {http.MethodGet, reply{status: 503, header: http.Header{"Retry-After": {"1"}}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				rt := transport(func(req *http.Request) (*http.Response, error) {
					sent++
					return tc.reply.response(req)
				})
				c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}, Retries: 2})
				err := c.Do(t.Context(), &plextv.Call{Op: "ask", Method: strings.TrimSuffix(tc.method, once), URL: c.PlexTV + "/x", Token: token, Once: strings.HasSuffix(tc.method, once)})
				assert.NotNil(t, plextv.FailureIn(err))
				assert.Equal(t, tc.sent, sent)
			})
		})
	}
}

// The state of a media server is read from its answer, for a person.
func TestServerState(t *testing.T) {
	own := http.Header{"X-Plex-Protocol": {"1.0"}}
	for name, tc := range map[string]struct {
		reply reply
		want  plextv.ServerState
	}{
		"starting":               {reply{status: 503, header: own}, plextv.ServerStarting},
		"starting, by its error": {reply{status: 503, body: `<Response code="503" title="Maintenance" status="Tidying"/>`}, plextv.ServerStarting},
		"failing":                {reply{status: 500, header: own}, plextv.ServerFailing},
		"behind a proxy":         {reply{status: 502, body: page}, plextv.ServerBehindProxy},
		"behind Cloudflare":      {reply{status: 522, body: page}, plextv.ServerBehindProxy},
		"something else":         {reply{status: 500, body: page}, plextv.ServerUnknown},
		"a redirect":             {reply{status: 302, header: own}, plextv.ServerUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(tc.reply)
			f := plextv.FailureIn(calls["server"](t.Context(), c, t))
			require.NotNil(t, f)
			assert.Equal(t, tc.want, f.State)
			assert.Equal(t, "the server", f.Where)
		})
	}
}

// RejectsToken recognizes plex.tv's own verdict only.
func TestRejectsToken(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   bool
	}{
		"JSON":               {401, plexError("1001", "x"), true},
		"JSON without code":  {401, `{"errors":[{"message":"x"}]}`, true},
		"a code in a string": {401, plexError(`"1001"`, "x"), true},
		"XML":                {401, `<errors><error code="1001">User could not be authenticated</error></errors>`, true},
		"XML, Response":      {401, `<Response code="401" title="Unauthorized" status="x"/>`, true},
		"422, XML":           {422, `<errors><error>Invalid token</error></errors>`, true},
		"spaces before it":   {401, " \r\n" + plexError("1001", "x"), true},
		"two sets of errors": {401, `{"errors":[{"code":1001}],"errors":5}`, false},
		"XML, another code":  {401, `<errors><error code="1031"/></errors>`, false},
		"XML, cut short":     {401, `<errors><error code="1001">x</error>`, false},
		"XML, no error":      {401, `<errors/>`, false},
		"XML, another thing": {401, `<user><error code="1001">x</error></user>`, false},
		"Response, no code":  {401, `<Response title="Unauthorized"/>`, false},
		"another code":       {401, plexError("1031", "x"), false},
		"another status":     {403, plexError("1001", "x"), false},
		"no errors":          {401, `{"errors":[]}`, false},
		"broken JSON":        {401, `{"errors":[{"code":1001`, false},
		"broken XML":         {401, `<errors><error code="1001"`, false},
		"other XML":          {401, `<user code="401"/>`, false},
		"a page":             {401, page, false},
		"a long page":        {401, strings.Repeat(page, 1000), false},
		"nothing":            {401, " ", false},
	} {
		resp, err := reply{status: tc.status, body: tc.body}.response(nil)
		require.NoError(t, err)
		assert.Equal(t, tc.want, plextv.RejectsToken(resp), name)
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, tc.body, string(rest), "the caller reads all of it")
	}
}

// A status may be all that is known of a refusal.
func TestMayRefuseToken(t *testing.T) {
	for status, want := range map[int]bool{200: false, 400: false, 401: true, 403: false, 498: true, 500: false} {
		assert.Equal(t, want, plextv.MayRefuseToken(status), status)
	}
}

// A media server's refusal is told from that of a proxy before it.
func TestServerRefusesToken(t *testing.T) {
	own := http.Header{"X-Plex-Protocol": {"1.0"}}
	for name, tc := range map[string]struct {
		reply reply
		want  error
	}{
		"its own 403":           {reply{status: 403, header: own}, fault.ErrServerToken},
		"its own 401":           {reply{status: 401, header: own, body: page}, fault.ErrServerToken},
		"its own 404":           {reply{status: 404, header: own}, fault.ErrUnavailable},
		"a proxy wants a login": {reply{status: 401, header: http.Header{"Www-Authenticate": {"Basic"}}}, fault.ErrUnavailable},
		"a proxy's 403":         {reply{status: 403}, fault.ErrUnavailable},
	} {
		c, _ := answering(tc.reply)
		assert.ErrorIs(t, calls["server with token"](t.Context(), c, t), tc.want, name)
	}
}

// An error says what came in place of an answer, if a person can do something with that.
func TestMessages(t *testing.T) {
	const html = "an HTML page where JSON was asked for"
	for name, tc := range map[string]struct {
		call    string
		reply   reply
		message string
	}{
		"a page":                   {"account", reply{status: 502, body: page}, html},
		"a page without a doctype": {"account", reply{status: 502, body: "<html><body>x"}, html},
		"a page of a rate limit":   {"account", reply{status: 429, body: page}, ""},
		"nothing":                  {"account", reply{status: 502}, ""},
		"plex.tv's own words":      {"account", reply{status: 403, body: plexError("1009", "Not yours")}, "Not yours"},
		"a proxy before a server":  {"server", reply{status: 502, body: page}, ""},
		"a page of something else": {"server", reply{status: 404, body: page}, html},
		"a server's own words":     {"server", reply{status: 503, body: `<Response code="503" title="Maintenance" status="starting"/>`}, "starting"},
	} {
		c, _ := answering(tc.reply)
		f := plextv.FailureIn(calls[tc.call](t.Context(), c, t))
		require.NotNil(t, f, name)
		assert.Equal(t, tc.message, f.Message, name)
	}
}

// endingWith is a reader that ends with another error than io.EOF.
type endingWith struct {
	io.Reader
	err error
}

func (e endingWith) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF {
		err = e.err
	}
	return n, err
}

// A body is read whole, up to a limit, whatever length it says it has.
func TestLongAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		size int
		end  error
		ok   bool
	}{
		"short":            {100, io.EOF, true},
		"as long as it is": {plextv.MaxBody, io.EOF, true},
		"a byte longer":    {plextv.MaxBody + 1, io.EOF, false},
		"much longer":      {3 * plextv.MaxBody, io.EOF, false},
		"cut short":        {100, io.ErrUnexpectedEOF, false},
	} {
		account := `{"id":7}`
		text := account + strings.Repeat(" ", tc.size-len(account))
		for _, length := range []int64{-1, 0, int64(tc.size), 5, 1 << 40} {
			for _, body := range []io.Reader{strings.NewReader(text), iotest.DataErrReader(strings.NewReader(text))} {
				rt := transport(func(r *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 200, ContentLength: length, Body: io.NopCloser(endingWith{body, tc.end}), Request: r}, nil
				})
				err := calls["account"](t.Context(), plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}}), t)
				assert.Equal(t, tc.ok, err == nil, "%s, %d: %v", name, length, err)
				if tc.size > plextv.MaxBody {
					assert.ErrorContains(t, err, "the answer is too long", "%s, %d", name, length)
				}
			}
		}
	}
}

// A call that needs no content takes any.
func TestAnswerThatIsNotRead(t *testing.T) {
	c, _ := answering(reply{status: 200, body: page})
	q := serverCall(c, token)
	q.Decode = nil
	assert.NoError(t, c.Do(t.Context(), q))
}
