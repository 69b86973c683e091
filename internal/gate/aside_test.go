package gate_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/gate"
)

func TestSide(t *testing.T) {
	called := false
	gate.NewSide(func() { called = true }).Call()
	assert.True(t, called)
	assert.PanicsWithValue(t, "of the program", func() { gate.NewSide(func() { panic("of the program") }).Call() })

	ended := make(chan bool)
	go func() {
		defer close(ended)
		gate.NewSide(runtime.Goexit).Call() // as a test's FailNow does
		ended <- true
	}()
	_, went := <-ended
	assert.False(t, went, "the caller ends as well")
}
