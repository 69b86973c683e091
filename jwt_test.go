package plexauth_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// G4: of plex.tv's public keys only what is needed must have its shape.
func TestPublicKeyShapes(t *testing.T) {
	for name, odd := range map[string]map[string]any{
		"kid a number":     {"kid": 7},
		"kid null":         {"kid": nil},
		"use a number":     {"use": 1},
		"use null":         {"use": nil},
		"alg another name": {"alg": "Ed25519"},
		"alg null":         {"alg": nil},
		"key_ops a string": {"key_ops": "verify"},
		"x5c":              {"x5c": []string{"AAAA"}},
		"x5u":              {"x5u": "%%%"},
		"x5t":              {"x5t": "AAAA", "x5t#S256": 7},
		"fields of others": {"n": 5, "e": "AQAB", "y": true, "k": nil},
		"new fields":       {"created_at": "2025", "ext": true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				old := tokenOf(t, w.PlexAuth)
				keys, client := w.tamper(keysPath)
				keys.change = changedKeys(t, odd)
				_, err := w.open(t, client).Refresh(t.Context())
				require.NoError(t, err)
				assert.NotEqual(t, old, tokenOf(t, w.PlexAuth))
			})
		})
	}
}

// What is no key of plex.tv's to verify with is none, and does not stand in the
// way of one.
func TestNoPublicKey(t *testing.T) {
	for name, odd := range map[string]map[string]any{
		"for encryption":      {"use": "enc"},
		"another type":        {"kty": "EC"},
		"another curve":       {"crv": "X25519"},
		"kty null":            {"kty": nil},
		"x cut short":         {"x": "ZMZVfsxQN6j1IJe1V4YdbuBzctrouOXphsGGQ9Oa0u"},
		"x too long":          {"x": "ZMZVfsxQN6j1IJe1V4YdbuBzctrouOXphsGGQ9Oa0ugAAAA"},
		"x a number":          {"x": 7},
		"x in another base":   {"x": "!MZVfsxQN6j1IJe1V4YdbuBzctrouOXphsGGQ9Oa0ug"},
		"another of its name": {"x": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				before := w.doc(t)
				keys, client := w.tamper(keysPath)
				keys.change = changedKeys(t, odd)
				_, err := w.open(t, client).Refresh(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.Equal(t, before, w.doc(t))

				keys.change = func(body []byte) []byte {
					var good, bad struct{ Keys []json.RawMessage }
					require.NoError(t, json.Unmarshal(body, &good))
					require.NoError(t, json.Unmarshal(changedKeys(t, odd)(body), &bad))
					both, err := json.Marshal(map[string]any{"keys": append(append(bad.Keys, good.Keys...), json.RawMessage("7"), json.RawMessage("null"))})
					require.NoError(t, err)
					return both
				}
				time.Sleep(time.Minute)
				_, err = w.open(t, client).Refresh(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// changedKeys sets fields of each key in a set.
func changedKeys(t *testing.T, fields map[string]any) func([]byte) []byte {
	return func(body []byte) []byte {
		var set map[string][]map[string]any
		require.NoError(t, json.Unmarshal(body, &set))
		for _, k := range set["keys"] {
			for name, value := range fields {
				k[name] = value
			}
		}
		body, err := json.Marshal(set)
		require.NoError(t, err)
		return body
	}
}
