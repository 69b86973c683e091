package gate_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/gate"
)

func TestAside(t *testing.T) {
	called := false
	gate.Aside(func() { called = true })
	assert.True(t, called)
	assert.PanicsWithValue(t, "of the program", func() { gate.Aside(func() { panic("of the program") }) })

	ended := make(chan bool)
	go func() {
		defer close(ended)
		gate.Aside(runtime.Goexit) // as a test's FailNow does
		ended <- true
	}()
	_, went := <-ended
	assert.False(t, went, "the caller ends as well")
}
