package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

type sealing struct {
	keys     keyFlags
	progress progressFlags
	out      string // file, "-" for standard output, or "" for a generated name
	root     string // of the store (default: that of the environment)
	also     []string
	stored   stores.Choice
	name     string // in the envelope, and base of a generated file name
	codec    string
	level    string
	prove    string
	json     bool
	sidecar  string // with -o -
	signing  signFlags
	expected int64 // bytes, where the size of the source is known
	guardOff bool  // asked for: then it needs no warning
	// mayBePlain lets BACKUP_ENCRYPTION_ENABLED=false make plain, packed files.
	mayBePlain bool
	base       string // what a generated file name begins with, where the settings say so
	// settings are those of what is backed up, where they are not the program's.
	settings *config.Settings
	// made, if it is set, gets what was made in place of standard output.
	made func(*cobra.Command, *backup.Made) error
}

func (s *sealing) add(cmd *cobra.Command) {
	f := cmd.Flags()
	s.keys.add(cmd, "seal for this key")
	s.keys.addRecipients(cmd)
	s.signing.add(cmd, "sign the backup with this key, next to it as FILE.sig")
	f.StringVarP(&s.out, "output", "o", "", "write to this file, here or at s3://BUCKET/KEY, or to standard output with -")
	f.StringVar(&s.root, "store", "", "write below this folder or s3://BUCKET/PREFIX (default $BACKUP_ROOT)")
	f.StringArrayVar(&s.also, "also", nil, "write to this store at the same time; may be repeated (default $BACKUP_ALSO)")
	addPlace(&s.stored, f)
	f.StringVar(&s.codec, "codec", "zstd", "how to pack: zstd, gzip or none")
	f.StringVar(&s.level, "level", "fastest", "how hard to pack: fastest, default, better or best")
	f.StringVar(&s.prove, "prove", "on", "unpack each block again and compare it, before it is sealed: on or off")
	s.progress.add(cmd)
	f.BoolVar(&s.json, "json", false, "print the summary as JSON, in place of the path (with -o -: on standard error)")
}

// job is what the flags ask for, without its source. It finds the mistakes that can
// be found before anything starts.
func (s *sealing) job(cmd *cobra.Command) (j backup.Job, err error) {
	on, err := conf.Encrypts()
	if err != nil {
		return j, err
	}
	if !on {
		if conf.Production() {
			return j, usagef("BACKUP_ENCRYPTION_ENABLED is false, which production forbids: backups are always sealed there")
		}
		if !s.mayBePlain {
			return j, usagef("BACKUP_ENCRYPTION_ENABLED is false, and sealing without encryption is not sealing")
		}
		j.Plain = true
		warn(cmd, "BACKUP_ENCRYPTION_ENABLED is false: the backup is written unencrypted, for everybody who can read the file")
	}
	if j.Pack.Codec, err = pack.ParseCodec(s.codec); err != nil {
		return j, usagef("--codec: %w", err)
	}
	if j.Pack.Level, err = pack.ParseLevel(s.level); err != nil {
		return j, usagef("--level: %w", err)
	}
	if s.prove != "on" && s.prove != "off" {
		return j, usagef("--prove is %q: it can be on or off", s.prove)
	}
	j.Pack.Unproved = s.prove == "off"
	f := cmd.Flags()
	if !f.Changed("also") {
		s.also = conf.Also()
	}
	if roots := s.roots(); len(roots) > 0 {
		if err := conf.CheckCopies(roots[0], s.also); err != nil {
			return j, err
		}
	}
	switch {
	case f.Changed("output") && s.out == "":
		return j, usagef("--output is empty")
	case f.Changed("sign-key") && (s.out == "-" || j.Plain):
		return j, usagef("--sign-key goes with a sealed backup in a file or a bucket: its signature is a file next to it")
	case s.out == "-" && f.Changed("also"):
		return j, usagef("--also does not go with -o -: tee does that")
	case s.root != "" && s.out != "":
		return j, usagef("--store and --output exclude each other")
	case f.Changed("name") && s.name == "":
		return j, usagef("--name is empty")
	case s.out == "-" && terminal.Is(os.Stdout):
		return j, usagef("standard output is a terminal: sealed bytes are not for reading")
	case s.out == "-" && terminal.Nowhere(os.Stdout):
		return j, stdoutError(errors.New("it is closed"))
	}
	for _, path := range append([]string{s.out}, s.roots()...) {
		if err := store.Check(path); err != nil {
			return j, usage(err)
		}
	}
	if j.Name = s.name; j.Name != "" {
		if err := envelope.CheckName(j.Name); err != nil {
			return j, usagef("--name: %w", err)
		}
	}
	j.Store, j.To.Base = s.stored.Place(conf), s.base
	switch {
	case s.out == "-":
		j.To.Sink = func() (backup.Sink, error) { return backup.NewStream(stdout{os.Stdout}, s.sidecar) }
	case s.out != "":
		j.To.Path = s.out
	case s.root != "":
		j.To.Root = s.root
	default:
		j.To.Root, j.To.Flat = conf.Root()
	}
	j.Also = s.also
	return j, nil
}

