package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

type sealCommand struct {
	keys       keyFlags
	progress   progressFlags
	out        string
	kind       string
	name       string
	codec      string
	level      string
	guard      string
	sidecar    string
	allowEmpty bool
	json       bool

	pack    pack.Options
	started time.Time
	meter   backup.Meter
}

func newSeal() *cobra.Command {
	s := new(sealCommand)
	cmd := &cobra.Command{
		Use:   "seal [flags] [-- COMMAND ARG...]",
		Short: "Seal standard input, or the output of a command, as a backup",
		Long: `Seal standard input, or the standard output of COMMAND, as a backup.

Without -o the backup goes to $BACKUP_ROOT/KIND/NAME_TIME.EXT.enc (BACKUP_ROOT is
/var/backups/takumi by default) and its path is printed. With COMMAND, any exit
status but 0 means: no backup.

The input is checked while it streams past: a PostgreSQL dump, plain or custom,
a tar, gzip or zstd file must be complete, and no input may be empty. What is
not whole is refused with exit code 3, and nothing is left behind.`,
		Example: `  pg_dump takumi | takumi-backup seal
  takumi-backup seal -- pg_dump -Fc takumi
  tar -c /srv/uploads | takumi-backup seal --kind uploads --name uploads -o /mnt/usb/uploads.tar.enc
  pg_dump takumi | takumi-backup seal -o - | ssh vault 'cat > takumi.enc'`,
		Args: usageArgs(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	s.keys.add(cmd, "seal for this key")
	f.StringVarP(&s.out, "output", "o", "", "write to this file, or to standard output with -")
	f.StringVar(&s.kind, "kind", "", "database, contracts, uploads or stream (default: what the input looks like)")
	f.StringVar(&s.name, "name", "", "name in the envelope, and base of a generated file name")
	f.StringVar(&s.codec, "codec", "zstd", "how to pack: zstd, gzip or none")
	f.StringVar(&s.level, "level", "fastest", "how hard to pack: fastest, default, better or best")
	f.BoolVar(&s.allowEmpty, "allow-empty", false, "accept an empty input")
	f.StringVar(&s.guard, "guard", "on", "check that the input is whole: on or off")
	f.StringVar(&s.sidecar, "sidecar", "", "with -o -: write the SHA-256 sidecar to this file")
	s.progress.add(cmd)
	f.BoolVar(&s.json, "json", false, "print the summary as JSON, in place of the path (with -o -: on standard error)")
	return cmd
}

func (s *sealCommand) run(cmd *cobra.Command, args []string) error {
	if err := s.check(cmd, args); err != nil {
		return err
	}
	s.started = time.Now()
	// The key first: without it nothing else may start.
	sources, keys, err := s.keys.required(cmd.Context())
	if err != nil {
		return err
	}
	defer wipe(keys)
	if err := s.checkPlacement(sources); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	src, err := open(ctx, args)
	if err != nil {
		return err
	}
	defer src.Close()
	return s.seal(cmd, stop, src, keys)
}

// check finds every mistake that can be found before anything starts.
func (s *sealCommand) check(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
		return usagef("unexpected argument %q: a command stands behind --", args[0])
	} else if len(args) == 0 && dash == 0 {
		return usagef("no command stands behind --")
	}
	on, err := encryptionEnabled()
	if err != nil {
		return err
	}
	if !on {
		return usagef("BACKUP_ENCRYPTION_ENABLED is false, and sealing without encryption is not sealing")
	}
	if s.pack.Codec, err = pack.ParseCodec(s.codec); err != nil {
		return usagef("--codec: %w", err)
	}
	if s.pack.Level, err = pack.ParseLevel(s.level); err != nil {
		return usagef("--level: %w", err)
	}
	if s.guard != "on" && s.guard != "off" {
		return usagef("--guard is %q, neither on nor off", s.guard)
	}
	if cmd.Flags().Changed("output") && s.out == "" {
		return usagef("--output is empty")
	}
	if s.sidecar != "" && s.out != "-" {
		return usagef("--sidecar goes with -o -; a file gets its sidecar without being asked")
	}
	if strings.ContainsAny(s.sidecar, "\\\r\n") {
		return usagef("--sidecar is %q: a sidecar cannot name a file with a backslash or a line break", s.sidecar)
	}
	if cmd.Flags().Changed("kind") {
		if err := envelope.CheckKind(s.kind); err != nil {
			return usagef("--kind: %w", err)
		}
	}
	for _, name := range []string{s.name, os.Getenv("DB_NAME")} {
		if name != "" {
			if err := envelope.CheckName(name); err != nil {
				return usagef("--name or DB_NAME: %w", err)
			}
		}
	}
	if cmd.Flags().Changed("name") && s.name == "" {
		return usagef("--name is empty")
	}
	if s.out == "-" && isTerminal(os.Stdout) {
		return usagef("standard output is a terminal: sealed bytes are not for reading")
	}
	if s.out == "-" && isNowhere(os.Stdout) {
		return stdoutError(errors.New("it is closed"))
	}
	if len(args) == 0 && isTerminal(os.Stdin) {
		return usagef("standard input is a terminal: pipe something in, or name a command behind --")
	}
	return nil
}

// checkPlacement refuses a key that stands with the backups.
func (s *sealCommand) checkPlacement(sources []keystore.Source) error {
	folder := storeFolder()
	switch s.out {
	case "-":
		return nil
	case "":
	default:
		folder = filepath.Dir(s.out)
	}
	for _, src := range sources {
		if err := keystore.CheckApart(src, folder); err != nil {
			return fmt.Errorf("checking where the key stands: %w", err)
		}
	}
	return nil
}

// open starts the source.
func open(ctx context.Context, argv []string) (io.ReadCloser, error) {
	if len(argv) == 0 {
		return source.Stdin(ctx, os.Stdin)
	}
	return source.Command(ctx, argv, os.Stderr)
}

// markedSource tells the errors of the source from all others.
type markedSource struct{ io.Reader }

func (m markedSource) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = sourceError{err}
	}
	return n, err
}

