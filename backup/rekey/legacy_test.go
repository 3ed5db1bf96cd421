package rekey

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

const (
	passphrase = "the old passphrase"
	// iterations are few, because the tests derive many keys.
	iterations = 10
)

// encrypt does what openssl enc -aes-256-cbc -pbkdf2 -iter 10 does; TestOpenSSL
// compares.
func encrypt(t testing.TB, plain []byte) []byte {
	t.Helper()
	const salt = "8 bytes."
	keys, err := pbkdf2.Key(sha256.New, passphrase, []byte(salt), iterations, 48)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		t.Fatal(err)
	}
	pad := 16 - len(plain)%16
	text := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, keys[32:]).CryptBlocks(text, text)
	return append([]byte(saltedMagic+salt), text...)
}

func decrypt(src io.Reader, pass string) ([]byte, error) {
	r, err := newCBCReader(src, []byte(pass), iterations)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func random(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n)})
	rng.Read(b)
	return b
}

func TestCBC(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 15, 16, 17, 31, 32, cbcBuffer - 17, cbcBuffer - 16, cbcBuffer - 1, cbcBuffer, cbcBuffer + 1, cbcBuffer + 16, 3*cbcBuffer + 5} {
		plain := random(n)
		sealed := encrypt(t, plain)
		for name, src := range map[string]io.Reader{
			"whole": bytes.NewReader(sealed), "halves": iotest.HalfReader(bytes.NewReader(sealed)), "data with EOF": iotest.DataErrReader(bytes.NewReader(sealed)),
		} {
			if got, err := decrypt(src, passphrase); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes, %s: %d bytes, %v", n, name, len(got), err)
			}
		}
		cut := errors.New("the disk failed")
		if _, err := decrypt(io.MultiReader(bytes.NewReader(sealed[:len(sealed)-1]), iotest.ErrReader(cut)), passphrase); !errors.Is(err, cut) {
			t.Errorf("%d bytes, a failing source: %v", n, err)
		}
	}
}

// Debian's own openssl is the judge of what its files are.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1 to run this test; scripts/test installs openssl and does")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("%v: apt-get install openssl", err)
	}
	pass := filepath.Join(t.TempDir(), "pass")
	writeFile(t, pass, []byte(passphrase+"\nanother line\n"))
	for _, n := range []int{0, 1, 16, 4096, cbcBuffer + 3} {
		plain := random(n)
		cmd := exec.Command("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-iter", "10", "-pass", "file:"+pass)
		cmd.Stdin = bytes.NewReader(plain)
		sealed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decrypt(bytes.NewReader(sealed), passphrase); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes of openssl: %d bytes, %v", n, len(got), err)
		}
		cmd = exec.Command("openssl", "enc", "-d", "-aes-256-cbc", "-pbkdf2", "-iter", "10", "-pass", "file:"+pass)
		cmd.Stdin = bytes.NewReader(encrypt(t, plain))
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes for openssl: %d bytes, %v", n, len(got), err)
		}
	}
}

var dump = []byte("--\n-- PostgreSQL database dump\n--\n\n" + strings.Repeat("INSERT INTO t VALUES (1);\n", 2000) +
	"--\n-- PostgreSQL database dump complete\n--\n\n")

func zipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(plain)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func importing(t testing.TB) ImportOptions {
	return ImportOptions{
		Options: Options{Store: local.Folder{}, To: slot.Recipients(key(t, "new")), Meter: new(backup.Meter)}, ReadBack: ring(t, keySource{seed: "new"}),
		Pack: pack.Options{Codec: pack.Zstd}, Passphrase: []byte(passphrase), Iterations: iterations,
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	modified := time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, tc := range []struct {
		name, made string
		content    []byte
		created    string
		kind       string
		warned     bool
	}{
		{"takumi_db_20251125_020000.sql.gz.enc", "takumi_db_20251125_020000.sql.zst.enc", encrypt(t, zipped(t, dump)), "2025-11-25T02:00:00Z", "database", false},
		{"takumi_db_20251125_020000.sql.enc", "takumi_db_20251125_020000.sql.zst.enc", encrypt(t, dump), "2025-11-25T02:00:00Z", "database", true},
		{"takumi_db_20251125_020000.sql.gz", "takumi_db_20251125_020000.sql.zst.enc", zipped(t, dump), "2025-11-25T02:00:00Z", "database", false},
		{"takumi.sql", "takumi_20250102_030405.sql.zst.enc", dump, "2025-01-02T03:04:05Z", "database", true},
		{"20251125_020000.sql.gz", "imported_20251125_020000.sql.zst.enc", zipped(t, dump), "2025-11-25T02:00:00Z", "database", false},
		{"x_99999999_999999.sql.gz", "x_20250102_030405.sql.zst.enc", zipped(t, dump), "2025-01-02T03:04:05Z", "database", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tc.name)
			writeFile(t, path, tc.content)
			if err := os.Chtimes(path, modified, modified); err != nil {
				t.Fatal(err)
			}
			made, err := Import(t.Context(), path, importing(t))
			if err != nil {
				t.Fatal(err)
			}
			if made.Made != filepath.Join(dir, tc.made) || made.Skipped != "" {
				t.Errorf("made %s", made.Made)
			}
			b := &bench{TB: t, content: dump}
			e := b.opens(made.Made, "new")
			if e.Kind != tc.kind || e.Created.Format(time.RFC3339) != tc.created || e.Name+".enc" != tc.made {
				t.Errorf("label %v", e.Label)
			}
			if (len(made.Warnings) > 0) != tc.warned {
				t.Errorf("warnings %q", made.Warnings)
			}
			sidecarHolds(t, made.Made)
			if !bytes.Equal(readFile(t, path), tc.content) {
				t.Error("the old file changed")
			}
			// Again, and nothing is to be done.
			if again, err := Import(t.Context(), path, importing(t)); err != nil || again.Skipped == "" {
				t.Errorf("again: %+v, %v", again, err)
			}
			wantFiles(t, dir, tc.name, tc.made, tc.made+".sha256")
		})
	}
}

