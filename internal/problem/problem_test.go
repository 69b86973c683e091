package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/panel"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/problem"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/words"
)

// sentinels are all those of package fault.
var sentinels = map[string]error{
	"ErrStore": fault.ErrStore, "ErrCorruptConfig": fault.ErrCorruptConfig, "ErrNotConnected": fault.ErrNotConnected,
	"ErrUnavailable": fault.ErrUnavailable, "ErrRateLimited": fault.ErrRateLimited, "ErrTokenRejected": fault.ErrTokenRejected,
	"ErrTokenExpired": fault.ErrTokenExpired, "ErrPinExpired": fault.ErrPinExpired, "ErrPinSuperseded": fault.ErrPinSuperseded,
	"ErrNoPendingPin": fault.ErrNoPendingPin, "ErrAccountMismatch": fault.ErrAccountMismatch, "ErrHomePin": fault.ErrHomePin,
	"ErrServerChoice": fault.ErrServerChoice, "ErrServerToken": fault.ErrServerToken,
}

// answered returns a failure of plex.tv that matches a sentinel.
func answered(sentinel error) *plextv.Failure {
	return &plextv.Failure{Op: "read account", Where: "plex.tv", StatusCode: 400, Sentinel: sentinel}
}

// unreachable returns the error for a media server with what went wrong at its addresses.
func unreachable(causes ...error) error {
	var all []mediaserver.Address
	for _, cause := range causes {
		all = append(all, mediaserver.Address{URL: "http://box:32400", Finding: cause.Error(), Err: cause})
	}
	return mediaserver.Unreachable(all)
}

// inState returns the failure of a media server.
func inState(s plextv.ServerState) error {
	return &plextv.Failure{Op: "probe server", Where: "the server", StatusCode: 503, Sentinel: fault.ErrUnavailable, Temporary: true, State: s}
}

// G11: each error has a text of its own for people, and a kind that docs/web.md names.
func TestEachErrorHasAText(t *testing.T) {
	source, err := os.ReadFile("../fault/fault.go")
	require.NoError(t, err)
	declared := regexp.MustCompile(`(?m)^\t(Err\w+) +=`).FindAllStringSubmatch(string(source), -1)
	require.NotEmpty(t, declared)
	errs := map[string]error{
		"another server": choice.ErrAnotherServer, "changed": profile.ErrChanged, "no such user": plextv.ErrNoSuchUser,
		"not shared":    choice.Refused(profile.SavedServer{MachineID: "BOX"}, []plextv.MediaServer{}, 7, fault.ErrServerToken),
		"a JWT refused": choice.NeedsLongLived(fault.ErrServerToken), "interrupted": context.Canceled,
		"wrong PINs": profile.WrongPINsError{Wait: time.Minute}, "unreachable": unreachable(),
	}
	for _, m := range declared {
		require.Contains(t, sentinels, m[1], "the table of this test is incomplete")
		errs[m[1]] = sentinels[m[1]]
	}
	errs["ErrUnavailable"] = answered(fault.ErrUnavailable) // it always comes with a failure
	page, err := os.ReadFile("../../docs/web.md")
	require.NoError(t, err)
	seen := map[string]string{}
	for name, err := range errs {
		v := problem.Of(fmt.Errorf("plexauth: inspect: %w", err))
		require.NotNil(t, v, name)
		assert.NotEqual(t, panel.Kind("internal"), v.Kind, name)
		assert.Contains(t, string(page), "`"+string(v.Kind)+"`", name)
		assert.GreaterOrEqual(t, v.Status, 400, name)
		assert.Regexp(t, `^(plex\.tv|[A-Z]).*\.$`, v.Message, name)
		assert.Empty(t, seen[v.Message], "%s has the same text", name)
		seen[v.Message] = name
	}
	assert.Equal(t, panel.Kind("internal"), problem.Of(errors.New("x")).Kind)
	assert.Nil(t, problem.Of(nil))
}

