package plexauth

// CapabilitiesDocument says what a Plex provider can read and write. It is static, and
// its JSON is the same as CrossWatch's, byte for byte.
type CapabilitiesDocument struct {
	Features struct {
		Watchlist   Feature `json:"watchlist"`
		Collections Feature `json:"collections"`
		Ratings     Feature `json:"ratings"`
		Watched     Feature `json:"watched"`
		LikedLists  Feature `json:"liked_lists"`
	} `json:"features"`
	EntityTypes []string `json:"entity_types"`
}

// Feature says whether a sync tool can read and write one feature at Plex. Ratings have
// a scale.
type Feature struct {
	Read  bool   `json:"read"`
	Write bool   `json:"write"`
	Scale string `json:"scale,omitempty"`
}

// Capabilities returns a new copy of the capabilities document.
func Capabilities() CapabilitiesDocument {
	var d CapabilitiesDocument
	d.Features.Watchlist = Feature{Read: true, Write: true}
	d.Features.Collections = Feature{Read: true}
	d.Features.Ratings = Feature{Read: true, Write: true, Scale: "1-10"}
	d.Features.Watched = Feature{Read: true, Write: true}
	d.EntityTypes = []string{"movie", "show"}
	return d
}

// Capabilities returns a new copy of the capabilities document, for hosts that hold a
// provider.
func (p *PlexAuth) Capabilities() CapabilitiesDocument { return Capabilities() }
