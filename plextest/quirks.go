package plextest

import "time"

// Quirks are known or possible variations of plex.tv's answers. The zero value is
// the usual plex.tv. Every client should work with all of them.
type Quirks struct {
	Expire200Null  bool // answer 200 with a null token for an expired PIN, instead of 404 (claimed in a review, 2025)
	ClaimedExpired bool // send an approved PIN with expiresIn 0 and an expiresAt in the past
	ConsumeOnRead  bool // remove a PIN once its token was read (claimed by Bazarr)
	Create200      bool // answer POST pins with 200 instead of 201

	ExpiresIn     *int // send this expiresIn instead of the real one
	OmitExpiresIn bool // omit expiresIn
	OmitDates     bool // omit createdAt and expiresAt

	StringIDs       bool // send numeric ids as JSON strings
	NullOptionals   bool // send null for everything that may be null
	ExtraFields     bool // send additional, unknown members
	OldShape        bool // send PINs as in 2019: no qr, product, newRegistration; dates with milliseconds; a numeric postal code
	OmitErrorStatus bool // omit the status in the error envelope (seen in 2020)
	XMLAlways       bool // answer in XML regardless of Accept
	LongTokens      bool // issue account tokens of 300 characters

	OwnedTokenIsAccountToken bool // list the user's own servers with the account token as accessToken (seen in recordings)

	RefreshEndsJWT bool // end a device's earlier JWT when it gets a new one (not documented)

	// CORS lets scripts of any web page call the API, as plex.tv does. It is off
	// by default, so that a test shows that a client depends on it.
	CORS bool

	// ApprovalDelay is the time from an approval until a GET shows the token. The
	// browser can return to the app before plex.tv has stored the approval.
	ApprovalDelay time.Duration
}

// SetQuirks replaces the quirks for all further requests.
func (s *Server) SetQuirks(q Quirks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quirks = q
}
