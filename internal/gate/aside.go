package gate

import "runtime"

// Aside calls f on a goroutine of its own, and returns when f has. The stack that f needs is
// then free again. A goroutine that calls f itself keeps the stack as long as it lives, which
// matters if thousands wait. A panic of f is the caller's.
func Aside(f func()) {
	done := make(chan struct{})
	end := runtime.Goexit // if f does not return
	go func() {
		defer func() {
			if v := recover(); v != nil {
				end = func() { panic(v) }
			}
			close(done)
		}()
		f()
		end = func() {}
	}()
	<-done
	end()
}
