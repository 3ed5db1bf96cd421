package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const folder = "../../docs/vectors"

// vector is one published file. docs/vectors/README.md explains the fields.
type vector struct {
	name, expect, comment string
	keys                  []key
	released              digest
	plaintext, rescued    *digest
	chunk                 *int
	identity              string // of age
	identityExpect        string // the class with that identity alone; "" is opens
	service               key    // that a stub of the service of the slot has
	serviceExpect         string // the class with that service alone; "" is opens
	detached, file        []byte
}

// digest is the length and the hash of some bytes.
type digest struct {
	size int
	hash string
}

func digestOf(b []byte) digest {
	sum := sha256.Sum256(b)
	return digest{len(b), hex.EncodeToString(sum[:])}
}

// encode writes the vector as docs/vectors/README.md has it.
func (v *vector) encode() []byte {
	var b bytes.Buffer
	line := func(field string, value any) { fmt.Fprintf(&b, "%s: %v\n", field, value) }
	both := func(field string, d *digest) {
		if d != nil {
			line(field+"-size", d.size)
			line(field+"-sha256", d.hash)
		}
	}
	line("comment", v.comment)
	line("expect", v.expect)
	if v.chunk != nil {
		line("chunk", *v.chunk)
	}
	for _, k := range v.keys {
		line("key", hex.EncodeToString(k))
	}
	if v.identity != "" {
		line("identity", v.identity)
	}
	if v.identityExpect != "" {
		line("identity-expect", v.identityExpect)
	}
	if v.service != nil {
		line("service-key", hex.EncodeToString(v.service))
	}
	if v.serviceExpect != "" {
		line("service-expect", v.serviceExpect)
	}
	both("released", &v.released)
	both("plaintext", v.plaintext)
	both("rescued", v.rescued)
	if v.detached != nil {
		line("detached-size", len(v.detached))
	}
	b.WriteByte('\n')
	b.Write(v.detached)
	b.Write(v.file)
	return b.Bytes()
}

// decode reads a vector, and takes nothing from the recipe it was made from.
func decode(name string, text []byte) (*vector, error) {
	header, rest, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok {
		return nil, errors.New("there is no empty line")
	}
	v := &vector{name: name}
	sizes, hashes := map[string]int{}, map[string]string{}
	for line := range strings.SplitSeq(string(header), "\n") {
		field, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("%q is no field", line)
		}
		what, measure, _ := strings.Cut(field, "-")
		var err error
		switch {
		case field == "comment":
			v.comment = value
		case field == "expect":
			v.expect = value
		case field == "chunk":
			v.chunk = new(int)
			*v.chunk, err = strconv.Atoi(value)
		case field == "key":
			var k key
			k, err = hex.DecodeString(value)
			v.keys = append(v.keys, k)
		case field == "identity":
			v.identity = value
		case field == "identity-expect":
			v.identityExpect = value
		case field == "service-key":
			v.service, err = hex.DecodeString(value)
		case field == "service-expect":
			v.serviceExpect = value
		case measure == "size":
			sizes[what], err = strconv.Atoi(value)
		case measure == "sha256":
			hashes[what] = value
		default:
			err = errors.New("unknown field")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
	}
	if n, ok := sizes["detached"]; ok {
		v.detached, rest = rest[:n], rest[n:]
	}
	v.file = rest
	for what, into := range map[string]**digest{"plaintext": &v.plaintext, "rescued": &v.rescued} {
		if hash, ok := hashes[what]; ok {
			*into = &digest{sizes[what], hash}
		}
	}
	v.released = digest{sizes["released"], hashes["released"]}
	return v, nil
}

// published reads all vectors of docs/vectors.
func published() ([]*vector, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var all []*vector
	for _, entry := range entries {
		if slices.Contains([]string{"README.md", ".gitattributes", signatures}, entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		v, err := decode(entry.Name(), text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		all = append(all, v)
	}
	return all, nil
}
