//go:build !linux

package tree

import "errors"

// setAttribute sets an attribute of what is in the open folder under a name.
func setAttribute(int, string, attribute) error { return errors.ErrUnsupported }

func dropACL(string) {}

func copyAttributes(string, string) {}
