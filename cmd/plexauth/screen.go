package main

import (
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/plexauth/plexauth"
)

// screen shows a login that waits for its approval. On a terminal it counts down and
// follows changes of the window's size; anywhere else it prints plain lines.
//
// It changes no mode of the terminal and never hides the cursor, so that however the
// program ends, the terminal is as it was.
type screen struct {
	term *terminal // nil: plain lines
	out  io.Writer
	err  io.Writer // for notes

	mu   sync.Mutex
	pin  *plexauth.Pin // nil: nothing is shown
	stop chan struct{} // closed to end the countdown
	done chan struct{} // closed when it has ended

	window    windowSize // for which the login was drawn
	above     int        // how many rows of the drawing are above the countdown; 0: something else is
	width     int        // of the widest of these rows
	countdown string     // the last line, "" if it is not there
}

// show shows the PIN until end is called.
func (s *screen) show(pin *plexauth.Pin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pin, s.stop, s.done = pin, make(chan struct{}), make(chan struct{})
	if s.term == nil {
		fmt.Fprintf(s.out, "Open %s\nor enter %s at %s\nWaiting for your approval until %s ...\n", pin.URL(), pin.Code, pin.VerificationURI(), clock(pin.ExpiresAt))
		close(s.done)
		return
	}
	s.draw(s.term.size())
	go s.run()
}

// end ends the countdown and removes its line.
func (s *screen) end() {
	if s.pin == nil {
		return
	}
	close(s.stop)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clearCountdown()
	s.pin = nil
}

// note prints a line, above the countdown if there is one.
func (s *screen) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clearCountdown()
	fmt.Fprintln(s.err, text)
	s.above = 0
	s.countDown()
}

// sizePause is how often the size of the window is asked for.
const sizePause = 250 * time.Millisecond

// run counts down. Once the window has had another size for a moment, it draws everything
// again.
func (s *screen) run() {
	defer close(s.done)
	tick := time.NewTicker(sizePause)
	defer tick.Stop()
	before := s.term.size()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		window := s.term.size()
		s.mu.Lock()
		switch window {
		case s.window:
			s.countDown()
		case before:
			s.erase(window)
			s.draw(window)
		}
		s.mu.Unlock()
		before = window
	}
}

// draw prints the login and begins the countdown. s.mu must be held.
func (s *screen) draw(window windowSize) {
	lines := layout(s.pin, s.term.ink, window)
	s.window, s.above, s.width = window, 0, 0
	for _, l := range lines {
		fmt.Fprintln(s.out, l.styled)
		s.above += rowsOf(l.text, window.cols)
		s.width = max(s.width, min(utf8.RuneCountInString(l.text), window.cols))
	}
	s.countDown()
}

// erase removes what was drawn, or only the countdown if the window has become too narrow
// for the rest: then a terminal may have broken its lines, and moved it. s.mu must be held.
func (s *screen) erase(window windowSize) {
	up := rowsOf(s.countdown, window.cols) - 1
	if s.above > 0 && s.width < window.cols {
		up += s.above
	}
	if up > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA", up)
	}
	s.clearCountdown()
}

// countDown writes the time that is left over the last line. s.mu must be held.
func (s *screen) countDown() {
	if s.term == nil || s.pin == nil {
		return
	}
	left := max(0, time.Until(s.pin.ExpiresAt)).Round(time.Second)
	text := fmt.Sprintf("Waiting for your approval, %d:%02d left. Ctrl-C to stop.", int(left.Minutes()), int(left.Seconds())%60)
	text = text[:min(len(text), s.window.cols-1)]
	if text != s.countdown {
		fmt.Fprintf(s.out, "\r%s\x1b[K", text)
		s.countdown = text
	}
}

// clearCountdown removes the line with the countdown. s.mu must be held.
func (s *screen) clearCountdown() {
	if s.term != nil && s.pin != nil {
		fmt.Fprint(s.out, "\r\x1b[J")
		s.countdown = ""
	}
}
