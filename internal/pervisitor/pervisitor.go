// Package pervisitor lets package signin make a PlexAuth for each visitor, which has a store
// of its own and shares one client, and keep a visitor's login.
package pervisitor

// WithStore returns a *plexauth.PlexAuth over store, which is a plexauth.ConfigStore.
// It shares the client of p, a *plexauth.PlexAuth, and what that knows of the network.
// Package plexauth sets it.
var WithStore func(p, store any) any

// AdoptOver returns a plexauth.AdoptOptions with which Adopt replaces only the token old, a
// plexauth.Token. If another one was saved instead, Adopt returns plexauth.ErrPinSuperseded.
// Package plexauth sets it.
var AdoptOver func(clientID string, old any) any
