package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// legacyFlags say how files of former tools are read.
type legacyFlags struct {
	from       string
	passphrase string // a file
	iterations int
	kind       string
	root       string
}

// legacyForm is the one that there is.
const legacyForm = "openssl-cbc"

func (l *legacyFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.from, "from-legacy", "", "import files of a former tool: openssl-cbc")
	f.StringVar(&l.passphrase, "legacy-passphrase-file", "", "file whose first line is the passphrase of those files, as openssl -pass file: takes it")
	f.IntVar(&l.iterations, "legacy-iterations", rekey.DefaultIterations, "what openssl was given with -iter")
	f.StringVar(&l.kind, "kind", "", "with --from-legacy: database, contracts, uploads or stream (default: what each file looks like)")
	f.StringVar(&l.root, "output-root", "", "with --from-legacy: put the backups into a folder for each kind in this one (default: beside the old files)")
}

func (l *legacyFlags) check(cmd *cobra.Command) error {
	f := cmd.Flags()
	if !f.Changed("from-legacy") {
		for _, name := range []string{"legacy-passphrase-file", "legacy-iterations", "kind", "output-root"} {
			if f.Changed(name) {
				return usagef("--%s goes with --from-legacy", name)
			}
		}
		return nil
	}
	if l.from != legacyForm {
		return usagef("--from-legacy is %q: there is only %s", l.from, legacyForm)
	}
	if l.iterations < 1 {
		return usagef("--legacy-iterations is %d, not a number from 1", l.iterations)
	}
	if f.Changed("output-root") && l.root == "" {
		return usagef("--output-root is empty")
	}
	if f.Changed("kind") {
		if err := envelope.CheckKind(l.kind); err != nil {
			return usagef("--kind: %w", err)
		}
	}
	return nil
}

// maxLegacyPassphrase is how much of a line openssl takes, in bytes.
const maxLegacyPassphrase = 1023

// read returns the passphrase, nil when there is none. The caller clears it.
func (l *legacyFlags) read(ctx context.Context) ([]byte, error) {
	if l.passphrase == "" {
		return nil, nil
	}
	file := keystore.File{Path: l.passphrase}
	text, err := file.ReadSecret(ctx, maxLegacyPassphrase+2)
	if err != nil {
		return nil, fmt.Errorf("--legacy-passphrase-file: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if len(line) == 0 || len(line) > maxLegacyPassphrase {
		clear(text)
		return nil, &keystore.Error{
			URI: file.String(), Kind: keystore.ErrRefused,
			Reason: fmt.Sprintf("its first line has %d bytes, and openssl takes 1 to %d", len(line), maxLegacyPassphrase),
		}
	}
	return line, nil
}

func (r *reencryptCommand) runLegacy(cmd *cobra.Command, paths []string) error {
	r.keyless, r.find, r.passes = true, findLegacy, 1
	r.verb, r.done = "import", "imported"
	folders := paths
	if r.legacy.root != "" {
		// With "/.", because it need not exist yet.
		folders = append(folders[:len(folders):len(folders)], r.legacy.root+"/.")
	}
	if err := r.begin(cmd, folders); err != nil {
		return err
	}
	defer r.close()
	passphrase, err := r.legacy.read(cmd.Context())
	if err != nil {
		return err
	}
	defer clear(passphrase)
	targets, err := r.keys.targets()
	if err != nil {
		return err
	}
	readBack := keystore.NewRing(targets...)
	defer readBack.Close()
	o := rekey.ImportOptions{
		Store: r.place, To: r.to, ReadBack: readBack, Pack: *r.pack, Passphrase: passphrase, Iterations: r.legacy.iterations,
		Kind: r.legacy.kind, Root: r.legacy.root, Meter: &r.meter, DryRun: r.dryRun,
	}
	return r.run(cmd, paths, func(ctx context.Context, b store.Backup) (rekey.Result, error) {
		made, err := rekey.Import(ctx, b.Path, o)
		c := rekey.Result{New: made.Envelope, Made: made.Path, Warnings: made.Warnings, Size: made.Size, SHA256: made.SHA256}
		switch {
		case errors.Is(err, rekey.ErrPassphrase):
			err = &keystore.Error{URI: keystore.File{Path: r.legacy.passphrase}.String(), Kind: keystore.ErrRefused, Reason: err.Error(), Err: err}
		case errors.Is(err, rekey.ErrNoPassphrase):
			err = fmt.Errorf("%w: give --legacy-passphrase-file: %w", err, keystore.ErrNone)
		case err == nil && made.There:
			c.Skipped = "its content is there already: " + printable(made.Path)
		}
		return c, err
	})
}

// findLegacy is [backup.Find] for the files that can be imported: in a folder, those
// that look like one.
func findLegacy(ctx context.Context, place store.Store, paths []string) (items []backup.Backup, several bool, err error) {
	several = len(paths) > 1
	for _, path := range paths {
		b, isRoot, err := place.Stat(ctx, path)
		if err != nil && len(paths) == 1 {
			return nil, several, err
		}
		if err != nil || !isRoot {
			b.Path = path
			items = append(items, backup.Backup{Backup: b, Err: err})
			continue
		}
		several = true
		for b, err := range place.Walk(ctx, path, true) {
			if ctx.Err() != nil {
				return nil, several, context.Cause(ctx)
			}
			var legacy bool
			if err == nil {
				legacy, err = isLegacy(ctx, place, b.Path)
			} else if fault, ok := errors.AsType[*store.Error](err); ok && b.Path == "" {
				b.Path = fault.Path
			}
			if legacy || err != nil {
				items = append(items, backup.Backup{Backup: b, Err: err})
			}
		}
	}
	return items, several, nil
}

func isLegacy(ctx context.Context, place store.Store, path string) (bool, error) {
	file, err := place.Open(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	head := make([]byte, guard.SniffLen)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	return rekey.IsLegacy(path, head[:n]), nil
}
