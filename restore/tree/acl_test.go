package tree

import (
	"archive/tar"
	"encoding/hex"
	"slices"
	"testing"
)

// TestACLText: the forms in which archives write an ACL are one, and what is none is
// refused.
func TestACLText(t *testing.T) {
	t.Parallel()
	o := new(owners)
	want, err := o.parseACL("user::rw-,user:7:r-x,group::r--,mask::r-x,other::---")
	// posix_acl_xattr.h: a version, and of each entry its tag, rights and number.
	kernels := "02000000" + "01000600ffffffff" + "0200050007000000" + "04000400ffffffff" + "10000500ffffffff" + "20000000ffffffff"
	if err != nil || hex.EncodeToString([]byte(want)) != kernels {
		t.Fatalf("%x, %v", want, err)
	}
	for _, text := range []string{
		"u::rw-,u:7:r-x,g::r--,m::r-x,o::---",
		"# file: x\nuser::rw-\nuser:7:r-x # effective:r-x\n\ngroup::r--\n  \nmask:r-x\nother:---\n",
		"other::---,mask::r-x,group::r--,user:7:r-x,user::rw-",
		"user::rw-,user:nobody-of-that-name:r-x:7,group::r--,mask::r-x,other::---",
	} {
		if got, err := o.parseACL(text); err != nil || got != want {
			t.Errorf("%q: %x, want %x; %v", text, got, want, err)
		}
	}
	for _, text := range []string{"user", "user::rw-,x", "who::r--", "user:nobody-of-that-name:r--", "who:7:r--", ":7:r--"} {
		if acl, err := o.parseACL(text); err == nil {
			t.Errorf("%q is %x", text, acl)
		}
	}
}

// TestACLNames: a name counts more than the number next to it, unless numbers are asked for.
func TestACLNames(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"user", "group"} {
		for name, tc := range map[string]struct {
			o    *owners
			want string
		}{
			"names":         {new(owners), kind + ":0:r--"},
			"without right": {nil, kind + ":0:r--"},
			"numbers":       {&owners{numeric: true}, kind + ":7:r--"},
		} {
			got, err := tc.o.parseACL(kind + ":root:r--:7")
			if want, _ := tc.o.parseACL(tc.want); err != nil || got != want {
				t.Errorf("%s, %s: %x, want %x, %v", kind, name, got, want, err)
			}
		}
	}
}

// TestAttributeRecords: the records in which archives keep attributes, and what is none.
func TestAttributeRecords(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		records map[string]string
		want    []attribute
	}{
		"star's":               {map[string]string{"SCHILY.xattr.user.b": "1", "SCHILY.xattr.user.a": "\x00", "path": "x"}, []attribute{{"user.a", "\x00"}, {"user.b", "1"}}},
		"escaped by GNU tar":   {map[string]string{"SCHILY.xattr.user.a%3D%25": "1"}, []attribute{{"user.a=%", "1"}}},
		"bsdtar's":             {map[string]string{"LIBARCHIVE.xattr.user.a%20b": "AAE="}, []attribute{{"user.a b", "\x00\x01"}}},
		"both":                 {map[string]string{"LIBARCHIVE.xattr.user.a": "AAE", "SCHILY.xattr.user.a": "1"}, []attribute{{"user.a", "1"}}},
		"malformed":            {map[string]string{"LIBARCHIVE.xattr.user.a": "?", "LIBARCHIVE.xattr.user.%": "AAE", "LIBARCHIVE.xattr.": "AAE", "SCHILY.xattr.": "1", "SCHILY.xattr.a\x00b": "1"}, nil},
		"an ACL of the kernel": {map[string]string{"SCHILY.xattr.system.posix_acl_access": "x", "SCHILY.acl.access": "user::rw-"}, []attribute{{"system.posix_acl_access", "x"}}},
		"a default ACL":        {map[string]string{"SCHILY.acl.default": "other::---"}, []attribute{{"system.posix_acl_default", "\x02\x00\x00\x00\x20\x00\x00\x00\xff\xff\xff\xff"}}},
	} {
		x := &extractor{owners: new(owners)}
		h := &tar.Header{PAXRecords: tc.records}
		if got := x.attributes(h); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if x.NoXattrs = true; len(x.attributes(h)) > 0 {
			t.Errorf("%s: though none are wanted", name)
		}
	}
}

// TestOwners: whom this host knows by name gets it, whatever the number; else the number
// counts, and alone if that is asked for.
func TestOwners(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		numeric bool
		name    string
		want    int
	}{{false, "root", 0}, {true, "root", 7}, {false, "nobody-of-that-name", 7}, {false, "", 7}} {
		o := &owners{tc.numeric, make(map[string]int), make(map[string]int)}
		for range 2 { // the second is remembered
			h := &tar.Header{Uname: tc.name, Gname: tc.name, Uid: 7, Gid: 7}
			if uid, gid := o.uid(h), o.gid(h); uid != tc.want || gid != tc.want {
				t.Errorf("%+v: %d:%d", tc, uid, gid)
			}
		}
	}
}

// TestLocalOfNothing: where nothing was extracted nothing is found.
func TestLocalOfNothing(t *testing.T) {
	t.Parallel()
	if path, found := new(Stats).Local("x"); found {
		t.Errorf("found %q", path)
	}
}
