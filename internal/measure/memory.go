package measure

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Memory is that of the process after a collection.
func Memory() *runtime.MemStats {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return &m
}

// InUse is the bytes that heap and stacks take up after a collection, the gaps
// between what lives included.
func InUse() int64 {
	m := Memory()
	return int64(m.HeapInuse + m.StackInuse)
}

// Resident is the process's memory as the operating system sees it, in bytes;
// 0 where there is no /proc.
func Resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm")
	if f := strings.Fields(string(b)); len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// Median is the middle of the values, or the mean of the two there.
func Median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 0 {
		return (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return v[len(v)/2]
}
