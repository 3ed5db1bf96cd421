package tree

import (
	"archive/tar"
	"os"
	"os/user"
	"strconv"
)

// owners maps owners. It is nil without the right to give files away.
type owners struct {
	numeric       bool
	users, groups map[string]int // by name; -1: not known here
}

func newOwners(numeric bool) *owners {
	if os.Geteuid() != 0 {
		return nil
	}
	return &owners{numeric, make(map[string]int), make(map[string]int)}
}

// uid prefers the name: another machine may number its users differently.
func (o *owners) uid(h *tar.Header) int {
	return o.id(o.users, h.Uname, h.Uid, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

func (o *owners) gid(h *tar.Header) int {
	return o.id(o.groups, h.Gname, h.Gid, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
}

func (o *owners) id(known map[string]int, name string, number int, ask func(string) (string, error)) int {
	if o.numeric || name == "" {
		return number
	}
	id, ok := known[name]
	if !ok {
		id = -1
		if text, err := ask(name); err == nil {
			if n, err := strconv.Atoi(text); err == nil {
				id = n
			}
		}
		known[name] = id
	}
	if id < 0 {
		return number
	}
	return id
}
