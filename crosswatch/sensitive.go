package crosswatch

import (
	"slices"
	"strings"
)

// sensitiveNames are the members that CrossWatch encrypts wherever they are.
var sensitiveNames = map[string]bool{
	"api_key": true, "apikey": true, "access_token": true, "refresh_token": true, "client_secret": true,
	"account_token": true, "pms_token": true, "home_pin": true, "session_id": true, "token_hash": true,
	"token_digest": true, "salt": true, "hash": true, "device_code": true, "pending_secret": true,
	"_pending_request_token": true, "_pending_tv_login": true, "_pending_tv_caller": true, "request_token": true,
	"token": true, "auth_key": true, "authkey": true, "password": true, "secret": true, "webhook_secret": true,
	"webhook_url": true,
}

// isSensitive reports whether CrossWatch encrypts a string of Plex's namespace at path: the
// last name decides. Like CrossWatch, it ignores case and white space in names, and empty names.
func isSensitive(path []string) bool {
	for _, name := range slices.Backward(path) {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			return sensitiveNames[name] || strings.HasSuffix(name, "_token")
		}
	}
	return false
}
