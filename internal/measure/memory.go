package measure

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Memory returns the memory statistics of the process after a collection.
func Memory() *runtime.MemStats {
	runtime.GC()
	runtime.GC() // frees what the finalizers of the first one released
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return &m
}

// InUse returns the bytes that heap and stacks occupy after a collection,
// including the unused space between live objects.
func InUse() int64 {
	m := Memory()
	return int64(m.HeapInuse + m.StackInuse)
}

// Resident returns the resident memory of the process in bytes, or 0 if there
// is no /proc.
func Resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm")
	if f := strings.Fields(string(b)); len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// Median returns the middle value of v, or the mean of the two middle values.
func Median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 0 {
		return (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return v[len(v)/2]
}
