package profile

import (
	"regexp"
	"strings"

	"github.com/plexauth/plexauth/internal/secret"
)

// fieldsWithSecret matches the keys under which a secret is stored. The id and the code of
// a PIN together give access to its token.
const fieldsWithSecret = `(?:` + keyAccountToken + `|` + keyServerToken + `|` + keyHomePIN + `|secret|id|code)`

var (
	storedSecret = regexp.MustCompile(`"` + fieldsWithSecret + `"\s*:\s*(?:"((?:[^"\\]|\\.){4,})|([^"\\,}\s]{4,}))`)
	// quotedSecret also matches in a document that is quoted as a Go string.
	quotedSecret = regexp.MustCompile(`(\\*"` + fieldsWithSecret + `\\*"\s*:\s*)(?:(\\*")[^"\\]+|[^"\\,}\s]+)`)
)

// SecretsIn returns the text of the secrets in a document, which may be damaged. Texts of
// less than four characters are left out: they would be found everywhere.
func SecretsIn(document []byte) (texts []string) {
	for _, m := range storedSecret.FindAllSubmatch(document, -1) {
		text := string(m[1]) + string(m[2]) // quoted or not: one of them is empty
		texts = append(texts, text)
		if end := strings.IndexAny(text, ",} \t\r\n"); end >= 4 { // if the quote that should follow is missing
			texts = append(texts, text[:end])
		}
	}
	return texts
}

// RedactQuoted replaces the secrets in a text that may quote a document, or a part of it.
func RedactQuoted(text string) string {
	return quotedSecret.ReplaceAllString(text, "${1}${2}"+secret.Redacted)
}
