package store

import (
	"context"
	"errors"
)

// Tee writes one file to several stores. A store that fails does not stop the others.
type Tee []*Copy

// Copy is one file of a Tee.
type Copy struct {
	Path string
	Err  error // why it is not there

	w Writer // nil when it could not be begun
}

// NewTee begins a copy at each of the further paths; first was begun already, or failed
// with fault.
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

// Write fails when all stores have failed.
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

// Commit returns the first result; it fails when all stores have failed.
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

// Abort removes the files that were not committed.
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
