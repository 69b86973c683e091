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

		read := time.Now()
		time.Sleep(time.Second)
		c.Put(&credential.Credential{Read: read}, 1)
		time.Sleep(credential.MaxAge - time.Second)
		assert.Nil(t, c.Get(1), "it is too old, although it was put later")
	})
}

// G9: what no caller asks for is dropped, and not before its time.
func TestCacheIsEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c credential.Cache
		c.Put(&credential.Credential{Read: time.Now()}, 1)
		time.Sleep(time.Second)
		v := &credential.Credential{Read: time.Now()}
		c.Put(v, 2)
		time.Sleep(credential.MaxAge - time.Millisecond)
		assert.Same(t, v, c.Get(2))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		assert.Equal(t, &credential.Cache{}, &c)
	})
}
