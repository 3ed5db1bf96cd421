package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

type reencryptCommand struct {
	changing
	repack       bool
	codec, level string
	dropOther    bool
	rescue       bool
	legacy       legacyFlags
	signing      signFlags
	signers      string

	pack *pack.Options
}

func newReencrypt() *cobra.Command {
	r := new(reencryptCommand)
	r.verb, r.done, r.passes = "reencrypt", "reencrypted", 2
	cmd := &cobra.Command{
		Use:   "reencrypt --to KEY [flags] PATH...",
		Short: "Seal backups again, with new data keys",
		Long: `Give each backup at PATH, a file or a folder, a new data key, a new id and a new payload,
sealed for the keys of --to, the recipients of -r and -R, and no others. Time, kind and name
stay. Nothing is unpacked or written in the clear.

This is for a key that can no longer be trusted: destroy copies of the old files. For the
change of keys by schedule, rewrap is enough and much cheaper. The new file is read back to
its end before it takes the place of the old one: there must be room for both. The same command continues a run that was stopped.

With --from-legacy openssl-cbc, PATH has files of openssl enc, of raw AES-256-GCM, or plain
dumps and archives. Each that proves whole becomes a backup next to it or under
--output-root; the old file stays. docs/OPERATIONS.md says which forms are read.`,
		Example: `  takumi-backup reencrypt --to file:/etc/takumi-backup/new.key /var/backups/takumi
  takumi-backup reencrypt --from file:old.key --to file:new.key --dry-run /mnt/usb
  takumi-backup reencrypt --from-legacy openssl-cbc --to file:new.key /mnt/old`,
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
	f.Lookup("dry-run").Usage = "open each, say what would be done, and change nothing"
	f.BoolVar(&r.repack, "repack", false, "unpack, and pack anew as --codec and --level say")
	f.StringVar(&r.codec, "codec", "zstd", "how to pack: zstd, gzip or none")
	f.StringVar(&r.level, "level", "fastest", "how hard to pack: fastest, default, better or best")
	f.BoolVar(&r.dropOther, "drop-other", false, "drop holders of other types than the new ones")
	f.BoolVar(&r.rescue, "rescue", false, "go on with backups whose envelope is damaged, with what of it still opens")
	f.StringVar(&r.stateFile, "state", "", "file of what this run has done (default: in --state-dir)")
	r.signing.add(cmd, "sign anew, with this key, what was signed: by it, or by one of --signers")
	addSigners(f, &r.signers, "re-encrypt only what one of these has signed")
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
	for _, name := range []string{"repack", "drop-other", "rescue", "state"} {
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
	readBack, err := r.keys.target()
	if err != nil {
		return err
	}
	defer readBack.Close()
	o := rekey.ReencryptOptions{
		Options: rekey.Options{
			Store: r.place, StateDir: r.stateDir, From: r.ring, To: r.to, DropOther: r.dropOther, Rescue: r.rescue, DryRun: r.dryRun, Meter: &r.meter,
		},
		ReadBack: readBack, Pack: r.pack, State: state,
	}
	if o.Signers, err = trusted(r.signers); err != nil {
		return err
	}
	if o.Signer, err = r.signing.signer(cmd.Context(), &r.keys.from.passphrase, foldersOf(paths)); err != nil {
		return err
	}
	return r.run(cmd, paths, func(ctx context.Context, path string) (rekey.Result, error) { return rekey.Reencrypt(ctx, path, o) })
}

// openState opens the account of the run, and says what it goes on from.
func (r *reencryptCommand) openState(cmd *cobra.Command, paths []string) (*rekey.State, error) {
	how := []string{r.shard.String()}
	if r.pack != nil {
		how = append(how, fmt.Sprint(*r.pack))
	}
	state, path, err := rekey.OpenState(r.stateFile, r.stateDir, r.dryRun, paths, r.to, how...)
	if err != nil {
		return nil, err
	}
	if n := state.Len(); n > 0 && !r.progress.quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "going on with a run that was stopped: %d done (%s)\n", n, path)
	}
	return state, nil
}

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
	f.StringVar(&l.kind, "kind", "", "with --from-legacy: of this kind (default: as it looks)")
	f.StringVar(&l.root, "output-root", "", "with --from-legacy: put the backups into a folder for each kind in this one (default: next to the old files)")
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

func (r *reencryptCommand) runLegacy(cmd *cobra.Command, paths []string) error {
	r.keyless, r.find, r.passes = true, rekey.FindLegacy, 1
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
	passphrase, err := rekey.ReadPassphrase(cmd.Context(), r.legacy.passphrase)
	if err != nil {
		return err
	}
	defer clear(passphrase)
	readBack, err := r.keys.target()
	if err != nil {
		return err
	}
	defer readBack.Close()
	from, err := r.keys.from.ring() // asked only when a file wants a key
	if err != nil {
		return err
	}
	defer from.Close()
	o := rekey.ImportOptions{
		Options:  rekey.Options{Store: r.place, From: from, To: r.to, Meter: &r.meter, DryRun: r.dryRun},
		ReadBack: readBack, Pack: *r.pack, Passphrase: passphrase, Iterations: r.legacy.iterations,
		Kind: r.legacy.kind, Root: r.legacy.root,
	}
	return r.run(cmd, paths, func(ctx context.Context, path string) (rekey.Result, error) {
		made, err := rekey.Import(ctx, path, o)
		if err == nil && made.Skipped != "" {
			made.Skipped += ": " + printable(made.Made)
		}
		return made, err
	})
}
