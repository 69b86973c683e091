package profile

import "time"

// ClaimCheck notes that this process asks plex.tv about the token at the time now, unless
// another process has done so since the profile was read with seen as its Checked.
func (p *Profile) ClaimCheck(seen, now time.Time) (claimed bool) {
	if p.CheckToken() != nil || !p.Checked.Equal(seen) {
		return false
	}
	p.Checked = now.Truncate(time.Second)
	return true
}

// UnclaimCheck takes back a ClaimCheck with the same arguments, after which plex.tv could
// not be asked.
func (p *Profile) UnclaimCheck(seen, now time.Time) {
	if p.Checked.Equal(now.Truncate(time.Second)) {
		p.Checked = seen
	}
}
