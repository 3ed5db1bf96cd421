package storetest_test

import (
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/testkit/store"
)

func TestFolder(t *testing.T) {
	storetest.Run(t, store.Folder{}, func(t *testing.T) string { return filepath.Join(t.TempDir(), "root") })
}
