package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// sealing turns a source into a backup in the store: what every command that
// makes a backup has in common.
type sealing struct {
	keys     keyFlags
	progress progressFlags
	out      string // file, "-" for standard output, or "" for a generated name
	root     string // of the store (default: that of the environment)
	also     []string
	stored   placeFlags
	beside   string // the folder in those (default: that of the kind)
	kind     string
	name     string // in the envelope, and base of a generated file name
	base     string // base of a generated file name alone
	dbName   string // of the database that is backed up (default $DB_NAME)
	codec    string
	level    string
	json     bool

	guard      string // on or off
	sidecar    string // with -o -
	allowEmpty bool
	// wants is what the source has to be; guard.Unknown is anything.
	wants guard.Format
	// mayBePlain lets BACKUP_ENCRYPTION_ENABLED=false make plain, packed files.
	mayBePlain bool
	plain      bool // it does

	place   store.Store
	pack    pack.Options
	started time.Time
	meter   backup.Meter

	// What seal made, for what is said of it afterwards.
	path   string // where it was to be, before all further stores
	result store.Result
	sealed *envelope.Envelope
	// unjudged says why nobody knows whether what was sealed is whole, or "".
	unjudged string
	// contents is what a dump of PostgreSQL holds, or nil.
	contents *guard.Contents
	stats    func() tree.Stats // of a folder, if that is what was sealed
}

func (s *sealing) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	s.guard = "on"
	s.keys.add(cmd, "seal for this key")
	f.StringVarP(&s.out, "output", "o", "", "write to this file, here or at s3://BUCKET/KEY, or to standard output with -")
	f.StringVar(&s.root, "store", "", "write below this folder or s3://BUCKET/PREFIX (default $BACKUP_ROOT)")
	f.StringArrayVar(&s.also, "also", nil, "write to this store at the same time; may be repeated (default $BACKUP_ALSO)")
	s.stored.add(f)
	f.StringVar(&s.codec, "codec", "zstd", "how to pack: zstd, gzip or none")
	f.StringVar(&s.level, "level", "fastest", "how hard to pack: fastest, default, better or best")
	s.progress.add(cmd)
	f.BoolVar(&s.json, "json", false, "print the summary as JSON, in place of the path (with -o -: on standard error)")
}

// check finds the mistakes that can be found before anything starts.
func (s *sealing) check(cmd *cobra.Command) error {
	on, err := encryptionEnabled()
	if err != nil {
		return err
	}
	if !on {
		if inProduction() {
			return usagef("BACKUP_ENCRYPTION_ENABLED is false, which production forbids: backups are always sealed there")
		}
		if !s.mayBePlain {
			return usagef("BACKUP_ENCRYPTION_ENABLED is false, and sealing without encryption is not sealing")
		}
		s.plain = true
		warn(cmd, "BACKUP_ENCRYPTION_ENABLED is false: the backup is written unencrypted, for everybody who can read the file")
	}
	if s.pack.Codec, err = pack.ParseCodec(s.codec); err != nil {
		return usagef("--codec: %w", err)
	}
	if s.pack.Level, err = pack.ParseLevel(s.level); err != nil {
		return usagef("--level: %w", err)
	}
	if cmd.Flags().Changed("output") && s.out == "" {
		return usagef("--output is empty")
	}
	if !cmd.Flags().Changed("also") {
		s.also = alsoFolders()
	}
	if s.out == "-" && cmd.Flags().Changed("also") {
		return usagef("--also does not go with -o -: tee does that")
	}
	for _, path := range append([]string{s.out}, s.roots()...) {
		if err := store.Check(path); err != nil {
			return usage(err)
		}
	}
	s.place = s.stored.place()
	if s.root != "" && s.out != "" {
		return usagef("--store and --output exclude each other")
	}
	for _, name := range []string{s.name, cmp.Or(s.dbName, os.Getenv("DB_NAME"))} {
		if name != "" {
			if err := envelope.CheckName(name); err != nil {
				return usagef("--name or DB_NAME: %w", err)
			}
		}
	}
	if s.out == "-" && isTerminal(os.Stdout) {
		return usagef("standard output is a terminal: sealed bytes are not for reading")
	}
	if s.out == "-" && isNowhere(os.Stdout) {
		return stdoutError(errors.New("it is closed"))
	}
	return nil
}

