package vectors

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// sealHere seals n bytes with this program for the given keys.
func sealHere(t *testing.T, r *rand.ChaCha8, label envelope.Label, codec pack.Codec, n int, keys ...key) []byte {
	t.Helper()
	content := make([]byte, n)
	r.Read(content)
	for i := range content {
		content[i] &= 0x0f // so that there is something to pack
	}
	var to []envelope.Recipient
	for _, material := range keys {
		to = append(to, slot.Recipients(must(kek.New(material)))...)
	}
	var out bytes.Buffer
	options := pack.Options{Codec: codec, BlockSize: pack.MinBlockSize}
	if _, err := backup.Seal(t.Context(), &out, bytes.NewReader(content), label, options, to...); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestEveryChange holds both implementations against each other on every byte
// of a small backup, changed in three ways, and on every length it can be cut
// to; and once again when they are asked to rescue.
func TestEveryChange(t *testing.T) {
	t.Parallel()
	script := startRecoverer(t)
	r := rand.NewChaCha8([32]byte{1})
	label := envelope.Label{Created: time.Now(), Kind: "uploads", Name: "アップロード.tar"}
	for _, tc := range []struct {
		keys   []key
		rescue bool
	}{{[]key{keyA}, false}, {[]key{keyB, keyA}, false}, {[]key{keyB, keyA}, true}} {
		c := &trial{File: sealHere(t, r, label, pack.None, 20, tc.keys...), Keys: []key{keyA}, Rescue: tc.rescue}
		for i := range c.File {
			masks := []int{0, 0x01, 0x20, 0x80}
			if tc.rescue {
				masks = masks[i%4:][:1]
			}
			for _, mask := range masks {
				c.Changes = append(c.Changes, edit{i, mask})
			}
		}
		script.agree(t, c)
	}
}

// TestRandomBackups seals thirty backups that differ in all that a backup can
// differ in, opens them with both implementations, and changes bytes in places
// and to values that are drawn anew in every long run.
func TestRandomBackups(t *testing.T) {
	t.Parallel()
	script := startRecoverer(t)
	seed, runs := uint64(1), 10
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		seed, runs = uint64(time.Now().UnixNano()), 300
	}
	t.Logf("seed %d", seed)
	source := rand.NewChaCha8([32]byte(fmt.Appendf(nil, "%032d", seed)))
	r := rand.New(source)
	sizes := []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2*chunkSize - 1, 2 * chunkSize, 2*chunkSize + 1, 65536, 200_000}
	codecs := []pack.Codec{pack.None, pack.Gzip, pack.Zstd}
	for i := range runs {
		label := envelope.Label{
			Created: time.Unix(r.Int64N(253_402_300_800), 0), // to the end of the year 9999
			Kind:    []string{"database", "contracts", "uploads", "stream", "x"}[r.IntN(5)],
			Name:    []string{"stdin", "a b", "100%", "日本語", "..."}[r.IntN(5)] + fmt.Sprint(r.Int64()),
		}
		keys := []key{random("", fmt.Sprint(seed, i), 32), keyB, keyC}[:1+r.IntN(3)]
		r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		c := &trial{File: sealHere(t, source, label, codecs[r.IntN(len(codecs))], sizes[i%len(sizes)], keys...), Keys: keys[:1]}
		end := bytes.Index(c.File, []byte("\n---\n")) + 5
		text := bytes.Index(c.File, []byte("\npad "))
		change := func(n, from, to int) {
			for range n {
				c.Changes = append(c.Changes, edit{from + r.IntN(to-from), 1 + r.IntN(255)})
			}
		}
		change(60, 0, text)      // preamble and slots
		change(5, text, end-106) // padding
		change(20, end-106, end) // auth and the end
		change(10, end, end+headSize)
		if i%3 == 0 { // finding out why a chunk fails takes a while
			change(1, end+headSize, len(c.File))
			c.Changes = append(c.Changes, edit{At: r.IntN(len(c.File))})
		}
		script.agree(t, c)
	}
}
