package vectors

import (
	"fmt"
	"slices"
)

// The classes: docs/FORMAT.md explains them, and no others exist.
const (
	opens     = "opens"
	notSealed = "not-sealed"
	newer     = "newer"
	malformed = "malformed"
	truncated = "truncated"
	wrongKey  = "wrong-key"
	damaged   = "damaged"
	altered   = "altered"
	trailing  = "trailing"
	unpack    = "unpack"
)

// exitCodes are those of the program and of scripts/recover.py.
var exitCodes = map[string]int{opens: 0, newer: 1, wrongKey: 4, notSealed: 5, malformed: 5, truncated: 5, damaged: 5, altered: 5, trailing: 5, unpack: 5}

// recipe says how a vector is made, and what must come of it.
type recipe struct {
	name, expect, comment string
	keys                  []key         // that are offered; keyA when there are none
	make                  func(*file)   // what is special before sealing
	spoil                 func(*sealed) // what is done to it afterwards
	chunk                 *int          // the payload fails at this chunk; what is before it is released
	identity              string        // of age, that is offered alone, beside what else is tried
	identityExpect        string        // what comes of that; opens when it is ""
	service               key           // that a service keeps, which is asked alone, beside what else is tried
	serviceExpect         string        // what comes of that; opens when it is ""
	rescued               bool          // a rescue opens it, as it does whatever is altered
}

func at(chunk int) *int { return &chunk }

// recipes are all the vectors, in the order of the README.
func recipes() []recipe {
	return slices.Concat(goodOnes(), goodPacked(), badText(), badEnvelopes(), badOpenings(), badPayloads(), badPacked())
}

// vector carries a recipe out.
func (r recipe) vector() *vector {
	f := newFile(r.name)
	if r.make != nil {
		r.make(f)
	}
	s := f.seal()
	if r.spoil != nil {
		r.spoil(s)
	}
	v := &vector{name: r.name, expect: r.expect, comment: r.comment, keys: r.keys, identity: r.identity, identityExpect: r.identityExpect, service: r.service, serviceExpect: r.serviceExpect,
		file: slices.Concat(s.envelope, s.payload), detached: s.detached, chunk: r.chunk}
	if v.keys == nil {
		v.keys = []key{keyA}
	}
	whole := digestOf(f.packed)
	switch {
	case r.chunk != nil:
		v.released = digestOf(f.packed[:*r.chunk*chunkSize])
	case r.expect == opens || r.expect == unpack:
		v.released = whole
	case r.expect == trailing:
		// The final chunk cannot be told from what follows it: full ones alone get out.
		v.released = digestOf(f.packed[:len(f.packed)/chunkSize*chunkSize])
	default:
		v.released = digestOf(nil)
	}
	if r.expect == opens {
		plain := digestOf(f.plain)
		v.plaintext = &plain
	}
	if r.rescued || r.expect == altered {
		v.rescued = &whole
	}
	return v
}

// change is a spoil that replaces a piece of the envelope's text.
func change(old, new string) func(*sealed) {
	return func(s *sealed) { s.edit(old, new) }
}

// set is a make for one field.
func set(field, value string) func(*file) {
	return func(f *file) {
		switch field {
		case "id":
			f.id = value
		case "created":
			f.created = value
		case "kind":
			f.kind = value
		case "name":
			f.name = value
		case "codec":
			f.codec = value
		default:
			panic(fmt.Sprintf("no field %q", field))
		}
	}
}

// addSlot is a make that puts a line behind the slot of keyA.
func addSlot(line string) func(*file) {
	return func(f *file) { f.slots = append(f.slots, line) }
}

// onlySlot is a make that leaves one line, whatever it is, of the slots.
func onlySlot(line func(f *file) string) func(*file) {
	return func(f *file) { f.slots = []string{line(f)} }
}

// packs is a make for a codec and what it packed.
func packs(codec, packed, plain string) func(*file) {
	return func(f *file) { f.codec, f.packed, f.plain = codec, []byte(packed), []byte(plain) }
}

func filled(n int) func(*file) { return func(f *file) { f.fill(n) } }
