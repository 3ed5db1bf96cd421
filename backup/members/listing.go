package members

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Listing is what a script is given of an entry.
type Listing struct {
	Path     string    `json:"path"`
	Type     string    `json:"type"` // file, folder, link, hard link or other
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Mode     string    `json:"mode"`
	UID      int       `json:"uid"`
	GID      int       `json:"gid"`
	Target   string    `json:"target,omitempty"`

	// Where a name is not UTF-8, which JSON can't hold, its bytes.
	PathBytes   []byte `json:"path_base64,omitempty"`
	TargetBytes []byte `json:"target_base64,omitempty"`
}

var listedTypes = map[string]string{"f": "file", "d": "folder", "l": "link", "h": "hard link", "o": "other"}

// Listing describes the entry.
func (e *Entry) Listing() Listing {
	return Listing{e.Name(), listedTypes[e.Type], e.Size, e.Time(), fmt.Sprintf("%04o", e.Mode), e.UID, e.GID, e.Target(), e.Raw, e.RawTo}
}

// Line is the path of the entry on one line, and where it leads if it is a link.
func (e *Entry) Line() string {
	switch e.Type {
	case "l":
		return PathText(e.Name()) + " -> " + PathText(e.Target())
	case "h":
		return PathText(e.Name()) + " = " + PathText(e.Target())
	}
	return PathText(e.Name())
}

// PathText quotes what would not be one line, or not be readable, as it is.
func PathText(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

// Versions numbers the versions of each path, those of the same size, time and target by
// one number: version 1 is the first that is asked for.
type Versions map[string][]string

// Of is the number of an entry.
func (v Versions) Of(e *Entry) int {
	is := fmt.Sprint(e.Type, e.Size, e.MTime, e.Target())
	if !slices.Contains(v[e.Name()], is) {
		v[e.Name()] = append(v[e.Name()], is)
	}
	return slices.Index(v[e.Name()], is) + 1
}

// Change is what a script is told of a path in which two archives differ.
type Change struct {
	Change string   `json:"change"` // added, removed or changed
	Path   string   `json:"path"`
	In     []string `json:"in,omitempty"` // type, size, modified, mode, target
	Before *Listing `json:"before,omitempty"`
	After  *Listing `json:"after,omitempty"`

	line string
}

// Differ describes what [Diff] found.
func Differ(a, b *Entry, in []string) Change {
	c, sign, shown, why := Change{Change: "changed", In: in}, "~", b, ""
	switch {
	case a == nil:
		sign, c.Change = "+", "added"
	case b == nil:
		sign, shown, c.Change = "-", a, "removed"
	default:
		why = fmt.Sprintf(" (%s)", strings.Join(in, ", "))
	}
	c.Path, c.line = shown.Name(), sign+" "+shown.Line()+why
	if a != nil {
		l := a.Listing()
		c.Before = &l
	}
	if b != nil {
		l := b.Listing()
		c.After = &l
	}
	return c
}

// String is the change for a person, as diff writes lines.
func (c Change) String() string { return c.line }
