package vectors

import (
	"bytes"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream/pack"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

// TestIndexVectors reads the index of a sealed file as a reader that seeks does.
func TestIndexVectors(t *testing.T) {
	read := func(name string) (*pack.ReaderAt, error, []string) {
		for _, r := range recipes() {
			if r.name != name {
				continue
			}
			v := r.vector()
			o, keys := v.options(t)
			sealed, err := envelope.OpenAt(t.Context(), bytes.NewReader(v.file), int64(len(v.file)), o, slot.Identities(keys...)...)
			if err != nil {
				t.Fatal(err)
			}
			packed, err := pack.NewReaderAt(sealed, sealed.Size())
			if err != nil {
				t.Fatal(err)
			}
			content, ok, err := packed.Index()
			if err != nil || !ok {
				t.Fatalf("%s: no index: %v", name, err)
			}
			in, err := index.NewReader(content, content.Size())
			if err != nil {
				return packed, err, nil
			}
			header, err := in.Header()
			if err != nil {
				t.Fatal(err)
			}
			lines := []string{string(header)}
			for line, err := range in.All() {
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, string(line))
			}
			return packed, nil, lines
		}
		t.Fatalf("no vector %s", name)
		return nil, nil, nil
	}
	packed, err, lines := read("zstd-index")
	if err != nil || len(lines) != 3 || lines[0] != indexHeader || lines[1] != indexLineA || lines[2] != indexLineB || packed.Size() != 58 {
		t.Errorf("%d bytes, %q, %v", packed.Size(), lines, err)
	}
	if _, err, _ := read("zstd-index-garbage"); err == nil {
		t.Error("noise passes for an index")
	}
}
