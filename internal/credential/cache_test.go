package credential_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/credential"
)

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c credential.Cache
		assert.Nil(t, c.Get(0))
		v := &credential.Credential{Read: time.Now()}
		c.Put(v, 1)
		assert.Same(t, v, c.Get(1))
		assert.Nil(t, c.Get(2), "the document was written since")
		time.Sleep(credential.MaxAge - time.Millisecond)
		assert.Same(t, v, c.Get(1))
		time.Sleep(time.Millisecond)
		assert.Nil(t, c.Get(1), "too old")
	})
}
