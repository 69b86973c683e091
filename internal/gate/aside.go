package gate

import "runtime"

// Aside calls f on a goroutine of its own, and returns when f has. The stack that f needs
// is then free again. A goroutine that calls f itself keeps the stack as long as it lives,
// which matters if thousands wait. A panic of f is the caller's.
func Aside(f func()) {
	var panicked any
	returned, done := false, make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		f()
		returned = true
	}()
	<-done
	switch {
	case panicked != nil:
		panic(panicked)
	case !returned:
		runtime.Goexit()
	}
}
