// Package sibling lets package signin give each visitor a store and share one client
// among all of them.
package sibling

// WithStore returns a *plexauth.PlexAuth over store, which is a plexauth.ConfigStore.
// It shares the client of p, a *plexauth.PlexAuth, and what that knows of the network.
// Package plexauth sets it.
var WithStore func(p, store any) any
