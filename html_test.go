package plexauth_test

import (
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// The fragment has the elements that a host such as CrossWatch looks for, and nothing
// that a strict policy refuses.
func TestHTML(t *testing.T) {
	fragment := plexauth.HTML()
	for _, id := range []string{
		"sec-plex",
		"plex_pin", "btn-connect-plex", "btn-plex-cancel", "btn-plex-restart", "btn-delete-plex", "plex_msg", "plex_msg_detail",
		"plex_qc_state", "plex_qc_code", "plex_qc_copy", "plex_qc_help", "plex_qc_status", "plex_qc_timer",
		"plex_server_url", "plex_server_suggestions", "plex_verify_ssl",
		"plex_username", "plex_account_id", "plex_home_pin", "plex_user_pick_btn", "btn-plex-auto",
	} {
		assert.Equal(t, 1, strings.Count(fragment, `id="`+id+`"`), id)
	}
	for _, part := range []string{
		`data-toggle-section="sec-plex"`, `class="cw-meta-provider-panel active" data-provider="plex"`, `class="cw-panel-head"`,
		`class="cw-subtile active" data-sub="auth"`, `data-sub="settings"`, `class="cw-subpanel active" data-sub="auth"`, `class="inline"`, "userpick",
		`list="plex_server_suggestions"`, `<output id="plex_qc_code">----</output>`, `data-lpignore="true" data-1p-ignore data-bwignore`,
	} {
		assert.Contains(t, fragment, part)
	}
	for _, forbidden := range []string{"<script", "<style", " style=", " onclick=", "javascript:", "<link", "<iframe"} {
		assert.NotContains(t, fragment, forbidden)
	}
	for _, form := range []string{"<form", `type="submit"`} { // a host's own may be around it, and forms do not nest
		assert.NotContains(t, fragment, form)
	}
	assert.NotRegexp(t, `\bsrc="`, fragment, "nothing is loaded before the panel knows from where")
	balanced(t, fragment)
}

// An element that a host's script may show is hidden by the class alone, since the
// script knows nothing else. All others are visible from the start.
func TestHTMLHidesByClass(t *testing.T) {
	hidden := map[string]bool{}
	for _, tag := range regexp.MustCompile(`<[a-z][^<>]*>`).FindAllString(plexauth.HTML(), -1) {
		id := regexp.MustCompile(`\bid="([^"]*)"`).FindStringSubmatch(tag)
		byClass := regexp.MustCompile(`\bclass="(|[^"]* )hidden[ "]`).MatchString(tag)
		byAttribute := regexp.MustCompile(`\shidden[\s=>]`).MatchString(tag)
		assert.False(t, byClass && byAttribute, tag)
		if id != nil {
			assert.False(t, byAttribute, tag)
			hidden[id[1]] = byClass
		}
	}
	for id, want := range map[string]bool{
		"plex_qc_state": true, "btn-plex-cancel": true, "btn-plex-restart": true, "plex_msg": true, "plex_msg_detail": true,
		"btn-connect-plex": false, "btn-delete-plex": false, "btn-plex-auto": false, "plex_server_url": false, "plex_user_pick_btn": false,
	} {
		assert.Equal(t, want, hidden[id], id)
	}
}

// balanced asserts that every element is closed where it should be.
func balanced(t *testing.T, fragment string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader("<x>" + fragment + "</x>"))
	d.Strict, d.AutoClose, d.Entity = false, []string{"input", "img"}, xml.HTMLEntity
	for {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
	}
}