// start fetches the keys and starts the clock. It comes before any source: without
// a key nothing else may start. The caller closes the ring.
func (s *sealing) start(ctx context.Context, j *backup.Job) (*keystore.Ring, error) {
	j.Created = time.Now()
	if j.Plain {
		return keystore.NewRing(), nil
	}
	ring, _, err := s.keys.keys().Required(ctx)
	if err != nil {
		return nil, err
	}
	if j.Recipients, err = ring.Recipients(ctx); err != nil {
		ring.Close()
		return nil, fmt.Errorf("loading the key: %w", err)
	}
	if err := s.checkPlacement(ring.Places()); err != nil {
		ring.Close()
		return nil, err
	}
	if s.out != "-" {
		if j.Signer, err = s.signing.signer(ctx, &s.keys.passphrase, s.roots()); err != nil {
			ring.Close()
			return nil, err
		}
	}
	return ring, nil
}

func (s *sealing) checkPlacement(sources []keystore.Source) error {
	for _, folder := range s.roots() {
		if store.IsRemote(folder) {
			continue
		}
		for _, src := range sources {
			if err := keystore.CheckOutside(src, folder); err != nil {
				return fmt.Errorf("checking where the key is: %w", err)
			}
		}
	}
	return nil
}

func (s *sealing) conf() *config.Settings {
	if s.settings != nil {
		return s.settings
	}
	return conf
}

// roots are the folders below which the backup and its copies will be.
func (s *sealing) roots() []string {
	switch {
	case s.out == "-":
		return nil
	case s.out != "":
		return append([]string{store.Dir(s.out)}, s.also...)
	case s.root != "":
		return append([]string{s.root}, s.also...)
	}
	return append([]string{conf.StoreFolder()}, s.also...)
}

func (s *sealing) runner(cmd *cobra.Command) backup.Runner {
	return func(ctx context.Context, j backup.Job) (*backup.Made, error) { return s.make(ctx, cmd, j) }
}

func (s *sealing) make(ctx context.Context, cmd *cobra.Command, j backup.Job) (*backup.Made, error) {
	var meter backup.Meter
	rec := recordIn(ctx)
	rec.Meter = &meter
	hide := s.progress.start(cmd.ErrOrStderr(), "sealing", cmp.Or(s.expected, -1), &meter)
	made, err := j.Run(ctx, backup.Observer{Meter: &meter, Ready: s.ready})
	hide()
	if err != nil {
		return nil, err
	}
	rec.Path, rec.Name, rec.Kind, rec.Detail = made.Path, made.Name, made.Kind, made.Proof.String()
	if made.Envelope != nil {
		describe(rec, made.Envelope, made.Envelope.Holders()...)
	}
	dir, err := history.Dir()
	if err == nil {
		err = backup.RecordSealed(dir, made)
	}
	if err != nil {
		warn(cmd, "without a key, prune will not know this backup: %v", err)
	}
	if err := s.summarize(cmd, made, time.Since(j.Created)); err != nil {
		return made, err
	}
	return made, s.copied(cmd, made.Copies)
}

func (s *sealing) ready() error {
	if s.out == "" || s.json && s.out != "-" {
		return checkStdout()
	}
	return nil
}

// copied says which stores have the backup when some do not: then some of several
// failed.
func (s *sealing) copied(cmd *cobra.Command, copies []*store.Copy) error {
	var failed error
	for _, c := range copies {
		if c.Err != nil {
			failed = errSome
			report(cmd.ErrOrStderr(), fmt.Errorf("the backup is not at %s: %w", c.Path, c.Err))
		}
	}
	for _, c := range copies {
		if failed != nil && c.Err == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: the backup is complete at %s\n", c.Path)
		}
	}
	return failed
}

func (s *sealing) summarize(cmd *cobra.Command, m *backup.Made, took time.Duration) error {
	sum := m.Summary(took)
	own := m.Kind == backup.KindManifest
	if m.Unjudged != "" && !own && !s.guardOff && !s.progress.quiet && !s.json {
		warn(cmd, "content not judged: %s, so it may be incomplete", m.Unjudged)
	}
	if n := m.Proof.Differed; n > 0 {
		warn(cmd, "%d of %d blocks did not unpack to what went in, and were packed again: test the memory of this machine (memtester), and report it with the processor's model", n, m.Proof.Frames)
	}
	if !s.progress.quiet && !s.json {
		fmt.Fprintln(cmd.ErrOrStderr(), sum.Words(m.Envelope))
	}
	var err error
	switch {
	case own: // it belongs to a backup whose path was printed
	case s.made != nil:
		err = s.made(cmd, m)
	case s.json && s.out == "-":
		err = writeJSON(cmd.ErrOrStderr(), sum)
	case s.json:
		err = writeJSON(cmd.OutOrStdout(), sum)
	case s.out == "", s.mayBePlain && s.out != "-": // backup always prints the path
		err = printf(cmd, "%v\n", m.Path)
	}
	if err != nil {
		return errors.Join(err, fmt.Errorf("the backup is complete all the same: %s", m.Path))
	}
	return nil
}

// dirOf returns the folder that a command was given, or the one that a variable names.
func dirOf(s *config.Settings, args []string, variable string) (string, error) {
	dir := s.Get(variable)
	if len(args) > 0 {
		dir = args[0]
	}
	if dir == "" {
		return "", usagef("name the folder, or set %s", variable)
	}
	return dir, nil
}
