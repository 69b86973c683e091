package signin

// setup is what the app's own setup lacks. A policy that has to refuse every
// visitor for it notes it, so that none of them thinks it is their account.
type setup string

const (
	connection   setup = "it is not connected to Plex yet"
	ownership    setup = "it is connected to a Plex account that does not own its media server"
	serverChoice setup = "no media server has been chosen in it yet"
)

// refuse notes what the app lacks.
func (v Visitor) refuse(lacks setup) {
	if v.lacks != nil { // it is nil in a Visitor that the app has made itself
		*v.lacks = lacks
	}
}
