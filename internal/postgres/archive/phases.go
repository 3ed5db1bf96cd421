package archive

import (
	"strconv"
	"strings"
)

// The phases of what comes after the rows. What is in one of the first two can be made
// at one time: where pg_restore makes everything so, its workers come to wait for each
// other over foreign keys of partitioned tables, for it does not know the locks on their
// partitions.
const (
	indexes = iota // and constraints that are not foreign keys
	foreign        // keys of tables that are not partitioned
	inOrder        // the rest
	phases
)

const (
	noSection = 1
	postData  = 4
)

// phases returns the ids of the entries of each phase, in their order. Comments are of no
// section: pg_restore takes them for one of the entry before them, and so the list has
// nothing of other sections, after which it would pass over the comment on an index.
func (c *Contents) phases() (ids [phases][]int) {
	of := make(map[string]int, len(c.Entries))
	for i := range c.Entries {
		e := &c.Entries[i]
		phase := inOrder
		switch {
		case e.Section != postData:
			continue
		case e.Desc == "INDEX", e.Desc == "CONSTRAINT", e.Desc == "CHECK CONSTRAINT":
			phase = indexes
		case e.Desc == "FK CONSTRAINT" && strings.HasPrefix(e.Defn, "ALTER TABLE ONLY "):
			phase = foreign
		}
		of[strconv.Itoa(e.ID)] = phase
	}
	for again := true; again; { // what needs something later comes later
		again = false
		for i := range c.Entries {
			e := &c.Entries[i]
			id := strconv.Itoa(e.ID)
			if now, is := of[id]; is {
				latest := now
				for _, need := range e.Needs {
					latest = max(latest, of[need])
				}
				if latest > now {
					of[id], again = latest, true
				}
			}
		}
	}
	section := 0
	for i := range c.Entries {
		e := &c.Entries[i]
		phase, is := of[strconv.Itoa(e.ID)]
		if e.Section != noSection {
			section = e.Section
		} else if section == postData {
			phase, is = inOrder, true
		}
		if is {
			ids[phase] = append(ids[phase], e.ID)
		}
	}
	return ids
}
