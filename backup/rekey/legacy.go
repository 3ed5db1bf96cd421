package rekey

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

var (
	// ErrPassphrase is returned when a file of openssl decrypts to nothing known.
	ErrPassphrase = fail.New(fail.Key, "give the right --legacy-passphrase-file, and --legacy-iterations as openssl was given -iter", "it does not decrypt to a dump or an archive: the passphrase or the number of iterations is wrong")
	// ErrNoPassphrase is returned for a file of openssl without a passphrase.
	ErrNoPassphrase = fail.New(fail.Key, "give --legacy-passphrase-file", "it is encrypted by openssl, and there is no passphrase")
	// ErrNotLegacy is returned for a file that is not one to import.
	ErrNotLegacy = fail.New(fail.Failed, "takumi-backup inspect FILE says whether it is a sealed backup", "neither a file of openssl enc nor a dump or an archive")
)

// LegacyDamageError says that a file to import is not whole.
type LegacyDamageError struct{ Reason error }

// Error says what is wrong with it.
func (e *LegacyDamageError) Error() string {
	return fmt.Sprintf("it is cut short or damaged: %v", e.Reason)
}

// Fail is the class and the hint of the error.
func (*LegacyDamageError) Fail() (fail.Class, string) {
	return fail.Damaged, "use another copy of this file, or an older one"
}

// ImportOptions say how to import. They serve many files at once.
type ImportOptions struct {
	Options                   // From are the keys of old files; StateDir, DropOther and Rescue are ignored
	ReadBack   *keystore.Ring // the keys of To from where they are kept
	Pack       pack.Options
	Passphrase []byte // of openssl's files; nil when there is none
	Iterations int
	Kind       string // "" is the kind that the file looks like
	Root       string // the new backup goes to its kind's folder under it; "" is the old file's folder
}

// IsLegacy reports whether to import a file: any output of openssl, and a dump or archive
// by name and beginning.
func IsLegacy(name string, head []byte) bool {
	if bytes.HasPrefix(head, []byte(saltedMagic)) {
		return true
	}
	name = store.Base(name)
	return !strings.HasPrefix(name, ".") && trimEndings(name) != name && guard.Sniff(head) != guard.Unknown
}

// Import makes a backup of the file at path, which stays: the output of openssl, or a dump
// or an archive, packed or not. It must be whole by the rules of package guard, and the
// backup is read back. After an error nothing is made. A backup of that name with the same
// content is kept, another one is [store.ErrExists].
//
// openssl has no checksum: Warnings says when damage in the middle, of an unpacked file,
// would go unnoticed.
//
// The errors are ErrPassphrase, ErrNoPassphrase, ErrKey, ErrNoKey, ErrNotLegacy,
// *LegacyDamageError, *ReadBackError, and those of the place and the keys.
func Import(ctx context.Context, path string, o ImportOptions) (Result, error) {
	file, err := o.Store.Open(ctx, path)
	if err != nil {
		return Result{}, err
	}
	defer file.Close()
	old, err := openLegacy(ctx, file, path, o)
	if err != nil {
		return Result{}, err
	}
	checked := guard.NewReader(old.content, guard.Options{})
	defer checked.Close()
	d := newDigest()
	src := io.TeeReader(checked, d)

	kind := o.Kind
	if kind == "" {
		kind = kindOf(path, old.format)
	}
	created := timeOf(store.Base(path), file.ModTime())
	name := backup.Naming{Base: baseOf(path), Kind: kind, Format: old.format, Codec: o.Pack.Codec, Time: created}.FileName(1)
	folder := store.Dir(path)
	if o.Root != "" {
		folder = store.Join(o.Root, kind)
	}
	made := Result{Made: store.Join(folder, name)}
	if !old.proved {
		made.warn("it was not packed, so that damage in its middle cannot be found")
	}
	if o.DryRun {
		_, err := io.Copy(io.Discard, src)
		return made, old.judge(ctx, err)
	}
	dst, err := o.Store.Create(ctx, made.Made, store.Options{Sidecar: true, Parents: o.Root != ""})
	if errors.Is(err, store.ErrExists) {
		made.Skipped = "its content is there already"
		return made, compare(ctx, &made, old, src, d, o, err)
	}
	if err != nil {
		return made, err
	}
	defer dst.Abort()
	w := newWitness(o.To)
	defer w.wipe()
	if !o.ReadBack.Opens() {
		o.ReadBack = keystore.NewRing()
		o.ReadBack.AddIdentities(w)
	}
	made.New, err = backup.Seal(ctx, dst, src,
		envelope.Label{Created: created, Kind: kind, Name: strings.TrimSuffix(name, backup.Suffix)}, o.Pack, w.recipients...)
	if err != nil {
		return made, old.judge(ctx, err)
	}
	written, err := dst.Commit()
	if err != nil {
		return made, err
	}
	made.Size, made.SHA256 = written.Size, written.SHA256
	return made, proveImport(ctx, &made, d.sum(), o)
}

