package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

type reencryptCommand struct {
	changing
	repack       bool
	codec, level string
	dropOther    bool
	legacy       legacyFlags

	pack *pack.Options
}

func newReencrypt() *cobra.Command {
	r := new(reencryptCommand)
	r.verb, r.done, r.passes = "reencrypt", "reencrypted", 2
	cmd := &cobra.Command{
		Use:   "reencrypt --to KEY [flags] PATH...",
		Short: "Seal backups again, with new data keys: what to do after a compromise",
		Long: `Give each backup at PATH, a file or a folder, a new data key, a new id and a new
payload, sealed for the keys of --to and no others. Time, kind and name stay, and
what was packed stays as it is. Nothing is unpacked or written in the clear.

This is for when a key, or whoever held it, can no longer be trusted: with the old
key and a copy of the old file anybody reads that copy for ever, so destroy such
copies. For the change of keys by schedule, rewrap is enough and much cheaper.

The new file is read back to its end with keys fetched again, and only then takes
the place of the old one: each backup needs room for two of it until then. A run
that was stopped goes on where it was when it is called again in the same way.

With --from-legacy openssl-cbc, PATH has files that openssl enc -aes-256-cbc -pbkdf2
made, or dumps and archives that nobody encrypted, packed with gzip or not. Each
that proves whole becomes a backup beside it or under --output-root. The old file
stays; delete it when the new one is verified.`,
		Example: `  takumi-backup reencrypt --to file:/etc/takumi-backup/new.key /var/backups/takumi
  takumi-backup reencrypt --from file:old.key --to awssm:takumi/production/BACKUP_ENCRYPTION_KEY --dry-run /mnt/offsite
  takumi-backup reencrypt --from-legacy openssl-cbc --legacy-passphrase-file /root/old.pass --to file:new.key /mnt/offsite/old`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.check(cmd); err != nil {
				return err
			}
			if r.legacy.from != "" {
				return r.runLegacy(cmd, args)
			}
			return r.runReencrypt(cmd, args)
		},
	}
	r.add(cmd)
	f := cmd.Flags()
	f.Lookup("dry-run").Usage = "open, authenticate the length, say what would be done, and change nothing; the rest of a sealed payload is not read"
	f.BoolVar(&r.repack, "repack", false, "unpack, and pack anew as --codec and --level say")
	f.StringVar(&r.codec, "codec", "zstd", "how to pack: zstd, gzip or none")
	f.StringVar(&r.level, "level", "fastest", "how hard to pack: fastest, default, better or best")
	f.BoolVar(&r.dropOther, "drop-other", false, "go on with backups that have other holders than keys, who lose them")
	f.StringVar(&r.stateFile, "state", "", "file that lists what this run has done, while it is not through (default: one in --state-dir for the same paths and keys)")
	r.legacy.add(cmd)
	return audited(cmd, "reencrypt", changes)
}

// check finds the mistakes that can be found before any key is fetched.
func (r *reencryptCommand) check(cmd *cobra.Command) error {
	f := cmd.Flags()
	isLegacy := r.legacy.from != ""
	if err := r.legacy.check(cmd); err != nil {
		return err
	}
	for _, name := range []string{"codec", "level"} {
		if f.Changed(name) && !r.repack && !isLegacy {
			return usagef("--%s goes with --repack: what is packed stays as it is otherwise", name)
		}
	}
	for _, name := range []string{"repack", "drop-other", "state", "from"} {
		if f.Changed(name) && isLegacy {
			return usagef("--%s does not go with --from-legacy", name)
		}
	}
	var o pack.Options
	var err error
	if o.Codec, err = pack.ParseCodec(r.codec); err != nil {
		return usagef("--codec: %w", err)
	}
	if o.Level, err = pack.ParseLevel(r.level); err != nil {
		return usagef("--level: %w", err)
	}
	if r.repack || isLegacy {
		r.pack = &o
	}
	return nil
}

func (r *reencryptCommand) runReencrypt(cmd *cobra.Command, paths []string) (err error) {
	if err := r.begin(cmd, paths); err != nil {
		return err
	}
	defer r.close()
	state, err := r.openState(cmd, paths)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, state.End(err == nil)) }()
	targets, err := r.keys.targets()
	if err != nil {
		return err
	}
	readBack := keystore.NewRing(targets...)
	defer readBack.Close()
	o := rekey.ReencryptOptions{
		Options: rekey.Options{
			Store: r.place, StateDir: r.stateDir, From: r.ring, To: r.to, DropOther: r.dropOther, DryRun: r.dryRun, Meter: &r.meter,
		},
		ReadBack: readBack, Pack: r.pack, State: state,
	}
	return r.run(cmd, paths, func(ctx context.Context, b store.Backup) (rekey.Result, error) {
		return rekey.Reencrypt(ctx, b.Path, o)
	})
}

// openState opens the account of the run, and says what it goes on from.
func (r *reencryptCommand) openState(cmd *cobra.Command, paths []string) (*rekey.State, error) {
	ids := make([]kek.ID, len(r.to))
	for i, k := range r.to {
		ids[i] = k.ID()
	}
	path := r.stateFile
	if path == "" {
		name, err := r.runName(paths, ids)
		if err != nil {
			return nil, err
		}
		path = filepath.Join(r.stateDir, "reencrypt-"+name+".jsonl")
	}
	open := rekey.Begin
	if r.dryRun {
		open = rekey.Read
	}
	state, err := open(path, ids)
	if errors.Is(err, rekey.ErrOtherRun) || errors.Is(err, rekey.ErrState) {
		return nil, usagef("--state: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if n := state.Len(); n > 0 && !r.progress.quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "going on with a run that was stopped: %d done (%s)\n", n, path)
	}
	return state, nil
}

// runName is the same for runs that are to do the same.
func (r *reencryptCommand) runName(paths []string, ids []kek.ID) (string, error) {
	var parts []string
	for _, path := range paths {
		if !store.IsRemote(path) {
			abs, err := filepath.Abs(path)
			if err != nil {
				return "", err
			}
			path = abs
		}
		parts = append(parts, path)
	}
	for _, id := range ids {
		parts = append(parts, string(id))
	}
	slices.Sort(parts)
	if parts = append(parts, r.shard.String()); r.pack != nil {
		parts = append(parts, fmt.Sprint(*r.pack))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8]), nil
}
