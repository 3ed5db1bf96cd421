package local_test

import (
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store/local"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
)

func TestFolder(t *testing.T) {
	storetest.Run(t, local.Folder{}, func(t *testing.T) string { return filepath.Join(t.TempDir(), "root") })
}