// proveImport reads the new backup back, and deletes one that differs.
func proveImport(ctx context.Context, made *Result, want sum, o ImportOptions) error {
	got, err := contentOf(ctx, made.Made, o)
	if err == nil && got != want {
		err = errors.New("its content differs")
	}
	if err == nil {
		return nil
	}
	if ctx.Err() == nil {
		err = &ReadBackError{err}
	}
	b, _, statErr := o.Store.Stat(context.WithoutCancel(ctx), made.Made)
	if statErr == nil {
		statErr = o.Store.Remove(context.WithoutCancel(ctx), b)
	}
	if statErr != nil {
		err = fmt.Errorf("%w (and %s could not be removed: %w)", err, made.Made, statErr)
	}
	return err
}

// compare is Import when the new backup's name is taken.
func compare(ctx context.Context, made *Result, old *legacy, src io.Reader, d *digest, o ImportOptions, exists error) error {
	if _, err := io.Copy(io.Discard, src); err != nil {
		return old.judge(ctx, err)
	}
	got, err := contentOf(ctx, made.Made, o)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w, and does not open: %w", exists, err)
	}
	if got != d.sum() {
		return fmt.Errorf("%w: it has another content", exists)
	}
	return nil
}

// contentOf reads a backup to its end, with keys fetched again.
func contentOf(ctx context.Context, path string, o ImportOptions) (sum, error) {
	f, err := backup.Open(ctx, o.Store, path, backup.Options{Keys: o.ReadBack})
	if err != nil {
		return sum{}, err
	}
	defer f.Close()
	return sumOf(f.Reader, true)
}

type legacy struct {
	content io.Reader    // decrypted and unpacked
	format  guard.Format // of the content
	proved  bool         // a checksum covers the content
	packed  *pack.Reader
	file    *source
}

// source keeps the store's errors apart from damage.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func openLegacy(ctx context.Context, file store.Object, path string, o ImportOptions) (*legacy, error) {
	l := &legacy{file: &source{Reader: o.Meter.Metered(file)}}
	outer := bufio.NewReaderSize(l.file, guard.SniffLen)
	head, err := outer.Peek(len(saltedMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	encrypted := string(head) == saltedMagic
	if encrypted {
		if o.Passphrase == nil {
			return nil, ErrNoPassphrase
		}
		if (file.Size()-int64(saltedHead))%16 != 0 {
			return nil, &LegacyDamageError{errCut}
		}
		cbc, err := newCBCReader(outer, o.Passphrase, o.Iterations)
		if err != nil {
			return nil, l.judge(ctx, err)
		}
		outer = bufio.NewReaderSize(cbc, guard.SniffLen)
	} else if plain, err := keyed(ctx, file, outer, path, o); err != nil {
		return nil, l.judge(ctx, err)
	} else if plain != nil {
		_, l.proved = plain.(*bytes.Reader) // by the tag of GCM
		outer = bufio.NewReaderSize(plain, guard.SniffLen)
	}
	head, err = outer.Peek(guard.SniffLen)
	if l.file.err != nil {
		return nil, l.file.err
	}
	switch format := guard.Sniff(head); {
	case errors.Is(err, errCut):
		return nil, l.judge(ctx, err)
	case format == guard.Unknown && encrypted:
		return nil, ErrPassphrase
	case format == guard.Unknown:
		return nil, ErrNotLegacy
	case format != guard.Gzip && format != guard.Zstd:
		l.content, l.format = outer, format
		return l, nil
	case format == guard.Gzip:
		l.packed, err = pack.NewReader(outer, pack.Gzip)
	default:
		l.packed, err = pack.NewReader(outer, pack.Zstd)
	}
	if err != nil {
		return nil, err
	}
	inner := bufio.NewReaderSize(l.packed, guard.SniffLen)
	head, err = inner.Peek(guard.SniffLen)
	if err != nil && err != io.EOF {
		return nil, l.judge(ctx, err)
	}
	l.content, l.format, l.proved = inner, guard.Sniff(head), true
	return l, nil
}

// judge separates failures of the store and the new backup from damage of the old file.
func (l *legacy) judge(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case l.file.err != nil:
		return fmt.Errorf("reading the old file: %w", l.file.err)
	}
	for _, damage := range []error{errCut, errPadding, guard.ErrEmpty} {
		if errors.Is(err, damage) {
			return &LegacyDamageError{err}
		}
	}
	if errors.As(err, new(*guard.IncompleteError)) || errors.As(err, new(*pack.Error)) {
		return &LegacyDamageError{err}
	}
	return err
}