// One of the same name and another content is neither written over nor taken for it.
func TestImportBesideAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a_20251125_020000.sql.gz"), filepath.Join(dir, "a_20251125_020000.sql")
	writeFile(t, first, zipped(t, dump))
	writeFile(t, second, bytes.Replace(dump, []byte("(1)"), []byte("(2)"), 1))
	made, err := Import(t.Context(), first, importing(t))
	if err != nil {
		t.Fatal(err)
	}
	before := readFile(t, made.Made)
	if _, err := Import(t.Context(), second, importing(t)); !errors.Is(err, store.ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	if !bytes.Equal(readFile(t, made.Made), before) {
		t.Error("it was written over")
	}
}

// Cut anywhere, or with a wrong passphrase, nothing is made of it.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	encrypted, packed := encrypt(t, zipped(t, dump)), zipped(t, dump)
	dir := t.TempDir()
	refused := func(name string, content []byte, o ImportOptions, want func(error) bool) {
		t.Helper()
		path := filepath.Join(dir, "x_20251125_020000.sql.gz")
		writeFile(t, path, content)
		if _, err := Import(t.Context(), path, o); err == nil || !want(err) {
			t.Errorf("%s: error %v", name, err)
		}
		wantFiles(t, dir, "x_20251125_020000.sql.gz")
	}
	damaged := func(err error) bool { return errors.As(err, new(*LegacyDamageError)) }
	anything := func(err error) bool {
		return damaged(err) || errors.Is(err, ErrPassphrase) || errors.Is(err, ErrNotLegacy)
	}
	for cut := range encrypted {
		want := damaged
		if cut < saltedHead+48 { // too little to tell it from a wrong passphrase
			want = anything
		}
		refused(fmt.Sprintf("encrypted, cut at %d of %d", cut, len(encrypted)), encrypted[:cut], importing(t), want)
	}
	for cut := 0; cut < len(packed); cut += 7 {
		refused(fmt.Sprintf("packed, cut at %d", cut), packed[:cut], importing(t), anything)
	}
	plain := encrypt(t, dump)
	for _, cut := range []int{16, 17, 160, len(plain) - 16} {
		refused(fmt.Sprintf("not packed, cut by %d", cut), plain[:len(plain)-cut], importing(t), damaged)
	}
	refused("a flipped bit", append(append(bytes.Clone(encrypted[:200]), encrypted[200]^1), encrypted[201:]...), importing(t), damaged)
	o := importing(t)
	o.Passphrase = []byte(passphrase + " ")
	refused("wrong passphrase", encrypted, o, is(ErrPassphrase))
	o = importing(t)
	o.Iterations++
	refused("wrong iterations", encrypted, o, is(ErrPassphrase))
	o = importing(t)
	o.Passphrase = nil
	refused("no passphrase", encrypted, o, is(ErrNoPassphrase))
	refused("empty inside", encrypt(t, zipped(t, nil)), importing(t), damaged)
	refused("something else", []byte("my notes\n"), importing(t), is(ErrNotLegacy))
	o = importing(t)
	o.ReadBack = ring(t, keySource{seed: "third"})
	refused("a key that does not read back", encrypted, o, isReadBack)
}

func TestIsLegacy(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		head []byte
		want bool
	}{
		{"anything", []byte(saltedMagic + "12345678"), true},
		{"x.sql.gz", zipped(t, dump), true},
		{"x.sql", dump, true},
		{"x.txt", dump, false},
		{"x.sql", []byte("SELECT 1;"), false},
		{".x.sql.gz.partial", zipped(t, dump), false},
		{"x.sql.zst.enc", []byte("takumi-backup/v1\n"), false},
		{"x.sql.gz", nil, false},
	} {
		if got := IsLegacy("/store/"+tc.name, tc.head[:min(len(tc.head), guard.SniffLen)]); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
