package store

import (
	"context"
	"errors"
)

// Tee is one file on its way to several stores at once. A store that fails does
// not stop the others.
type Tee []*Copy

// Copy is one of the files of a Tee.
type Copy struct {
	Path string
	Err  error // why it is not there

	w Writer // nil when it could not be begun
}

// NewTee begins, next to the file at path that was begun already or whose store
// failed, one at each of the further paths.
func NewTee(ctx context.Context, st Store, first Writer, fault error, path string, also []string) (Tee, error) {
	all := Tee{{Path: path, w: first, Err: fault}}
	for _, path := range also {
		c := &Copy{Path: path}
		c.w, c.Err = st.Create(ctx, path, Options{Sidecar: true, Parents: true})
		all = append(all, c)
	}
	if ctx.Err() != nil {
		_ = all.Abort()
		return nil, context.Cause(ctx)
	}
	return all, all.fault()
}

// Write fails when no store takes the file any more.
func (t Tee) Write(p []byte) (int, error) {
	for _, c := range t {
		if c.Err != nil {
			continue
		}
		if _, c.Err = c.w.Write(p); c.Err != nil {
			_ = c.w.Abort() // the write's error says more
		}
	}
	return len(p), t.fault()
}

func (t Tee) fault() error {
	var all []error
	for _, c := range t {
		if c.Err == nil {
			return nil
		}
		all = append(all, c.Err)
	}
	return errors.Join(all...)
}

// Commit returns the first of those that succeed; it fails when none does.
func (t Tee) Commit() (first Result, err error) {
	for _, c := range t {
		if c.Err != nil {
			continue
		}
		var r Result
		if r, c.Err = c.w.Commit(); c.Err == nil && first.Path == "" {
			first = r
		}
	}
	return first, t.fault()
}

// Abort takes back those that were not committed.
func (t Tee) Abort() (first error) {
	for _, c := range t {
		if c.w == nil {
			continue
		}
		if err := c.w.Abort(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Beside has each file written with path+suffix.
func (t Tee) Beside(suffix string, content []byte) {
	for _, c := range t {
		if c.w != nil {
			c.w.Beside(suffix, content)
		}
	}
}
