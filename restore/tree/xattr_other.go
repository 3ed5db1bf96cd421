//go:build !linux

package tree

import "errors"

// setAttribute sets an attribute of a name in the open folder.
func setAttribute(int, string, attribute) error { return errors.ErrUnsupported }

func dropACL(string) {}

func copyAttributes(string, string) {}
