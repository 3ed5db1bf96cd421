package verify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestStateIsProved: contracts whose state does not fit together are not good
// backup, however whole the archive is.
func TestStateIsProved(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	for state, want := range map[string][]Code{
		`{"version":1,"network":"local","asked":false,"note":"nobody was asked","accounts":[]}`: nil,
		`{"version":1,"network":"local","asked":true,"chain_id":1,"accounts":[]}`:               {NotRestorable},
	} {
		content := tarOf(t, "snapshot_20261123_020000/contract_state.json", []byte(state))
		b := check(t, put(t, content, backup.KindContracts, "contracts", pack.Zstd, key), Content, key)
		if !slices.Equal(codesOf(b.Findings), want) || (b.Proven == Content) != (want == nil) {
			t.Errorf("%s: %s", state, asJSON(b))
		}
	}
}

var errDisk = errors.New("input/output error")

// failingAt is a place in which one file cannot be read from some byte on; from -1
// it cannot be opened.
type failingAt struct {
	local.Folder
	path string
	at   int64
	why  error // of not opening
}

type failingFile struct {
	store.Object
	left int64
}

func (p failingAt) Open(ctx context.Context, path string) (store.Object, error) {
	if path == p.path && p.at < 0 {
		return nil, p.why
	}
	obj, err := p.Folder.Open(ctx, path)
	if err != nil || path != p.path {
		return obj, err
	}
	return &failingFile{obj, p.at}, nil
}

func (f *failingFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errDisk
	}
	n, err := f.Object.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
}

func (f *failingFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.Object.ReadAt(p, at)
	if at+int64(n) > f.left && err != io.EOF {
		return 0, errDisk
	}
	return n, err
}

// TestUnreadableIsNotGood: what cannot be read is not good, be it the last byte of
// a backup whose sum is being computed, or its sidecar.
func TestUnreadableIsNotGood(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	path := put(t, bytes.Repeat([]byte("content"), 10_000), backup.KindStream, "x", pack.None, key)
	size := int64(len(mustRead(t, path)))
	for name, tc := range map[string]failingAt{
		"nothing":                  {path: filepath.Join(filepath.Dir(path), "none")},
		"the last byte":            {path: path, at: size - 1},
		"the end":                  {path: path, at: size},
		"the sidecar":              {path: path + store.SidecarSuffix, at: 10},
		"the sidecar, not to open": {path: path + store.SidecarSuffix, at: -1, why: errDisk},
		"nothing to open":          {path: path, at: -1, why: errDisk},
		"an archived one":          {path: path, at: -1, why: store.ErrArchived},
	} {
		want := []Code{Unreadable}
		if tc.why == store.ErrArchived {
			want = []Code{Archived}
		}
		for _, level := range []Level{Checksum, Auth} {
			c := NewChecker(Options{Place: tc, Keys: ringOf(key), Level: level, pause: time.Millisecond})
			b := c.One(t.Context(), path)
			if name == "nothing" {
				want = nil
			}
			if good := b.Proven == level; good != (want == nil) || !slices.Equal(codesOf(b.Findings), want) {
				t.Errorf("%s cannot be read, %v: %s", name, level, asJSON(b))
			}
		}
	}
}

// TestSidecarWords: what is said of a sidecar that differs, and what to do about it.
func TestSidecarWords(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	path := put(t, []byte("words"), backup.KindStream, "x", pack.None, key)
	good, line := mustRead(t, path), mustRead(t, path+store.SidecarSuffix)
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	const authentic = "the content is authentic all the same, so the sidecar is wrong"
	for _, tc := range []struct {
		data    []byte
		sidecar string
		level   Level
		key     *kek.Key
		message string
		advice  string
	}{
		{good, "junk", Auth, key, "its sidecar is not a line of sha256sum", authentic},
		{good, string(sidecarOf(bad, "y.enc")), Auth, key, "its sidecar is that of another file, y.enc", authentic},
		{good, string(sidecarOf(good, "y.enc")), Auth, key, "its sidecar has the right sum, and names another file, y.enc", authentic},
		{good, string(sidecarOf(bad, path)), Auth, key, "its SHA-256 begins with " + string(line[:16]) + ", and the sidecar says ", authentic},
		{good, string(sidecarOf(bad, path)), Checksum, key, "its SHA-256 begins with ", "verify --level auth says whether"},
		{bad, string(line), Auth, key, "its SHA-256 begins with ", "see what else was found"},
		{good, string(sidecarOf(bad, path)), Auth, kek.Generate(), "its SHA-256 begins with ", "see what else was found"},
	} {
		write(t, path, tc.data)
		write(t, path+store.SidecarSuffix, []byte(tc.sidecar))
		b := check(t, path, tc.level, tc.key)
		f := b.Findings[len(b.Findings)-1]
		if f.Code != SidecarDiffers || !strings.HasPrefix(f.Message, tc.message) || !strings.HasPrefix(f.Advice, tc.advice) {
			t.Errorf("%q: %s", tc.sidecar, asJSON(b.Findings))
		}
		if first := b.Findings[0]; first.Code == NoKey && !strings.HasSuffix(first.Message, "so its key slots may be damaged too") {
			t.Errorf("a missing key: %q", first.Message)
		}
	}
	b := Backup{Findings: []Finding{{Code: Damaged, Message: "m"}, {Code: Newer, Message: "m"}}}
	if b.sharpen(); !slices.Equal(codesOf(b.Findings), []Code{Damaged, Altered}) || b.Findings[0].Message != "m" || b.Findings[1].Message == "m" {
		t.Errorf("an unknown version: %s", asJSON(b.Findings))
	}
}

// TestHolders: the keys of an envelope next to a backup count as well, if it is of that
// backup.
func TestHolders(t *testing.T) {
	t.Parallel()
	key, next := kek.Generate(), kek.Generate()
	path, other := put(t, []byte("words"), backup.KindStream, "x", pack.None, key), put(t, []byte("words"), backup.KindStream, "x", pack.None, next)
	sealed := mustRead(t, path)
	new, err := envelope.Rewrap(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{Find: ringOf(key).Identities}, envelope.RewrapOptions{}, next)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		beside []byte
		want   []string
	}{
		{new.New.Bytes(), []string{string(key.ID()), string(next.ID())}}, {mustRead(t, other)[:envelope.Unit], []string{string(key.ID())}},
	} {
		write(t, path+envelope.DetachedSuffix, tc.beside)
		if b := check(t, path, Checksum); !slices.Equal(b.KeyIDs, tc.want) {
			t.Errorf("%q, want %q", b.KeyIDs, tc.want)
		}
	}
}

// TestMissingPath: of several paths one that is not there is a backup that was not looked
// at, with one finding, and the store has none besides.
func TestMissingPath(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	good := put(t, []byte("content"), backup.KindStream, "x", pack.Zstd, key)
	missing := filepath.Join(t.TempDir(), "missing.enc")
	r := run(t, &Job{Options: Options{Place: local.Folder{}, Keys: ringOf(key), Level: Auth}, Paths: []string{good, missing}})
	if b := byPath(r)[missing]; b.Checked || b.Why != unseen || len(b.Findings) != 1 || len(r.Findings) != 0 {
		t.Errorf("%s and %+v", asJSON(b), r.Findings)
	}
}
