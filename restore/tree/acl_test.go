package tree

import "testing"

// TestACLText: the forms in which archives write an ACL are one, and what is none is
// refused.
func TestACLText(t *testing.T) {
	t.Parallel()
	o := new(owners)
	want, err := o.parseACL("user::rw-,user:7:r-x,group::r--,mask::r-x,other::---")
	if err != nil || len(want) != 4+5*8 {
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

// TestLocalOfNothing: where nothing was extracted nothing is found.
func TestLocalOfNothing(t *testing.T) {
	t.Parallel()
	if path, found := new(Stats).Local("x"); found {
		t.Errorf("found %q", path)
	}
}
