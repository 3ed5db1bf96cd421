package tree

import (
	"encoding/hex"
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
	for _, text := range []string{"user", "user::rw-,x", "who::r--", "user:nobody-of-that-name:r--", "who:7:r--"} {
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

// TestLocalOfNothing: where nothing was extracted nothing is found.
func TestLocalOfNothing(t *testing.T) {
	t.Parallel()
	if path, found := new(Stats).Local("x"); found {
		t.Errorf("found %q", path)
	}
}
