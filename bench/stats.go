package main

import (
	"fmt"
	"math"
	"slices"
)

// median returns the middle of values, or NaN when there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// spread returns how far values reach to either side of their median, as a part
// of it.
func spread(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	m := median(values)
	return max(slices.Max(values)-m, m-slices.Min(values)) / m
}

// pairwise returns the median of the quotients of what was measured in the same
// round. Whatever else the machine was doing in a round slows both, so the
// quotients vary less than the figures. Rounds that only one of the two has are
// left out.
func pairwise(over, under []float64) float64 {
	var quotients []float64
	for i := range min(len(over), len(under)) {
		quotients = append(quotients, over[i]/under[i])
	}
	return median(quotients)
}

const (
	mib = 1 << 20
	mb  = 1e6
	gb  = 1e9
)

// sizeText prints a size in the binary units that flags take.
func sizeText(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d B", n)
}
