package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// ErrMisnamed marks a backup whose file and label name different series.
var ErrMisnamed = fail.New(fail.Failed, "find out who gave the file this name; takumi-backup open opens it as what its label says", "the name of the file and the label disagree")

// ErrSidecar is returned for a backup that differs from its sidecar.
var ErrSidecar = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the file is not what its sidecar says")

// Misnamed returns ErrMisnamed when a generated file name has another series or time than
// the label. Other file names pass, and so does a prefix that ends in "-" or ".".
func Misnamed(path, label string) error {
	file := store.Base(path)
	at, mine := stampIn(file), stampIn(label)
	if at == "" || mine == "" {
		return nil
	}
	before, same := strings.CutSuffix(SeriesOf(file), SeriesOf(label))
	if at == mine && same && (before == "" || strings.HasSuffix(before, "-") || strings.HasSuffix(before, ".")) {
		return nil
	}
	return fmt.Errorf("%w: the label says %q", ErrMisnamed, label)
}

func stampIn(name string) string {
	all := stamp.FindAllString(name, -1)
	if all == nil {
		return ""
	}
	return all[len(all)-1]
}

// looks is how often a file and its sidecar are compared before they count as different.
const looks = 4

// Prove reads the backup at path to its end and returns nil only when every byte is
// authentic and the file matches its sidecar, if any. The errors are those of [Open],
// ErrSidecar and those of reading.
func Prove(ctx context.Context, st store.Store, path string, o Options) error {
	for n := 1; ; n++ {
		err := prove(ctx, st, path, o)
		if n == looks || !errors.Is(err, ErrSidecar) {
			return err
		}
		// A rewrap renames the sidecar first and then the file.
		select {
		case <-time.After(time.Duration(n) * 50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func prove(ctx context.Context, st store.Store, path string, o Options) error {
	want, err := sidecarOf(ctx, st, path)
	if err != nil {
		return err
	}
	var hash *store.HashReader
	if want != "" {
		o.through = func(src io.Reader) io.Reader {
			if hash != nil {
				hash.Sum() // of an opening that began anew
			}
			hash = store.NewHashReader(src)
			return hash
		}
		defer func() {
			if hash != nil {
				hash.Sum()
			}
		}()
	}
	f, err := Open(ctx, st, path, o)
	if err != nil {
		return err
	}
	defer f.Close()
	if o.Content == nil {
		_, err = f.WriteTo(io.Discard)
	} else {
		err = f.readToEnd(o.Content)
	}
	if want == "" {
		return err
	}
	sum := hash.Sum()
	if got := hex.EncodeToString(sum[:]); err == nil && got != want {
		if want, err = sidecarOf(ctx, st, path); err == nil && (got == want || Staged(ctx, st, path, got)) {
			return nil // rewrapped before it was opened, or the rewrap was killed
		}
		err = fmt.Errorf("%s: %w", path, ErrSidecar)
	}
	return err
}

// readToEnd reads the backup to its end, with content as the reader of the payload.
func (f *Handle) readToEnd(content func(io.Reader) error) error {
	plain := NewPlaintext(f.Reader, new(Meter))
	defer plain.Close()
	verdict := content(plain)
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return err
	}
	return verdict
}

// Staged reports whether a rewrap or reencrypt of the backup, which has this SHA-256 in
// hex, was killed before it replaced the sidecar: the next one finishes it. A bucket has
// the sum in the object, a folder has the right sidecar under another name.
func Staged(ctx context.Context, st store.Store, path, sum string) bool {
	o, err := st.Open(ctx, path)
	if err != nil {
		return false
	}
	defer o.Close()
	if swapped, ok := o.(interface {
		Noted() (sum [sha256.Size]byte, ok bool)
	}); ok {
		noted, ok := swapped.Noted()
		return ok && sum == hex.EncodeToString(noted[:])
	}
	staged, err := sidecarAt(ctx, st, local.Partial(path+store.SidecarSuffix), path)
	return err == nil && staged == sum
}

// sidecarOf returns the sum in a backup's sidecar, "" without one.
func sidecarOf(ctx context.Context, st store.Store, path string) (string, error) {
	return sidecarAt(ctx, st, path+store.SidecarSuffix, path)
}

func sidecarAt(ctx context.Context, st store.Store, at, path string) (string, error) {
	obj, err := st.Open(ctx, at)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer obj.Close()
	text, err := io.ReadAll(io.LimitReader(obj, store.MaxSidecar+1))
	if err != nil {
		return "", err
	}
	sum, name, ok := store.ParseSidecar(string(text))
	if !ok || name != store.Base(path) {
		return "", fmt.Errorf("%s: %w", at, ErrSidecar)
	}
	return sum, nil
}
