package plextest

import "time"

// Quirks are ways in which plex.tv's answers are known, or feared, to differ.
// The zero value is the ordinary plex.tv. Every client should come through
// all of them.
type Quirks struct {
	Expire200Null  bool // an expired PIN is answered 200 with a null token, not 404 (claimed in a review, 2025)
	ClaimedExpired bool // an approved PIN comes with expiresIn 0 and an expiresAt in the past
	ConsumeOnRead  bool // a token can be read from its PIN once, then the PIN is gone (claimed by Bazarr)
	Create200      bool // POST pins answers 200, not 201

	ExpiresIn     *int // the expiresIn sent, whatever the truth
	OmitExpiresIn bool // no expiresIn
	OmitDates     bool // no createdAt and expiresAt

	StringIDs       bool // numeric ids come as JSON strings
	NullOptionals   bool // everything that may be null is null
	ExtraFields     bool // members that nobody has seen yet
	OldShape        bool // PINs as in 2019: no qr, product, newRegistration; dates with milliseconds; a numeric postal code
	OmitErrorStatus bool // no status in the error envelope (seen in 2020)
	XMLAlways       bool // XML whatever Accept says
	LongTokens      bool // account tokens of 300 characters

	OwnedTokenIsAccountToken bool // the accessToken of one's own servers is the account token (seen in recordings)

	RefreshEndsJWT bool // a new JWT ends the device's earlier one at once (nothing is documented)

	// CORS lets scripts of any web page call the API, as plex.tv does. It is
	// off by default: a client that needs it should be seen to.
	CORS bool

	// ApprovalDelay is how much later than the approval a GET sees it: the
	// browser can be back before plex.tv has stored the answer.
	ApprovalDelay time.Duration
}

// SetQuirks replaces the quirks of all further answers.
func (s *Server) SetQuirks(q Quirks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quirks = q
}
