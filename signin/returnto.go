package signin

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

const maxReturnBytes = 1000 // in the cookie

// destination is a place that visitors may be sent to after a sign-in.
type destination struct {
	text   string // as the app or the visitor wrote it
	origin string // "" for this site
	path   string // if it ends in "/", everything below it is allowed too
}

// parseDestinations parses Options.ReturnTo.
func parseDestinations(texts []string) (list []destination, err error) {
	var errs []error
	for _, s := range texts {
		d, err := parseDestination(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("signin: ReturnTo: %w", err))
		}
		list = append(list, d)
	}
	return list, errors.Join(errs...)
}

func parseDestination(s string) (d destination, err error) {
	u, err := url.Parse(s)
	if err != nil || !utf8.ValidString(s) || strings.ContainsFunc(s, isUnsafe) {
		return d, fmt.Errorf("%q is not a path or URL", s)
	}
	if tooLong(s) {
		return d, fmt.Errorf("a path or URL must not be longer than %d bytes", maxReturnBytes)
	}
	switch {
	case u.User != nil:
		return d, errors.New("a URL must not contain a user name")
	case isLocalPath(u, s):
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "":
		d.origin = u.Scheme + "://" + strings.ToLower(u.Host)
	default:
		return d, fmt.Errorf("%q must begin with / or be an http or https URL", s)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if clean := path.Clean(u.Path); u.Path != clean && u.Path != clean+"/" || strings.Contains(u.Path, "\\") {
		return d, errors.New("a path must not contain . or .. or two slashes in a row")
	}
	d.text, d.path = s, u.Path
	return d, nil
}

// isUnsafe reports whether browsers drop c from a URL or read it as "/".
func isUnsafe(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }

// isLocalPath reports whether u, parsed from s, is a path of this site. Browsers read
// "//host" as another site.
func isLocalPath(u *url.URL, s string) bool {
	return u.Scheme == "" && u.Host == "" && strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//")
}

// tooLong reports whether s takes more than maxReturnBytes in the cookie.
func tooLong(s string) bool {
	if len(s) > maxReturnBytes {
		return true
	}
	b, err := marshalCompact(s)
	return err != nil || len(b) > maxReturnBytes+len(`""`)
}

// allows reports whether d, an entry of Options.ReturnTo, allows other.
func (d destination) allows(other destination) bool {
	return d.origin == other.origin && (d.path == other.path || strings.HasSuffix(d.path, "/") && strings.HasPrefix(other.path, d.path))
}

// destination returns where a visitor who asks for s goes after the sign-in. It returns
// false if Options.ReturnTo does not allow s.
func (h *Handler) destination(s string) (to string, ok bool) {
	if s == "" {
		if len(h.returns) > 0 {
			return h.returns[0].text, true
		}
		return "/", true
	}
	want, err := parseDestination(s)
	if err != nil {
		return "", false
	}
	for _, d := range h.returns {
		if d.allows(want) {
			return want.text, true
		}
	}
	return s, len(h.returns) == 0 && s == "/"
}