// begin fetches the keys and starts the clock. It comes before any source:
// without a key nothing else may start. A backup that is not encrypted has no
// key. The caller closes the ring.
func (s *sealing) begin(cmd *cobra.Command) (*keystore.Ring, []*kek.Key, error) {
	s.started = time.Now()
	if s.plain {
		return keystore.NewRing(), nil, nil
	}
	ring, keys, err := s.keys.required(cmd.Context())
	if err != nil {
		return nil, nil, err
	}
	if err := s.checkPlacement(ring.Sources()); err != nil {
		ring.Close()
		return nil, nil, err
	}
	return ring, keys, nil
}

// checkPlacement refuses a key that stands with the backups.
func (s *sealing) checkPlacement(sources []keystore.Source) error {
	for _, folder := range s.roots() {
		if store.IsRemote(folder) {
			continue
		}
		for _, src := range sources {
			if err := keystore.CheckApart(src, folder); err != nil {
				return fmt.Errorf("checking where the key stands: %w", err)
			}
		}
	}
	return nil
}

// roots are the folders below which the backup and its copies will stand.
func (s *sealing) roots() []string {
	switch {
	case s.out == "-":
		return nil
	case s.out != "":
		return append([]string{store.Dir(s.out)}, s.also...)
	case s.root != "":
		return append([]string{s.root}, s.also...)
	}
	return append([]string{storeFolder()}, s.also...)
}

// folder is where backups of the kind go.
func (s *sealing) folder() string {
	if s.root != "" {
		return store.Join(s.root, s.kind)
	}
	return backupFolder(s.kind)
}

// markedSource tells the errors of the source from all others.
type markedSource struct{ io.Reader }

func (m markedSource) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = sourceError(err)
	}
	return n, err
}

// target is where the sealed bytes go. Exactly one of Commit and Abort counts.
type target interface {
	io.Writer
	Commit() (store.Result, error)
	Abort() error
}

func (s *sealing) seal(cmd *cobra.Command, stop context.CancelCauseFunc, src io.Reader, keys []*kek.Key) error {
	input := bufio.NewReaderSize(markedSource{src}, guard.SniffLen)
	head, err := input.Peek(guard.SniffLen)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading the source: %w", err)
	}
	format := guard.Sniff(head)
	if s.wants != guard.Unknown && format != s.wants {
		return sourceError(fmt.Errorf("the source gave no %v: it begins as %v", s.wants, format))
	}
	if s.kind == "" {
		s.kind = backup.KindOf(format)
	}
	var checked io.Reader = input
	var g *guard.Reader
	if s.guard == "on" {
		g = guard.NewReader(input, guard.Options{AllowEmpty: s.allowEmpty})
		defer g.Close()
		checked = g
	}
	dst, name, err := s.target(cmd.Context(), format)
	if err != nil {
		return err
	}
	defer dst.Abort()

	recordOf(cmd).Meter = &s.meter
	hide := s.progress.start(cmd.ErrOrStderr(), "sealing", -1, &s.meter)
	opts := backup.SealOptions{
		Label: envelope.Label{Created: s.started, Kind: s.kind, Name: name},
		Keys:  keys, Pack: s.pack, Meter: &s.meter, Stop: stop,
	}
	var sealed *envelope.Envelope // nil when it is plain
	if s.plain {
		err = backup.Pack(dst, checked, opts)
	} else {
		sealed, err = backup.Seal(cmd.Context(), dst, checked, opts)
	}
	hide()
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	s.judged(cmd, g)
	if s.out == "" || s.json && s.out != "-" {
		if err := checkStdout(); err != nil {
			return err
		}
	}
	result, err := dst.Commit()
	if err != nil {
		return err
	}
	s.result, s.sealed = result, sealed
	rec := recordOf(cmd)
	rec.Path, rec.Name, rec.Kind = result.Path, name, s.kind
	if sealed != nil {
		describe(rec, sealed, sealed.KeyIDs()...)
	}
	if err := s.summarize(cmd, name, sealed, result); err != nil {
		return err
	}
	return copiesOutcome(cmd, dst)
}

