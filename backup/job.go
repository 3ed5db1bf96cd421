package backup

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

// Source opens the data to back up. A blocked Read must end when ctx does, with its cause.
// The job closes the reader.
type Source func(ctx context.Context) (io.ReadCloser, error)

// From is the Source of a reader that can be read once. The job does not close it.
func From(r io.Reader) Source {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(r), nil }
}

// Job makes a backup each time it runs.
type Job struct {
	Source Source
	// Want is the expected format of the source; guard.Unknown is any.
	Want  guard.Format
	Guard guard.Options
	// Unguarded skips the check that the source is whole.
	Unguarded bool

	Kind    string // "" is the kind that the source speaks for
	Name    string // of the label; "" is the file's name
	Created time.Time
	Pack    pack.Options // without a Codec: zstd
	// Recipients may open the backup. A Plain job has none: its file is only packed, and
	// anybody can open it.
	Recipients []envelope.Recipient
	Plain      bool
	// Signer, if set, signs the backup at every destination before it gets its name. It
	// excludes Plain and Sinks without room for a signature.
	Signer ssh.Signer

	Store store.Store
	To    Dest
	Also  []string // roots of further stores that get the same file

	contents func() []byte      // of a database, see [tables.PartContents]; after reading
	stats    func() *tree.Stats // of a folder; after reading
	night    *night             // of an incremental backup, or nil
}

// Dest is where a backup goes: to Sink, to the file at Path, or under a generated name
// below Root.
type Dest struct {
	Sink   func() (Sink, error)
	Path   string
	Root   string
	Flat   bool   // below Root there is no folder for the kind
	Base   string // begins a generated name, instead of Name or DBName
	DBName string // the database's
	Folder string // below the roots of Also (default: the kind)
}

// Sink takes one backup and ends with either Commit or Abort.
type Sink interface {
	io.Writer
	Commit() (store.Result, error)
	Abort() error
}

// Observer observes a job. All fields may be nil.
type Observer struct {
	Meter *Meter       // counts what is read and written
	Ready func() error // runs before the backup gets its name; an error aborts it
}

// Made is a finished backup.
type Made struct {
	Backup
	Envelope *envelope.Envelope // nil for a plain file
	SHA256   string             // of the file, lower-case hex; empty for some Sinks
	In, Out  int64              // bytes of the source and of the file
	// Unjudged is why the guard cannot say whether the content is complete, or "".
	Unjudged string
	Proof    pack.Proof      // what unpacking it again found, before it was sealed
	Signer   string          // fingerprint (SHA256:…) of the signing key, or empty
	Contents *guard.Contents // what a dump of PostgreSQL holds, or nil
	Tree     *tree.Stats     // of a folder, or nil
	Copies   []*store.Copy   // of further stores, with an error for each that failed
}

// Run makes the backup. Without an error it is durable under its name in at least one
// store; with one, nothing is left. Its State is Authentic: this run sealed it, and nobody
// has read it back.
func (j Job) Run(ctx context.Context, o Observer) (*Made, error) {
	if o.Meter == nil {
		o.Meter = new(Meter)
	}
	j.Pack.Codec = cmp.Or(j.Pack.Codec, pack.Zstd)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	src, err := j.Source(ctx)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	input := bufio.NewReaderSize(markedSource{src}, guard.SniffLen)
	head, err := input.Peek(guard.SniffLen)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the source: %w", err)
	}
	format := guard.Sniff(head)
	if j.Want != guard.Unknown && format != j.Want {
		return nil, SourceError(fmt.Errorf("the source gave no %v: it begins as %v", j.Want, format))
	}
	if j.Kind == "" {
		j.Kind = KindOf(format)
	}
	var checked io.Reader = input
	var g *guard.Reader
	var ix indexer
	if !j.Unguarded {
		var done func()
		if ix, done, err = j.indexer(format); err != nil {
			return nil, err
		}
		defer done()
		g = guard.NewReader(input, j.Guard)
		defer g.Close()
		checked = g
	}
	dst, err := j.openTarget(ctx, format)
	if err != nil {
		return nil, err
	}
	defer dst.Abort()
	if err := j.signable(dst); err != nil {
		return nil, err
	}
	made := &Made{Unjudged: "the guard was off"}
	if j.Plain {
		err = j.pack(dst, checked, ix, o.Meter, stop, &made.Proof)
	} else {
		made.Envelope, err = j.seal(ctx, dst, checked, ix, o.Meter, stop, &made.Proof)
		if j.Signer != nil {
			made.Signer = ssh.FingerprintSHA256(j.Signer.PublicKey())
		}
	}
	if err == nil {
		err = j.night.fault()
	}
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if g != nil {
		made.Contents, made.Unjudged = g.Contents(), g.Unjudged()
	}
	if j.stats != nil {
		made.Tree = j.stats()
	}
	if o.Ready != nil {
		if err := o.Ready(); err != nil {
			return nil, err
		}
	}
	written, err := dst.Commit()
	if err != nil {
		return nil, err
	}
	made.Path, made.Size, made.SHA256 = written.Path, written.Size, written.SHA256
	made.In, made.Out = o.Meter.In(), o.Meter.Out()
	made.Kind, made.Name, made.Created, made.Codec = j.Kind, dst.name, j.Created.UTC(), string(j.Pack.Codec)
	if e := made.Envelope; e != nil {
		made.ID, made.Label, made.Keys, made.Recipients, made.State = e.ID, e.Label, e.KeyIDs(), e.Recipients(), Authentic
	}
	if t, ok := dst.Sink.(store.Tee); ok {
		made.Copies = t
	}
	return made, nil
}

