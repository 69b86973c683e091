package gate

import "runtime"

// Side calls a function on a goroutine of its own, again and again. The stack that the function
// needs is then free again. A goroutine that calls the function itself keeps the stack as long as
// it lives, which matters if thousands wait. A Call does not allocate, because that needs stack,
// too. A Side is for one caller at a time.
type Side struct {
	run      func()
	done     chan struct{} // a call has ended
	returned bool
	panicked any
}

// NewSide returns a Side that calls f.
func NewSide(f func()) *Side {
	s := &Side{done: make(chan struct{})}
	s.run = func() {
		defer func() {
			s.panicked = recover()
			s.done <- struct{}{}
		}()
		f()
		s.returned = true
	}
	return s
}

// Call calls the function, and returns when it has. A panic of the function is the caller's.
func (s *Side) Call() {
	s.returned = false
	go s.run()
	<-s.done
	switch {
	case s.panicked != nil:
		panic(s.panicked)
	case !s.returned:
		runtime.Goexit()
	}
}