// judged takes what the guard has found, and warns of what it did not judge.
func (s *sealing) judged(cmd *cobra.Command, g *guard.Reader) {
	s.contents, s.unjudged = nil, "the guard was off"
	if g == nil {
		return
	}
	s.contents, s.unjudged = g.Contents(), ""
	if s.kind == backup.Manifest { // this program's own
		return
	}
	if s.unjudged = g.Unjudged(); s.unjudged != "" && !s.progress.quiet && !s.json {
		warn(cmd, "content not judged: whether it is complete is not known, %s", s.unjudged)
	}
}

// target opens the destinations and says what the envelope calls the backup.
func (s *sealing) target(ctx context.Context, format guard.Format) (target, string, error) {
	if s.out == "-" {
		t, err := newStdoutTarget(s.sidecar)
		return t, cmp.Or(s.name, "stdin"), err
	}
	first, path, err := s.file(ctx, format)
	s.path = path
	t, err := withCopies(ctx, s.place, first, err, path, s.also, cmp.Or(s.beside, s.kind))
	return t, s.label(path), err
}

// file begins the backup under the name that it was given, or one of its own.
func (s *sealing) file(ctx context.Context, format guard.Format) (store.Writer, string, error) {
	opts := store.Options{Sidecar: true}
	if s.out == "" {
		naming := backup.Naming{
			Base: cmp.Or(s.base, s.name), DBName: cmp.Or(s.dbName, os.Getenv("DB_NAME")), Kind: s.kind,
			Format: format, Codec: s.pack.Codec, Time: s.started, Plain: s.plain,
		}
		opts.Parents = true
		var path string
		f, err := store.CreateUnique(ctx, s.place, func(n int) string {
			path = store.Join(s.folder(), naming.FileName(n))
			return path
		}, opts)
		return f, path, err
	}
	if err := envelope.CheckName(s.label(s.out)); err != nil {
		return nil, "", usagef("--output: %w", err)
	}
	f, err := s.place.Create(ctx, s.out, opts)
	return f, s.out, err
}

// label is the envelope's name of a backup at path.
func (s *sealing) label(path string) string {
	if s.name != "" {
		return s.name
	}
	return strings.TrimSuffix(store.Base(path), backup.Suffix)
}

// summary is what seal tells about a finished backup.
type summary struct {
	Path    string   `json:"path,omitempty"`
	ID      string   `json:"id,omitempty"`
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Codec   string   `json:"codec"`
	KeyIDs  []kek.ID `json:"key_ids,omitempty"`
	In      int64    `json:"bytes_in"`
	Out     int64    `json:"bytes_out"`
	Seconds float64  `json:"seconds"`
	SHA256  string   `json:"sha256,omitempty"`
	// Unjudged says why it is not known whether the content is complete.
	Unjudged string `json:"unjudged,omitempty"`

	Tree *tree.Stats `json:"tree,omitempty"` // of a folder
}

// summarize tells about a backup. Its envelope is nil when it has none.
func (s *sealing) summarize(cmd *cobra.Command, name string, e *envelope.Envelope, r store.Result) error {
	sum := summary{
		Path: r.Path, Kind: s.kind, Name: name, Codec: string(s.pack.Codec),
		In: s.meter.In(), Out: s.meter.Out(), Seconds: time.Since(s.started).Seconds(), SHA256: r.SHA256, Unjudged: s.unjudged,
	}
	verb, forWhom := "packed", "unencrypted"
	if e != nil {
		sum.ID, sum.KeyIDs = e.ID.String(), e.KeyIDs()
		verb, forWhom = "sealed", "for key "+joinIDs(sum.KeyIDs)
	}
	if s.stats != nil {
		stats := s.stats()
		sum.Tree = &stats
	}
	if !s.progress.quiet && !s.json {
		words := fmt.Sprintf("%s %s into %s, ratio %s, in %.2f s, %s", verb, bytesText(sum.In), bytesText(sum.Out),
			ratioText(sum.In, sum.Out), sum.Seconds, forWhom)
		if sum.SHA256 != "" {
			words += ", sha256 " + sum.SHA256
		}
		if sum.Tree != nil {
			words += "; " + sum.Tree.String()
		}
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	var err error
	switch {
	case s.json && s.out == "-":
		err = writeJSON(cmd.ErrOrStderr(), sum)
	case s.json:
		err = writeJSON(cmd.OutOrStdout(), sum)
	case s.out == "", s.mayBePlain && s.out != "-": // backup always tells the path
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
