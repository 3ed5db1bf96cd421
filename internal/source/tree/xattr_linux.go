package tree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAttributes bounds a file's extended attributes, in bytes: readers hold a header in
// memory, and refuse one above a mebibyte.
const maxAttributes = 900 << 10

// attributesOf returns the extended attributes of an open file, or of a name in the open
// folder fd, by name, without those that a file system makes up. The error is a Problem's
// reason; readable ones come with it.
func attributesOf(fd int, name string) ([]attribute, error) {
	list := func(p []byte) (int, error) { return unix.Flistxattr(fd, p) }
	get := func(attr string, p []byte) (int, error) { return unix.Fgetxattr(fd, attr, p) }
	if name != "" {
		// Nothing else reaches a link without following it.
		path := "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name
		list = func(p []byte) (int, error) { return unix.Llistxattr(path, p) }
		get = func(attr string, p []byte) (int, error) { return unix.Lgetxattr(path, attr, p) }
	}
	names, err := allOf(list)
	if len(names) == 0 || err != nil {
		return nil, attributeFault("", err)
	}
	var attrs []attribute
	var fault error
	total := 0
	for text := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		a := attribute{name: string(text)}
		if !isKept(a.name) {
			continue
		}
		value, err := allOf(func(p []byte) (int, error) { return get(a.name, p) })
		if total += len(a.name) + len(value) + 40; total > maxAttributes {
			return attrs, ErrAttributes
		}
		if err != nil {
			fault = errors.Join(fault, attributeFault(a.name, err))
			continue
		}
		if a.value = string(value); !errors.Is(err, unix.ENODATA) {
			attrs = append(attrs, a)
		}
	}
	slices.SortFunc(attrs, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	return attrs, fault
}

// isKept reports whether an attribute belongs to the file, and is not made up by the file
// system.
func isKept(name string) bool {
	return !strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "system.posix_acl_")
}

func attributeFault(name string, err error) error {
	switch {
	case err == nil, errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EBADF):
		return nil
	case name == "":
		return fmt.Errorf("its extended attributes cannot be read: %w", err)
	}
	return fmt.Errorf("its extended attribute %q cannot be read: %w", name, err)
}

func allOf(get func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		p := make([]byte, n)
		n, err = get(p)
		if err == unix.ERANGE {
			continue // it grew
		}
		return p[:max(n, 0)], err
	}
}