// target is where the sealed bytes go. Exactly one of Commit and Abort counts.
type target interface {
	io.Writer
	Commit() (store.Result, error)
	Abort() error
}

func (s *sealCommand) seal(cmd *cobra.Command, stop context.CancelCauseFunc, src io.Reader, keys []*kek.Key) error {
	input := bufio.NewReaderSize(markedSource{src}, guard.SniffLen)
	head, err := input.Peek(guard.SniffLen)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading the source: %w", err)
	}
	format := guard.Sniff(head)
	if s.kind == "" {
		s.kind = backup.KindOf(format)
	}
	var checked io.Reader = input
	if s.guard == "on" {
		g := guard.NewReader(input, guard.Options{AllowEmpty: s.allowEmpty})
		defer g.Close()
		checked = g
	}
	dst, name, err := s.target(format)
	if err != nil {
		return err
	}
	defer dst.Abort()

	hide := s.progress.start(cmd.ErrOrStderr(), "sealing", -1, &s.meter)
	sealed, err := backup.Seal(dst, checked, backup.SealOptions{
		Label: envelope.Label{Created: s.started, Kind: s.kind, Name: name},
		Keys:  keys, Pack: s.pack, Meter: &s.meter, Stop: stop,
	})
	hide()
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	if s.out == "" || s.json && s.out != "-" {
		if err := checkStdout(); err != nil {
			return err
		}
	}
	result, err := dst.Commit()
	if err != nil {
		return err
	}
	return s.summarize(cmd, sealed, result)
}

// target opens the destination and says what the envelope calls the backup.
func (s *sealCommand) target(format guard.Format) (target, string, error) {
	opts := store.Options{Sidecar: true}
	switch s.out {
	case "-":
		name := s.name
		if name == "" {
			name = "stdin"
		}
		t, err := newStdoutTarget(s.sidecar)
		return t, name, err
	case "":
		naming := backup.Naming{Base: s.name, DBName: os.Getenv("DB_NAME"), Kind: s.kind, Format: format, Codec: s.pack.Codec, Time: s.started}
		opts.Parents = true
		var path string
		f, err := store.CreateUnique(func(n int) string {
			path = filepath.Join(backupFolder(s.kind), naming.FileName(n))
			return path
		}, opts)
		if err != nil {
			return nil, "", err
		}
		return f, s.label(path), nil
	}
	name := s.label(s.out)
	if err := envelope.CheckName(name); err != nil {
		return nil, "", usagef("--output: %w", err)
	}
	f, err := store.Create(s.out, opts)
	if err != nil {
		return nil, "", err
	}
	return f, name, nil
}

// label is the envelope's name of a backup at path.
func (s *sealCommand) label(path string) string {
	if s.name != "" {
		return s.name
	}
	return strings.TrimSuffix(filepath.Base(path), backup.Suffix)
}

// summary is what seal tells about a finished backup.
type summary struct {
	Path    string   `json:"path,omitempty"`
	ID      string   `json:"id"`
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Codec   string   `json:"codec"`
	KeyIDs  []kek.ID `json:"key_ids"`
	In      int64    `json:"bytes_in"`
	Out     int64    `json:"bytes_out"`
	Seconds float64  `json:"seconds"`
	SHA256  string   `json:"sha256,omitempty"`
}

func (s *sealCommand) summarize(cmd *cobra.Command, e *envelope.Envelope, r store.Result) error {
	sum := summary{
		Path: r.Path, ID: e.ID.String(), Kind: e.Kind, Name: e.Name, Codec: e.Codec, KeyIDs: e.KeyIDs(),
		In: s.meter.In(), Out: s.meter.Out(), Seconds: time.Since(s.started).Seconds(), SHA256: r.SHA256,
	}
	if !s.progress.quiet && !s.json {
		words := fmt.Sprintf("sealed %s into %s, ratio %s, in %.2f s, for key %s", bytesText(sum.In), bytesText(sum.Out),
			ratioText(sum.In, sum.Out), sum.Seconds, joinIDs(sum.KeyIDs))
		if sum.SHA256 != "" {
			words += ", sha256 " + sum.SHA256
		}
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	var err error
	switch {
	case s.json && s.out == "-":
		err = writeJSON(cmd.ErrOrStderr(), sum)
	case s.json:
		err = writeJSON(cmd.OutOrStdout(), sum)
	case s.out == "":
		_, err = fmt.Fprintln(cmd.OutOrStdout(), r.Path)
		err = stdoutError(err)
	}
	if err != nil {
		return errors.Join(err, fmt.Errorf("the backup is complete all the same: %s", r.Path))
	}
	return nil
}

func joinIDs(ids []kek.ID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return strings.Join(words, ", ")
}
