package fail_test

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

func TestOf(t *testing.T) {
	damaged := fail.New(fail.Damaged, "use another copy", "a chunk does not verify")
	for name, tc := range map[string]struct {
		err   error
		class fail.Class
		hint  string
	}{
		"plain":              {errors.New("x"), fail.Failed, ""},
		"a sentinel":         {damaged, fail.Damaged, "use another copy"},
		"wrapped":            {fmt.Errorf("opening: %w", damaged), fail.Damaged, "use another copy"},
		"the outermost wins": {fail.As(fail.Source, "look at the source", fmt.Errorf("x: %w", damaged)), fail.Source, "look at the source"},
		"the first of two":   {errors.Join(errors.New("x"), damaged, fail.Usagef("y")), fail.Damaged, "use another copy"},
		"a full disk":        {&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, fail.Store, fail.StoreHint},
		"no reader":          {fmt.Errorf("x: %w", syscall.EPIPE), fail.Failed, "look why the program that reads the output ended"},
		"a class for errno":  {fail.As(fail.Key, "", syscall.EACCES), fail.Key, ""},
	} {
		if class, hint := fail.Of(tc.err); class != tc.class || hint != tc.hint {
			t.Errorf("%s: %v, %q", name, class, hint)
		}
	}
	if err := fail.As(fail.Key, "hint", nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	if err := fail.As(fail.Key, "", damaged); !errors.Is(err, damaged) || err.Error() != damaged.Error() {
		t.Errorf("a class hides the error: %v", err)
	}
	if class, hint := fail.Inner(damaged, fail.Store, "x"); class != fail.Damaged || hint != "use another copy" {
		t.Errorf("the cause has its own class: %v, %q", class, hint)
	}
	if class, hint := fail.Inner(errors.New("x"), fail.Store, "y"); class != fail.Store || hint != "y" {
		t.Errorf("the cause has no class: %v, %q", class, hint)
	}
}
