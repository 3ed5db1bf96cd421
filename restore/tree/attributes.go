package tree

import (
	"archive/tar"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// attribute is an extended attribute; its value may be any bytes.
type attribute struct{ name, value string }

// unescapeKey undoes what GNU tar does to the names of attributes.
var unescapeKey = strings.NewReplacer("%3D", "=", "%25", "%")

// attributes returns an entry's extended attributes, of star, GNU tar and bsdtar (also
// under its own name), and ACLs as text.
func (x *extractor) attributes(h *tar.Header) []attribute {
	if x.NoXattrs {
		return nil
	}
	found := make(map[string]string)
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "LIBARCHIVE.xattr."); ok {
			name, err := url.PathUnescape(name)
			data, err64 := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err == nil && err64 == nil && isName(name) {
				found[name] = string(data)
			}
		}
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok && isName(name) {
			found[unescapeKey.Replace(name)] = value
		}
	}
	for key, name := range map[string]string{"SCHILY.acl.access": "system.posix_acl_access", "SCHILY.acl.default": "system.posix_acl_default"} {
		text := h.PAXRecords[key]
		if _, known := found[name]; known || text == "" {
			continue
		}
		acl, err := x.owners.parseACL(text)
		if err != nil {
			x.stats.NoAttributes++
			x.once(key, h, "its ACL %q is left out: %w", text, err)
			continue
		}
		found[name] = acl
	}
	var attrs []attribute
	for name, value := range found {
		attrs = append(attrs, attribute{name, value})
	}
	slices.SortFunc(attrs, func(a, b attribute) int { return cmp.Compare(a.name, b.name) })
	return attrs
}

func isName(name string) bool { return name != "" && !strings.Contains(name, "\x00") }

// tags of POSIX ACLs (Linux, posix_acl_xattr.h), and their text without and with a name
const (
	aclUserObj, aclUser   = 0x01, 0x02
	aclGroupObj, aclGroup = 0x04, 0x08
	aclMask, aclOther     = 0x10, 0x20
	aclVersion, aclNobody = 2, 0xffffffff
)

// parseACL converts an ACL's text, as in acl(5), to the kernel's attribute. Entries may
// have a number as a fourth field, as of star and bsdtar.
func (o *owners) parseACL(text string) (string, error) {
	type entry struct {
		tag, perm uint16
		id        uint32
	}
	var entries []entry
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 1 && fields[0] == "" {
			continue
		}
		if len(fields) == 2 { // "other:r-x" and "mask:r-x" of Solaris and star
			fields = []string{fields[0], "", fields[1]}
		}
		if len(fields) < 3 {
			return "", fmt.Errorf("%q is not an entry of an ACL", line)
		}
		e := entry{id: aclNobody}
		for i, c := range "rwx" {
			if strings.ContainsRune(fields[2], c) {
				e.perm |= 4 >> i
			}
		}
		named := fields[1] != ""
		switch kind := fields[0]; {
		case kind == "user" && !named, kind == "u" && !named:
			e.tag = aclUserObj
		case kind == "user", kind == "u":
			e.tag = aclUser
		case kind == "group" && !named, kind == "g" && !named:
			e.tag = aclGroupObj
		case kind == "group", kind == "g":
			e.tag = aclGroup
		case kind == "mask", kind == "m":
			e.tag, named = aclMask, false
		case kind == "other", kind == "o":
			e.tag, named = aclOther, false
		default:
			return "", fmt.Errorf("%q is not an entry of an ACL", line)
		}
		if named {
			number := ""
			if len(fields) > 3 {
				number = fields[3]
			}
			id, err := o.aclID(e.tag, fields[1], number)
			if err != nil {
				return "", err
			}
			e.id = id
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	acl := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	return string(acl), nil
}

func (o *owners) aclID(tag uint16, name, number string) (uint32, error) {
	text := name
	if o == nil || !o.numeric {
		if tag == aclUser {
			if u, err := user.Lookup(name); err == nil {
				text = u.Uid
			}
		} else if g, err := user.LookupGroup(name); err == nil {
			text = g.Gid
		}
	}
	for _, digits := range []string{text, number} {
		if id, err := strconv.ParseUint(digits, 10, 32); err == nil {
			return uint32(id), nil
		}
	}
	return 0, fmt.Errorf("nobody is called %q here", name)
}
