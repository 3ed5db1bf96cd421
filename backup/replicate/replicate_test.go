package replicate_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// sealed returns a backup, each of another id.
func sealed(t *testing.T, size int) []byte {
	t.Helper()
	key, err := kek.New(bytes.Repeat([]byte("0123456789abcdef"), 2))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &out, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, key)
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// besides returns a detached envelope of the backup, for the key of this seed alone.
func besides(t *testing.T, of []byte, seed byte) []byte {
	t.Helper()
	old, err := kek.New(bytes.Repeat([]byte("0123456789abcdef"), 2))
	if err != nil {
		t.Fatal(err)
	}
	material := sha256.Sum256([]byte{seed})
	key, err := kek.New(material[:])
	if err != nil {
		t.Fatal(err)
	}
	find := func(context.Context, []slot.Holder) ([]slot.Identity, error) { return slot.Identities(old), nil }
	w, err := envelope.Rewrap(t.Context(), bytes.NewReader(of), int64(len(of)), envelope.Options{Find: find}, envelope.RewrapOptions{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return w.New.Bytes()
}

// ago dates a file back.
func ago(t *testing.T, path string, d time.Duration) {
	t.Helper()
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-d)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// keep writes a backup and its sidecar.
func keep(t *testing.T, path string, content []byte) {
	t.Helper()
	write(t, path, content)
	write(t, path+store.SidecarSuffix, []byte(store.FormatSidecar(sha256.Sum256(content), filepath.Base(path))))
}

// TestPlanAndOne: what is done about a backup, by what is at the two ends.
func TestPlanAndOne(t *testing.T) {
	mine, other := sealed(t, 300_000), sealed(t, 300_000)
	first, second := besides(t, mine, 1), besides(t, mine, 2)
	rewrapped := append(bytes.Clone(first), mine[len(first):]...) // of the same id and length
	damaged := bytes.Clone(mine)
	damaged[len(damaged)-1] ^= 1
	for name, tc := range map[string]struct {
		set     func(t *testing.T, from, to string)
		options replicate.Options
		action  replicate.Action
		err     error
		want    []byte // at the destination
		beside  string
	}{
		"missing":                    {set: func(t *testing.T, from, to string) { keep(t, from, mine) }, action: replicate.Copy, want: mine},
		"missing, without a sidecar": {set: func(t *testing.T, from, to string) { write(t, from, mine) }, action: replicate.Copy, err: replicate.ErrIncomplete},
		"missing, taken without a sidecar": {
			set:     func(t *testing.T, from, to string) { write(t, from, mine) },
			options: replicate.Options{WithoutSidecar: true}, action: replicate.Copy, want: mine,
		},
		"missing, with an envelope beside": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			write(t, from+envelope.DetachedSuffix, second)
		}, action: replicate.Copy, want: mine, beside: string(second)},
		"missing, with what is not an envelope beside": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			write(t, from+envelope.DetachedSuffix, besides(t, other, 1))
		}, action: replicate.Copy, err: envelope.ErrPreamble},
		"rotten": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			write(t, from, damaged)
		}, action: replicate.Copy, err: replicate.ErrRotten},
		"another's sidecar": {set: func(t *testing.T, from, to string) {
			write(t, from, mine)
			write(t, from+store.SidecarSuffix, []byte(store.FormatSidecar(sha256.Sum256(mine), "other.enc")))
		}, action: replicate.Copy, err: replicate.ErrRotten},
		"the same": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, mine)
		}, action: replicate.Nothing, want: mine},
		"the same, without a sidecar here": {set: func(t *testing.T, from, to string) {
			write(t, from, mine)
			keep(t, to, mine)
		}, options: replicate.Options{WithoutSidecar: true}, action: replicate.Nothing, want: mine},
		"cut here, over a good one": {set: func(t *testing.T, from, to string) {
			write(t, from, mine[:len(mine)-1])
			keep(t, to, mine)
		}, action: replicate.Copy, err: replicate.ErrIncomplete, want: mine},
		"cut off before its sidecar": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			write(t, to, mine)
		}, action: replicate.Replace, want: mine},
		"rewrapped": {set: func(t *testing.T, from, to string) {
			keep(t, from, rewrapped)
			keep(t, to, mine)
			ago(t, to, time.Hour)
		}, action: replicate.Replace, want: rewrapped},
		"damaged, with a sidecar that says so": {set: func(t *testing.T, from, to string) {
			keep(t, from, damaged)
			keep(t, to, mine)
			ago(t, to, time.Hour)
		}, action: replicate.Replace, err: replicate.ErrPayload, want: mine},
		"damaged, and to be taken": {set: func(t *testing.T, from, to string) {
			keep(t, from, damaged)
			keep(t, to, mine)
		}, options: replicate.Options{ReplaceOthers: true}, action: replicate.Replace, want: damaged},
		"cut there": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, mine)
			write(t, to, mine[:len(mine)-1])
		}, action: replicate.Replace, want: mine},
		"rewrapped beside": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, mine)
			write(t, from+envelope.DetachedSuffix, second)
			write(t, to+envelope.DetachedSuffix, first)
			ago(t, to, time.Hour)
			ago(t, to+envelope.DetachedSuffix, time.Hour)
		}, action: replicate.Envelope, want: mine, beside: string(second)},
		"rewrapped beside, there": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			ago(t, from, time.Hour)
			keep(t, to, mine)
			write(t, to+envelope.DetachedSuffix, first)
		}, action: replicate.Kept, want: mine, beside: string(first)},
		"rewrapped beside, there, later than the backup was written": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			ago(t, from, time.Hour)
			keep(t, to, mine)
			ago(t, to, 2*time.Hour)
			write(t, to+envelope.DetachedSuffix, first)
		}, action: replicate.Kept, want: mine, beside: string(first)},
		"rewrapped, there": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			ago(t, from, time.Hour)
			keep(t, to, append(bytes.Clone(first), mine[len(first):]...))
		}, action: replicate.Kept, want: append(bytes.Clone(first), mine[len(first):]...)},
		"rewrapped, there, later than an envelope beside": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			ago(t, from, time.Hour)
			keep(t, to, rewrapped)
			write(t, to+envelope.DetachedSuffix, second)
			ago(t, to+envelope.DetachedSuffix, 2*time.Hour)
		}, action: replicate.Kept, want: rewrapped, beside: string(second)},
		"rewrapped, there, and taken away": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			ago(t, from, time.Hour)
			keep(t, to, append(bytes.Clone(first), mine[len(first):]...))
		}, options: replicate.Options{ReplaceOthers: true}, action: replicate.Replace, want: mine},
		"what is not an envelope beside, over a good one": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, mine)
			write(t, from+envelope.DetachedSuffix, besides(t, other, 1))
			write(t, to+envelope.DetachedSuffix, first)
			ago(t, to, time.Hour)
			ago(t, to+envelope.DetachedSuffix, time.Hour)
		}, action: replicate.Envelope, err: envelope.ErrPreamble, want: mine, beside: string(first)},
		"no longer rewrapped beside": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, mine)
			write(t, to+envelope.DetachedSuffix, []byte("old"))
		}, action: replicate.Envelope, want: mine},
		"rewrapped beside, then in whole": {set: func(t *testing.T, from, to string) {
			keep(t, from, rewrapped)
			keep(t, to, mine)
			ago(t, to, time.Hour)
			write(t, to+envelope.DetachedSuffix, []byte("old"))
		}, action: replicate.Replace, want: rewrapped},
		"another": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, other)
		}, action: replicate.Replace, err: replicate.ErrOther, want: other},
		"another, replaced": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, other)
		}, options: replicate.Options{ReplaceOthers: true}, action: replicate.Replace, want: mine},
		"rotten, over a good one": {set: func(t *testing.T, from, to string) {
			keep(t, from, mine)
			write(t, from, damaged)
			keep(t, to, mine[:len(mine)-1])
		}, action: replicate.Replace, err: replicate.ErrRotten, want: mine[:len(mine)-1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from", "kind", "x.enc"), filepath.Join(dir, "to", "kind", "x.enc")
			tc.set(t, from, to)
			tc.options.Place = local.Folder{}
			items, err := replicate.Plan(t.Context(), filepath.Join(dir, "from"), filepath.Join(dir, "to"), tc.options)
			if err != nil || len(items) != 1 || items[0].To != to || items[0].Action != tc.action {
				t.Fatalf("the plan is %+v, %v", items, err)
			}
			told := 0
			result, err := replicate.One(t.Context(), items[0], tc.options, func(n int) { told += n })
			if !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if tc.want == nil {
				if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("there is a copy: %v", err)
				}
				return
			}
			got, err := os.ReadFile(to)
			if err != nil || !bytes.Equal(got, tc.want) {
				t.Errorf("the copy has %d bytes and is another, %v", len(got), err)
			}
			if moves := tc.action == replicate.Copy || tc.action == replicate.Replace; tc.err == nil && moves != (told == len(mine)) {
				t.Errorf("%d bytes were told", told)
			}
			if tc.err == nil && told > 0 && (result.Path != to || result.Size != int64(len(tc.want))) {
				t.Errorf("the result is %+v", result)
			}
			line, err := os.ReadFile(to + store.SidecarSuffix)
			if want := store.FormatSidecar(sha256.Sum256(got), "x.enc"); string(line) != want {
				t.Errorf("the sidecar is %q, want %q (%v)", line, want, err)
			}
			if beside, _ := os.ReadFile(to + envelope.DetachedSuffix); string(beside) != tc.beside {
				t.Errorf("beside it stands %q, want %q", beside, tc.beside)
			}
			left, err := filepath.Glob(filepath.Join(dir, "to", "kind", ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

// TestPlan: one backup, the newer ones, and roots that are not there.
func TestPlan(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	o := replicate.Options{Place: local.Folder{}}
	if _, err := replicate.Plan(t.Context(), from, to, o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a store that is not there: %v", err)
	}
	chain := "u_20261101_020000.0123456789abcdef-"
	for name, age := range map[string]time.Duration{
		"old.enc": 48 * time.Hour, "a/new.enc": time.Hour, chain + "0.tar.enc": 48 * time.Hour, chain + "1.tar.enc": 48 * time.Hour,
	} {
		path := filepath.Join(from, name)
		keep(t, path, sealed(t, 10))
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	targets := func(from string, o replicate.Options) string {
		t.Helper()
		items, err := replicate.Plan(t.Context(), from, to, o)
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, i := range items {
			paths = append(paths, strings.TrimPrefix(i.To, to+"/"))
		}
		return strings.Join(paths, " ")
	}
	if got := targets(from+"/", o); got != "a/new.enc old.enc "+chain+"0.tar.enc "+chain+"1.tar.enc" {
		t.Errorf("all are %q", got)
	}
	if got := targets(filepath.Join(from, "a/new.enc"), o); got != "new.enc" {
		t.Errorf("one is %q", got)
	}
	o.NewerThan = time.Now().Add(-24 * time.Hour)
	if got := targets(from, o); got != "a/new.enc" {
		t.Errorf("the newer ones are %q", got)
	}
	old := filepath.Join(from, "old.enc")
	if got := targets(old, o); got != "" {
		t.Errorf("one that is not newer is %q", got)
	}
	write(t, old+envelope.DetachedSuffix, []byte("new"))
	if all, one := targets(from, o), targets(old, o); all != "a/new.enc old.enc" || one != "old.enc" {
		t.Errorf("with a new envelope next to they are %q, and one is %q", all, one)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := replicate.Plan(ended, from, to, o); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// denied is a store that does not say whether x.enc has a sidecar, as a bucket may.
type denied struct{ local.Folder }

func (d denied) Walk(ctx context.Context, root string, all bool) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) {
		for b, err := range d.Folder.Walk(ctx, root, all) {
			if filepath.Base(b.Path) == "x.enc" {
				b.Sidecar, err = false, &store.Error{Op: "look for", Path: b.Path + store.SidecarSuffix, Err: fs.ErrPermission}
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// TestSidecarDenied: a copy that cannot be looked at is an error of its own.
func TestSidecarDenied(t *testing.T) {
	t.Parallel()
	mine, dir := sealed(t, 100), t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	keep(t, filepath.Join(from, "y.enc"), mine)
	place := denied{}
	for _, root := range []string{to, from} {
		keep(t, filepath.Join(root, "x.enc"), mine)
		items, err := replicate.Plan(t.Context(), from, to, replicate.Options{Place: place})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			if x := filepath.Base(i.To) == "x.enc"; x != errors.Is(i.Err, fs.ErrPermission) || !x && i.Err != nil {
				t.Errorf("%+v", i)
			}
		}
	}
}

// watched is a folder that tells of what is done, and can give back other bytes
// than it got.
type watched struct {
	local.Folder
	done *[]string
	rots string // a path
}

func (w watched) Open(ctx context.Context, path string) (store.Object, error) {
	f, err := w.Folder.Open(ctx, path)
	if err == nil && path == w.rots {
		f.Close()
		return w.Folder.Open(ctx, path+store.SidecarSuffix)
	}
	return f, err
}

func (w watched) Create(ctx context.Context, path string, o store.Options) (store.Writer, error) {
	*w.done = append(*w.done, fmt.Sprintf("%d bytes", o.Size))
	f, err := w.Folder.Create(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return watchedWriter{f, w.done}, nil
}

type watchedWriter struct {
	store.Writer
	done *[]string
}

func (w watchedWriter) Beside(suffix string, content []byte) {
	*w.done = append(*w.done, "envelope")
	w.Writer.Beside(suffix, content)
}

// TestCopy: what comes back as something else is not a copy, and is taken away; the
// envelope next to it is there before the backup is, and the store knows the size first.
func TestCopy(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "x.enc"), filepath.Join(dir, "to", "x.enc")
	mine := sealed(t, 100)
	keep(t, from, mine)
	write(t, from+envelope.DetachedSuffix, besides(t, mine, 1))
	for _, rots := range []string{to, ""} {
		var done []string
		o := replicate.Options{Place: watched{done: &done, rots: rots}}
		items, err := replicate.Plan(t.Context(), from, filepath.Dir(to), o)
		if err != nil || len(items) != 1 {
			t.Fatalf("%+v, %v", items, err)
		}
		_, err = replicate.One(t.Context(), items[0], o, func(int) {})
		_, there := os.Stat(to)
		_, line := os.Stat(to + store.SidecarSuffix)
		if rots != "" && (!errors.Is(err, replicate.ErrNotTheSame) || there == nil || line == nil) {
			t.Errorf("a copy that rots: %v; it is there: %v, and its sidecar: %v", err, there, line)
		}
		if rots == "" && (err != nil || there != nil || !slices.Equal(done, []string{fmt.Sprintf("%d bytes", len(mine)), "envelope"})) {
			t.Errorf("%v; there: %v; before the backup came %q", err, there, done)
		}
	}
}
