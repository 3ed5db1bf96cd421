//go:build !linux

package harden

import "errors"

// Nice is for Linux alone.
func Nice(int, string) error {
	return errors.New("lowering the priority: this system is not Linux; start the program with nice")
}
