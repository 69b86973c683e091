// Package pervisitor lets package signin make a PlexAuth for each visitor: each has a store
// of its own, and all share one client.
package pervisitor

// WithStore returns a *plexauth.PlexAuth over store, which is a plexauth.ConfigStore.
// It shares the client of p, a *plexauth.PlexAuth, and what that knows of the network.
// Package plexauth sets it.
var WithStore func(p, store any) any
