package signin

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

const longestReturn = 1000 // bytes as they stand in the cookie

// destination is a place that visitors may be sent to: a path of this site, or
// an absolute URL.
type destination struct {
	text   string
	origin string // "" is this site
	path   string // one that ends in "/" stands for all below it
}

func parseDestination(s string) (d destination, err error) {
	u, err := url.Parse(s)
	switch {
	case err != nil, !utf8.ValidString(s), strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }):
		return d, fmt.Errorf("%q is not a path or URL", s)
	case tooLong(s):
		return d, fmt.Errorf("a path or URL must not be longer than %d bytes", longestReturn)
	case u.User != nil || u.Opaque != "":
		return d, fmt.Errorf("%q must be a path or an http or https URL", s)
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//"):
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "":
		d.origin = u.Scheme + "://" + strings.ToLower(u.Host)
	default:
		return d, fmt.Errorf("%q must begin with / or be an http or https URL", s)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if clean := path.Clean(u.Path); u.Path != clean && u.Path != clean+"/" || strings.Contains(u.Path, "\\") {
		return d, errors.New("a path must not have . or .. in it, nor two slashes together")
	}
	d.text, d.path = s, u.Path
	return d, nil
}

// tooLong reports whether s would take more of the cookie than it may.
func tooLong(s string) bool {
	if len(s) > longestReturn {
		return true
	}
	b, err := compact(s)
	return err != nil || len(b) > longestReturn+len(`""`)
}

// allows reports whether a visitor who may be sent to d may be sent to other.
func (d destination) allows(other destination) bool {
	return d.origin == other.origin && (d.path == other.path || strings.HasSuffix(d.path, "/") && strings.HasPrefix(other.path, d.path))
}

// destination returns where a visitor who asks for s is to be sent, and false
// if that is not allowed.
func (h *Handler) destination(s string) (string, bool) {
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
