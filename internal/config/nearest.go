package config

// Nearest returns the candidate that word most likely stands for: one that is a
// letter or two away, one for a word of four letters or fewer. Two letters that
// changed places are one. It returns "" when there is none.
func Nearest(word string, candidates []string) (nearest string) {
	most := 2
	if len(word) <= 4 {
		most = 1
	}
	for _, c := range candidates {
		if d := distance(word, c); d > 0 && d <= most {
			nearest, most = c, d-1
		}
	}
	return nearest
}

func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