// An error that matches several sentinels is told by the one that says what to do.
func TestTheFirstWordingCounts(t *testing.T) {
	for want, err := range map[panel.Kind]error{
		panel.StoreCorrupt:   fmt.Errorf("%w: %w", fault.ErrStore, fault.ErrCorruptConfig),
		panel.Store:          errors.Join(answered(fault.ErrTokenRejected), fault.ErrStore),
		"other_server":       fmt.Errorf("%w: %w", choice.ErrAnotherServer, unreachable(inState(plextv.ServerUnknown))),
		"server_choice":      errors.Join(mediaserver.Entered(unreachable()), fault.ErrServerChoice),
		"server_unreachable": errors.Join(answered(nil), unreachable()),
		"status":             errors.Join(context.Canceled, answered(nil)),
	} {
		assert.Equal(t, want, problem.Of(err).Kind)
	}
}

// The panel says the same about a kind of failure as the errors of plextv.
func TestKindsAgree(t *testing.T) {
	for _, kind := range []plextv.Kind{
		plextv.KindPINExpired, plextv.KindRateLimited, plextv.KindRejected, plextv.KindExpired, plextv.KindDNS, plextv.KindMisdirected, plextv.KindConnect,
		plextv.KindProxy, plextv.KindTLS, plextv.KindTimeout, plextv.KindContent, plextv.KindStatus, plextv.KindRefused,
	} {
		assert.Equal(t, kind.Advice().Message(), words.English.Text("plextv."+string(kind)))
	}
	assert.True(t, strings.HasPrefix(problem.Of(answered(fault.ErrTokenRejected)).Message, plextv.KindRejected.Advice().Problem+"."))
}

// A time that plex.tv names is in the text and in retry_after, rounded up.
func TestRetryAfter(t *testing.T) {
	for pause, want := range map[time.Duration]string{
		0:                              " Try again in a little while.",
		300 * time.Millisecond:         " Try again in one second.",
		1100 * time.Millisecond:        " Try again in 2 seconds.",
		119 * time.Second:              " Try again in 119 seconds.",
		119*time.Second + 1:            " Try again in 2 minutes.",
		121 * time.Second:              " Try again in 3 minutes.",
		time.Hour - time.Second:        " Try again in 60 minutes.",
		20*time.Minute + 1*time.Second: " Try again in 21 minutes.",
	} {
		f := answered(fault.ErrRateLimited)
		f.RetryAfter = pause
		v := problem.Of(f)
		assert.True(t, strings.HasSuffix(v.Message, want), "%q for %s", v.Message, pause)
		assert.Equal(t, 1, strings.Count(v.Message, "Try again"), v.Message)
		assert.GreaterOrEqual(t, time.Duration(v.RetryAfter)*time.Second, pause)
		assert.NotContains(t, problem.Delay(f).Message, "Try again", "the program does")
		assert.Contains(t, problem.Delay(f).Message, "sign-in is still pending")

		v = problem.Of(profile.WrongPINsError{Wait: pause + time.Second})
		assert.GreaterOrEqual(t, time.Duration(v.RetryAfter)*time.Second, pause+time.Second)
		assert.Contains(t, v.Message, "Try again in ")
		assert.GreaterOrEqual(t, time.Duration(problem.StartTooSoon(pause).RetryAfter)*time.Second, pause)
	}
	late := answered(nil)
	late.RetryAfter = time.Minute
	assert.NotContains(t, problem.Of(late).Message, "Try again", "what is refused for good stays refused")
}

// G11: of what a media server's addresses answer, the state that says most is told.
func TestServerStates(t *testing.T) {
	const starting, failing, proxy, unknown = "is starting", "answers with an error", "proxy answers", "does not answer"
	said := map[string]error{
		starting: inState(plextv.ServerStarting), failing: inState(plextv.ServerFailing),
		proxy: inState(plextv.ServerBehindProxy), unknown: &net.OpError{Op: "dial", Err: errors.New("connection refused")},
	}
	for want, causes := range map[string][]string{
		starting: {starting, failing, proxy, unknown},
		failing:  {failing, proxy, unknown},
		proxy:    {proxy, unknown},
		unknown:  {unknown},
	} {
		for shift := range causes { // the order does not matter
			var errs []error
			for i := range causes {
				errs = append(errs, said[causes[(i+shift)%len(causes)]])
			}
			v := problem.Of(unreachable(errs...))
			assert.Contains(t, v.Message, want)
		}
	}
	v := problem.Of(inState(plextv.ServerStarting))
	assert.Equal(t, panel.Kind("server_unreachable"), v.Kind, "at the saved address")
}

