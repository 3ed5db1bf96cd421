package store

import "context"

// Replace is to come.
func (Folder) Replace(_ context.Context, path string) (Replacement, error) { panic("to come") }