// FindLegacy is [backup.Find] for files to import: in a folder all that is neither a sealed
// backup nor another file's companion, including files that cannot be imported, which must
// not pass for done.
func FindLegacy(ctx context.Context, st store.Store, paths []string) (items []backup.Backup, several bool, err error) {
	several = len(paths) > 1
	for _, path := range paths {
		b, isRoot, err := st.Stat(ctx, path)
		if err != nil && len(paths) == 1 {
			return nil, several, err
		}
		if err != nil || !isRoot {
			b.Path = path
			items = append(items, backup.Backup{Backup: b, Err: err})
			continue
		}
		several = true
		for b, err := range st.Walk(ctx, path, true) {
			if ctx.Err() != nil {
				return nil, several, context.Cause(ctx)
			}
			legacy := false
			if err == nil {
				legacy, err = toImport(ctx, st, b.Path)
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

// passedOver is why a file in a folder is skipped, which is not a failure.
type passedOver struct{ error }

var errOther = passedOver{errors.New("it is not named as a dump or an archive, and openssl did not encrypt it")}

// toImport reports whether to import a file. The error is passedOver for one whose skipping
// is reported.
func toImport(ctx context.Context, st store.Store, path string) (bool, error) {
	name := store.Base(path)
	if strings.HasPrefix(name, ".") {
		return false, nil
	}
	for _, ending := range []string{IVSuffix, tagSuffix, store.SidecarSuffix, envelope.DetachedSuffix, store.SignatureSuffix} {
		owner, is := store.CutSuffix(path, ending)
		if !is {
			continue
		}
		if _, _, err := st.Stat(ctx, owner); err == nil {
			return false, nil
		}
	}
	file, err := st.Open(ctx, path)
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
	head = head[:n]
	if _, err := envelope.Parse(bytes.NewReader(head)); !errors.Is(err, envelope.ErrNotSealed) {
		return false, nil
	}
	// A backup's name with unknown content fails in its turn.
	if IsLegacy(path, head) || trimEndings(name) != name {
		return true, nil
	}
	if iv, err := beside(ctx, st, store.Beside(path, IVSuffix)); err != nil || iv != nil {
		return true, err
	}
	return false, errOther
}

// endings are removed from an old file's name, repeatedly.
var endings = []string{".enc", ".aes", ".ssl", ".gz", ".zst", ".sql", ".dump", ".tar", ".tgz"}

func trimEndings(name string) string {
	for trimmed := ""; trimmed != name; {
		trimmed = name
		for _, ending := range endings {
			name = strings.TrimSuffix(name, ending)
		}
	}
	return name
}

// stamp is the time in the names of backups.
var stamp = regexp.MustCompile(`_?(\d{8}_\d{6})`)

// baseOf returns the name of the source of an old file.
func baseOf(path string) string {
	if base := stamp.ReplaceAllString(trimEndings(store.Base(path)), ""); envelope.CheckName(base) == nil {
		return base
	}
	return "imported"
}

// timeOf is the time in the name, in UTC, or else that of the file.
func timeOf(name string, modified time.Time) time.Time {
	if found := stamp.FindStringSubmatch(name); found != nil {
		if t, err := time.Parse("20060102_150405", found[1]); err == nil {
			return t
		}
	}
	return modified.UTC().Truncate(time.Second)
}

func kindOf(path string, format guard.Format) string {
	kind := backup.KindOf(format)
	if kind != backup.KindStream {
		return kind
	}
	// The name itself first, then the folder next to it.
	for _, part := range []string{store.Base(path), store.Base(store.Dir(path))} {
		for _, word := range []string{backup.KindContracts, backup.KindUploads} {
			if strings.Contains(strings.ToLower(part), word) {
				return word
			}
		}
	}
	return kind
}

// maxLegacyPassphrase is how much of a line openssl takes, in bytes.
const maxLegacyPassphrase = 1023

// ReadPassphrase returns the first line of a private file, nil for "". The caller clears it.
func ReadPassphrase(ctx context.Context, path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	file := keystore.File{Path: path}
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