// A media server that answers nowhere is told with the best address, by its IP address if
// the name is Plex's.
func TestSilentAddresses(t *testing.T) {
	silent := func(urls ...string) string {
		all := []mediaserver.Address{{URL: "http://10.0.0.9:32400", Finding: "not tried"}}
		for _, u := range urls {
			all = append(all, mediaserver.Address{URL: u, Err: errors.New("silence")})
		}
		v := problem.Of(fmt.Errorf("inspect: %w", mediaserver.Unreachable(all)))
		assert.Equal(t, v.Message, words.English.Say(v.Words))
		first, _, _ := strings.Cut(v.Message, ". ")
		return first
	}
	const box = "https://192-168-1-5.0123456789abcdef0123456789abcdef.plex.direct:32400"
	for want, urls := range map[string][]string{
		"The media server does not answer":                                                  {},
		"The media server does not answer at 192.168.1.5:32400":                             {box, "http://192.168.1.5:32400"},
		"The media server does not answer at nas:32400":                                     {"http://nas:32400"},
		"The media server does not answer at [fd00::1]:32400":                               {"http://[fd00::1]:32400"},
		"The media server does not answer at plex.example":                                  {"https://plex.example/"},
		"The media server does not answer at 192.168.1.5:32400, nor at its other addresses": {box, "http://192.168.1.6:32400", box},
		"The media server does not answer at [2001:db8::5]:443, nor at its other addresses": {"https://2001-db8--5.0123456789abcdef0123456789abcdef.plex.direct", "http://nas"},
	} {
		assert.Equal(t, want, silent(urls...))
	}
}

// G14: no one can use the panel to find out what listens where in its network.
func TestWithoutFindings(t *testing.T) {
	slow := answered(fault.ErrRateLimited)
	slow.RetryAfter = time.Minute
	var first string
	for _, cause := range []error{
		&net.OpError{Op: "dial", Err: errors.New("connection refused")}, &net.DNSError{Err: "no such host"}, context.DeadlineExceeded,
		fault.ErrServerToken, slow, inState(plextv.ServerStarting), inState(plextv.ServerFailing), inState(plextv.ServerBehindProxy),
	} {
		v := problem.WithoutFindings(mediaserver.Entered(unreachable(cause)))
		assert.Equal(t, http.StatusBadGateway, v.Status)
		assert.Contains(t, v.Detail, "http://box:32400", "what the person has entered")
		text, err := json.Marshal(v)
		require.NoError(t, err)
		if first == "" {
			first = string(text)
		}
		assert.Equal(t, first, string(text), "%v shows", cause)
	}
}

// The detail is the text of the error as one line, except where that may hold a token.
func TestDetail(t *testing.T) {
	assert.Equal(t, "the disk is full", problem.Of(errors.New("plexauth: the disk\nis full")).Detail)
	assert.Equal(t, "why", problem.NotRevoked("why").Detail)
	assert.Empty(t, problem.NotSaved().Detail)
}

// Only what may pass by itself says to try again, and so does nothing else.
func TestOnlyWhatPassesSaysToTryAgain(t *testing.T) {
	for name, err := range sentinels {
		if name != "ErrUnavailable" { // it says so for some kinds of failure
			assert.Equal(t, name == "ErrRateLimited", strings.Contains(problem.Of(err).Message, "Try again in a little while"), name)
		}
	}
	for _, err := range []error{
		plextv.ErrNoSuchUser, unreachable(inState(plextv.ServerStarting)), inState(plextv.ServerFailing), context.Canceled, context.DeadlineExceeded, errors.New("odd"),
	} {
		assert.NotContains(t, problem.Of(err).Message, "Try again in a little while", "%v", err)
	}
}

// A login whose context has ended was interrupted, whichever way that was.
func TestInterrupted(t *testing.T) {
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		v := problem.Of(fmt.Errorf("read: %w", err))
		assert.Equal(t, panel.Stopped, v.Kind)
		assert.Equal(t, http.StatusServiceUnavailable, v.Status)
	}
}

// What is not about an address keeps its message, and shows no address.
func TestWithoutFindingsOfOtherErrors(t *testing.T) {
	v := problem.WithoutFindings(fault.ErrRateLimited)
	assert.Equal(t, problem.Of(fault.ErrRateLimited).Message, v.Message)
}
