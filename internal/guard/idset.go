package guard

// idSet is a set of small positive numbers, mostly in runs: each element is a mask of 64 of
// them.
type idSet map[int64]uint64

func (s idSet) add(id int64) bool {
	word, bit := s[id>>6], uint64(1)<<(id&63)
	s[id>>6] = word | bit
	return word&bit == 0
}

func (s idSet) remove(id int64) bool {
	word, bit := s[id>>6], uint64(1)<<(id&63)
	if word&bit == 0 {
		return false
	}
	if word &^= bit; word == 0 {
		delete(s, id>>6)
	} else {
		s[id>>6] = word
	}
	return true
}

// any returns the smallest element of a set that is not empty.
func (s idSet) any() int64 {
	least := int64(1<<63 - 1)
	for word := range s {
		least = min(least, word)
	}
	for id := least << 6; ; id++ {
		if s[least]&(1<<(id&63)) != 0 {
			return id
		}
	}
}
