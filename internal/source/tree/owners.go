package tree

import (
	"os/user"
	"strconv"
	"sync"
)

type owners struct{ users, groups sync.Map }

func (o *owners) user(id int) string {
	return nameOf(&o.users, id, func(text string) string {
		if u, err := user.LookupId(text); err == nil {
			return u.Username
		}
		return ""
	})
}

func (o *owners) group(id int) string {
	return nameOf(&o.groups, id, func(text string) string {
		if g, err := user.LookupGroupId(text); err == nil {
			return g.Name
		}
		return ""
	})
}

// nameOf asks about once for each id. An unknown id is not an error.
func nameOf(known *sync.Map, id int, ask func(string) string) string {
	if text, ok := known.Load(id); ok {
		return text.(string)
	}
	text := ask(strconv.Itoa(id))
	known.Store(id, text)
	return text
}
