// Command example makes, lists, verifies and restores a backup, with the public
// packages of takumi-backup alone. It is given a key file, a folder or
// s3://BUCKET/PREFIX, and a text to back up.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func main() {
	if err := run(context.Background(), os.Stdout, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, keyFile, root, text string) error {
	keys := keystore.NewRing(keystore.File{Path: keyFile})
	defer keys.Close()
	st, err := store.Open(root, store.S3Options{})
	if err != nil {
		return err
	}
	to, err := keys.Recipients(ctx)
	if err != nil {
		return err
	}
	job := backup.Job{Source: backup.From(strings.NewReader(text)), Created: time.Now(), Recipients: to, Store: st, To: backup.Dest{Root: root}}
	made, err := job.Run(ctx, backup.Observer{})
	if err != nil {
		return err
	}
	open := backup.Options{Keys: keys}
	list, err := backup.List(ctx, st, root, open)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d of kind %s, %v\n", len(list), list[0].Kind, list[0].State)
	if err := backup.Prove(ctx, st, made.Path, open); err != nil {
		return err
	}
	h, err := backup.Open(ctx, st, made.Path, open)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.Unpack(out)
}