// indexer has the guard collect the index of the content. The caller calls done.
func (j *Job) indexer(format guard.Format) (ix indexer, done func(), err error) {
	switch {
	case j.Pack.Codec != pack.Zstd:
	case format == guard.Tar:
		if j.night != nil { // whose source has been read from by now
			j.Guard.TarEntry = j.night.builder.Add
			return j.night.index, func() {}, nil
		}
		entries, err := members.NewBuilder()
		if err != nil {
			return nil, nil, err
		}
		j.Guard.TarEntry = entries.Add
		return entries.Finish, entries.Close, nil
	case format == guard.PlainDump:
		pieces, err := tables.NewBuilder()
		if err != nil {
			return nil, nil, err
		}
		j.Guard.Piece = pieces.Add
		return func(size int64) (*index.Content, error) {
			if j.contents != nil {
				pieces.Contents(j.contents())
			}
			return pieces.Finish(size)
		}, pieces.Close, nil
	}
	return nil, func() {}, nil
}

// target is the destination of a job's bytes, and the label's name.
type target struct {
	Sink
	name string
}

func (j Job) openTarget(ctx context.Context, format guard.Format) (*target, error) {
	name := func(path string) string {
		if j.Name != "" {
			return j.Name
		}
		return strings.TrimSuffix(store.Base(path), Suffix)
	}
	opts := store.Options{Sidecar: true}
	var w store.Writer
	var err error
	path := j.To.Path
	switch {
	case j.To.Sink != nil:
		sink, err := j.To.Sink()
		return &target{sink, name("stdin")}, err
	case path != "":
		if err := envelope.CheckName(name(path)); err != nil {
			return nil, fail.Usagef("%s: %w", path, err)
		}
		w, err = j.Store.Create(ctx, path, opts)
	default:
		opts.Parents = true
		w, err = store.CreateUnique(ctx, j.Store, func(n int) string {
			path = j.generated(format, n)
			return path
		}, opts)
	}
	if len(j.Also) > 0 && (err == nil || store.IsStoreFault(err)) {
		folder := j.To.Folder
		if folder == "" {
			folder = Family(j.Kind)
		}
		var also []string
		for _, root := range j.Also {
			also = append(also, store.Join(root, folder, store.Base(path)))
		}
		w, err = store.NewTee(ctx, j.Store, w, err, path, also)
	}
	if err != nil {
		return nil, err
	}
	return &target{w, name(path)}, nil
}

func (j Job) generated(format guard.Format, n int) string {
	base := j.To.Base
	if base == "" {
		base = j.Name
	}
	file := Naming{
		Base: base, DBName: j.To.DBName, Kind: Family(j.Kind), Format: format, Codec: j.Pack.Codec, Time: j.Created, Plain: j.Plain, Link: j.link(),
	}.FileName(n)
	if j.To.Flat {
		return store.Join(j.To.Root, file)
	}
	return store.Join(j.To.Root, Family(j.Kind), file)
}

// SourceError marks err as a failure to read the source: a store's may have the same errno.
func SourceError(err error) error {
	if class, _ := fail.Of(err); err == nil || class == fail.Source {
		return err
	}
	return fail.As(fail.Source, "look at the source and its messages; nothing was kept", err)
}

type markedSource struct{ io.Reader }

func (m markedSource) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = SourceError(err)
	}
	return n, err
}
