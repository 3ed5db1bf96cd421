package history_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

func Example() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	place := keystore.File{Path: filepath.Join(dir, "backup.key")}
	if err := keystore.WriteFile(place.Path, kek.Generate()); err != nil {
		log.Fatal(err)
	}

	h, err := history.Open(filepath.Join(dir, "state"))
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	r, err := history.Rotate(context.Background(), h, place, history.Options{})
	if err != nil {
		log.Fatal(err)
	}
	// One backup is left that was sealed for the former key.
	backups := []history.Backup{{Path: "old.enc", Keys: []kek.ID{r.Old}}}
	for _, j := range h.Judge(backups, time.Now().Add(history.DefaultMaxAge)) {
		fmt.Printf("current: %v, needed by %d, may be destroyed: %v\n", j.Live(), j.NeededBy, j.MayBeDestroyed)
	}
	// Output:
	// current: false, needed by 1, may be destroyed: false
	// current: true, needed by 0, may be destroyed: false
}
