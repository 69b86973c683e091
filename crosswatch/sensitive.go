package crosswatch

import "strings"

// sensitiveNames are the members that CrossWatch encrypts wherever they are.
var sensitiveNames = map[string]bool{
	"api_key": true, "apikey": true, "access_token": true, "refresh_token": true, "client_secret": true,
	"account_token": true, "pms_token": true, "home_pin": true, "session_id": true, "token_hash": true,
	"token_digest": true, "salt": true, "hash": true, "device_code": true, "pending_secret": true,
	"_pending_request_token": true, "_pending_tv_login": true, "_pending_tv_caller": true, "request_token": true,
	"token": true, "auth_key": true, "authkey": true, "password": true, "secret": true, "webhook_secret": true,
	"webhook_url": true,
}

// webhookURLs are the members that CrossWatch encrypts only in scheduling.webhooks.
var webhookURLs = map[string]bool{
	"url": true, "default_url": true, "base_url": true, "healthchecks_base_url": true,
	"start_url": true, "success_url": true, "failure_url": true,
}

// isSensitive reports whether CrossWatch encrypts a string at path. Like CrossWatch, it
// ignores case and white space in names.
func isSensitive(path []string) bool {
	var p []string
	for _, name := range path {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			p = append(p, name)
		}
	}
	if len(p) == 0 {
		return false
	}
	leaf := p[len(p)-1]
	if len(p) >= 2 && p[0] == "security" && p[1] == "webhook_ids" {
		return true
	}
	if len(p) >= 3 && p[0] == "scheduling" && p[1] == "webhooks" && webhookURLs[leaf] {
		return true
	}
	return sensitiveNames[leaf] || strings.HasSuffix(leaf, "_token")
}
