package plexauth

// CapabilitiesDocument says what a Plex provider can read and write. It is
// static; its JSON is CrossWatch's, byte for byte.
type CapabilitiesDocument struct {
	Features    Features `json:"features"`
	EntityTypes []string `json:"entity_types"`
}

// Features lists the features of a [CapabilitiesDocument].
type Features struct {
	Watchlist   Feature `json:"watchlist"`
	Collections Feature `json:"collections"`
	Ratings     Feature `json:"ratings"`
	Watched     Feature `json:"watched"`
	LikedLists  Feature `json:"liked_lists"`
}

// Feature says whether one feature can be read and written, and, for ratings,
// on which scale.
type Feature struct {
	Read  bool   `json:"read"`
	Write bool   `json:"write"`
	Scale string `json:"scale,omitempty"`
}

// Capabilities returns the static capabilities document, a new copy each time.
func Capabilities() CapabilitiesDocument {
	return CapabilitiesDocument{
		Features: Features{
			Watchlist:   Feature{Read: true, Write: true},
			Collections: Feature{Read: true},
			Ratings:     Feature{Read: true, Write: true, Scale: "1-10"},
			Watched:     Feature{Read: true, Write: true},
		},
		EntityTypes: []string{"movie", "show"},
	}
}

// Capabilities returns what the function [Capabilities] returns, for hosts
// that hold a provider.
func (p *PlexAuth) Capabilities() CapabilitiesDocument { return Capabilities() }
