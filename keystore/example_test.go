package keystore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func Example() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "backup.key")
	if err := keystore.WriteFile(path, kek.Generate()); err != nil {
		log.Fatal(err)
	}

	src, err := keystore.Parse("file:" + path)
	if err != nil {
		log.Fatal(err)
	}
	if err := keystore.CheckOutside(src, "/var/backups/takumi"); err != nil {
		log.Fatal(err)
	}
	key, err := src.Load(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer key.Wipe()
	fmt.Println(key, len(key.ID()))
	// Output: [redacted] 16
}
