package registry

import "maps"

// table is a map that does not keep the memory of what was removed. A map by itself never
// shrinks. The zero table is empty.
type table[K comparable, V any] struct {
	m    map[K]V
	most int // entries since m was made
}

func (t *table[K, V]) put(k K, v V) {
	if t.m == nil {
		t.m = map[K]V{}
	}
	t.m[k] = v
	t.most = max(t.most, len(t.m))
}

// large is how many entries a map has had at least that is copied to a smaller one.
const large = 1000

func (t *table[K, V]) remove(k K) {
	delete(t.m, k)
	switch n := len(t.m); {
	case n == 0:
		t.m, t.most = nil, 0
	case t.most >= large && n <= t.most/4:
		smaller := make(map[K]V, n)
		maps.Copy(smaller, t.m)
		t.m, t.most = smaller, n
	}
}
