package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/places"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// newPlace returns the place of all paths that a command is given.
func newPlace() store.Place {
	return places.New(func() (store.Place, error) { return nil, errors.New("s3:// is to come") })
}

// aboutPath wraps an error with what was attempted on path, which the errors of
// a place name already.
func aboutPath(doing, path string, err error) error {
	if strings.Contains(err.Error(), path) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s %s: %w", doing, path, err)
}
