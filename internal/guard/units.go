package guard

// units cuts an input into units whose size is known when they begin, and skips the bytes
// between. Units are small and never allocated.
type units struct {
	pos  int64 // bytes taken, up to the end of the last unit
	skip int64 // bytes to pass over before the next unit; set by the user
	want int   // size of the next unit, at most len(buf); set by the user

	passed func([]byte) // gets the skipped bytes, if not nil

	have int
	buf  [512]byte
}

// next takes bytes from p. It returns the next unit if p completes it, valid until the next
// call, and the rest of p; otherwise it took all of p and unit is nil.
func (u *units) next(p []byte) (unit, rest []byte) {
	if u.skip > 0 {
		n := min(u.skip, int64(len(p)))
		u.skip -= n
		u.pos += n
		if u.passed != nil {
			u.passed(p[:n])
		}
		p = p[n:]
	}
	if u.have == 0 && len(p) >= u.want {
		u.pos += int64(u.want)
		return p[:u.want], p[u.want:]
	}
	n := copy(u.buf[u.have:u.want], p)
	u.have += n
	u.pos += int64(n)
	if u.have < u.want {
		return nil, nil
	}
	u.have = 0
	return u.buf[:u.want], p[n:]
}

// between says whether the input is exactly before a unit.
func (u *units) between() bool { return u.skip == 0 && u.have == 0 }
