package plexauth_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth"
)

func TestCapabilities(t *testing.T) {
	const want = `{"features":{"watchlist":{"read":true,"write":true},"collections":{"read":true,"write":false},"ratings":{"read":true,"write":true,"scale":"1-10"},"watched":{"read":true,"write":true},"liked_lists":{"read":false,"write":false}},"entity_types":["movie","show"]}`
	assert.Equal(t, want, jsonText(plexauth.Capabilities()), "byte for byte")
	w := newWorld(t)
	assert.Equal(t, plexauth.Capabilities(), w.Capabilities())
	plexauth.Capabilities().EntityTypes[0] = "changed"
	assert.Equal(t, want, jsonText(plexauth.Capabilities()), "each caller has a copy")
}

func TestManifest(t *testing.T) {
	const want = `{"name":"PLEX","label":"Plex","flow":"device_pin","fields":[],"actions":{"start":true,"finish":true,"refresh":false,"disconnect":true},"verify_url":"https://plex.tv/pin","notes":"Open Plex, enter the PIN, then click 'Check PIN'."}`
	assert.JSONEq(t, want, jsonText(newWorld(t).Manifest()))
}
