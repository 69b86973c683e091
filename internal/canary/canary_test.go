package canary_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/canary"
)

// Every encoding of a secret is recognized, also inside other text.
func TestCanariesAreRecognized(t *testing.T) {
	const secret, homePIN = "TEST_canary-0123456789", "HOMEPIN 83951&"
	c := canary.New()
	c.Add("canary", secret)
	c.Add("home PIN", homePIN)
	array, err := json.Marshal([]byte("abc" + secret))
	require.NoError(t, err)
	for name, text := range map[string]string{
		"plain": secret, "quoted": fmt.Sprintf("%q", secret), "hex": fmt.Sprintf("%x", secret), "HEX": fmt.Sprintf("%X", secret),
		"bytes": fmt.Sprint([]byte(secret)), "Go bytes": fmt.Sprintf("%#v", []byte(secret)), "hex dump": hex.Dump([]byte("ab" + secret)),
		"spaced": fmt.Sprintf("% x", secret), "URL": url.Values{"pin": {homePIN}}.Encode(), "path": url.PathEscape(homePIN),
		"base64": base64.StdEncoding.EncodeToString([]byte("a" + secret)), "base64 more": base64.RawURLEncoding.EncodeToString([]byte("ab" + secret)),
		"JSON bytes": string(array),
	} {
		assert.NotEmpty(t, c.Search().In("before "+text+" after", false), name)
	}
	assert.NotEmpty(t, canary.New().Search().In("a token that is not in the set, FAKE_tok-0123456789_", false))
	assert.Empty(t, c.Search().In("nothing to see: TEST_canary-", false))
}
