package gate

// Signal wakes all who wait for it. It takes memory only while someone waits. The zero
// Signal is ready to use. A lock of its owner must be held to use it.
type Signal struct {
	next chan struct{} // closed by the next Send; nil: no one waits
}

// Next returns a channel that is closed by the next Send.
func (s *Signal) Next() <-chan struct{} {
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// Send wakes all who wait.
func (s *Signal) Send() {
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}
