package netaddr

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// IsPlainAddress reports whether u, which was written as raw, says where a server is and
// no more: a web scheme, a host, perhaps a port and a path.
func IsPlainAddress(raw string, u *url.URL) bool {
	return IsWeb(u) && u.Hostname() != "" && utf8.ValidString(u.Host) && u.User == nil &&
		!strings.ContainsAny(raw, "?#\\")
}
