package members_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// packed packs an archive with its index.
func packed(t testing.TB, data []byte) *pack.ReaderAt {
	t.Helper()
	return packedIn(t, members.Chain{}, data)
}

// packedIn packs an archive of a chain.
func packedIn(t testing.TB, chain members.Chain, data []byte) *pack.ReaderAt {
	t.Helper()
	b, err := members.NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Chain = chain
	var out bytes.Buffer
	w, err := pack.NewWriter(&out, pack.Options{Codec: pack.Zstd, BlockSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	size, err := w.ReadFrom(guard.NewReader(bytes.NewReader(data), guard.Options{TarEntry: b.Add}))
	if err != nil {
		t.Fatal(err)
	}
	content, err := b.Finish(size)
	if err == nil {
		err = w.WriteIndex(content, content.Size)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := pack.NewReaderAt(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// describe lists entries without what only an index knows.
func describe(e *members.Entry) string {
	short := *e
	short.Offset, short.Data = 0, 0
	return fmt.Sprintf("%q %+v", e.Name(), short)
}

// TestIndexIsTheArchive: by the index one finds what reading finds, and its content,
// for every form of tar.
func TestIndexIsTheArchive(t *testing.T) {
	t.Parallel()
	dir := treetest.TempDir(t)
	treetest.Make(t, dir, 7)
	for _, form := range []string{"gnu", "oldgnu", "pax", "gnu -S", "pax -S --sparse-version=0.0", "pax -S --sparse-version=0.1", "pax -S --sparse-version=1.0", "gnu -G"} {
		data, err := exec.Command("sh", "-c", "tar -C '"+dir+"' --sort=name -c --format="+form+" .").Output()
		if err != nil {
			t.Fatal(err)
		}
		a, err := members.Indexed(packed(t, data))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		want := make(map[string]string)
		content := make(map[string][]byte)
		if err := members.Scan(bytes.NewReader(data), func(e *members.Entry, r io.Reader) error {
			want[e.Name()] = describe(e)
			content[e.Name()], err = io.ReadAll(r)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var names []string
		for e, err := range a.All() {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, e.Name())
			if describe(e) != want[e.Name()] {
				t.Errorf("%s: got %s, want %s", form, describe(e), want[e.Name()])
			}
			if found, err := a.Find(e.Name()); err != nil || describe(found) != describe(e) {
				t.Errorf("%s: %q is found as %v, %v", form, e.Name(), found, err)
			}
			file, err := a.File(e.Name())
			if e.Type != "f" && e.Type != "h" {
				if err == nil {
					t.Errorf("%s: %q passes for a file", form, e.Name())
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %q: %v", form, e.Name(), err)
				continue
			}
			r, _, err := a.Open(file)
			if err != nil {
				t.Fatalf("%s: %q: %v", form, e.Name(), err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[file.Name()]) {
				t.Errorf("%s: %q has %d bytes, want %d, %v", form, e.Name(), len(got), len(content[file.Name()]), err)
			}
		}
		if len(names) != len(want) || !slices.IsSorted(names) {
			t.Errorf("%s: %d names, want %d, sorted", form, len(names), len(want))
		}
		// All parts, one after the other, are an archive of the same.
		parts, err := a.Select(func(string, bool) bool { return true })
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if err := members.Scan(parts, func(e *members.Entry, r io.Reader) error {
			if got, err := io.ReadAll(r); err != nil || describe(e) != want[e.Name()] || !bytes.Equal(got, content[e.Name()]) {
				t.Errorf("%s: %q is selected as %s, with %d bytes, %v", form, e.Name(), describe(e), len(got), err)
			}
			delete(content, e.Name())
			return nil
		}); err != nil || len(content) > 0 {
			t.Errorf("%s: %d are not selected, %v", form, len(content), err)
		}
		if _, err := a.Find("missing"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing: %v", err)
		}
	}
}

// TestNoIndex: a packed archive without an index is told from one with.
func TestNoIndex(t *testing.T) {
	t.Parallel()
	data, err := exec.Command("tar", "-c", "-C", "/", "dev/null").Output()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, _ := pack.NewWriter(&out, pack.Options{Codec: pack.Zstd})
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := pack.NewReaderAt(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := members.Indexed(r); !errors.Is(err, members.ErrNoIndex) {
		t.Errorf("without an index: %v", err)
	}
}

// TestNamesTwice: where an archive has a name again after a hard link to it, the link
// leads to what was there before.
func TestNamesTwice(t *testing.T) {
	t.Parallel()
	const make = `cd $(mktemp -d) && echo 1 > a && ln a h && tar -cf x.tar a h && rm a && echo 22 > a && tar -rf x.tar a && cat x.tar && rm a h x.tar`
	data, err := exec.Command("sh", "-c", make).Output()
	if err != nil {
		t.Fatal(err)
	}
	a, err := members.Indexed(packed(t, data))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "22\n", "h": "1\n"} {
		file, err := a.File(name)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := a.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := a.Select(func(string, bool) bool { return true }); !errors.Is(err, members.ErrNoIndex) {
		t.Errorf("selecting both: %v", err)
	}
	if _, err := a.Select(func(name string, _ bool) bool { return name == "a" }); err != nil {
		t.Error(err)
	}
}

// TestListingOfBytes: a script gets the bytes of names that JSON can't hold, and no others.
func TestListingOfBytes(t *testing.T) {
	t.Parallel()
	e := &members.Entry{Type: "l"}
	e.SetNames("bad\xff", "to\xfe")
	line, err := json.Marshal(e.Listing())
	if err != nil || !strings.Contains(string(line), `"path_base64":"YmFk/w==","target_base64":"dG/+"`) {
		t.Errorf("%s, %v", line, err)
	}
	e.SetNames("good", "ü")
	if line, err = json.Marshal(e.Listing()); err != nil || strings.Contains(string(line), "base64") {
		t.Errorf("%s, %v", line, err)
	}
}

// TestLinksOfAChain: a hard link whose file a later archive has anew is found, by who checks
// the chain and by who asks for the file.
func TestLinksOfAChain(t *testing.T) {
	t.Parallel()
	archive := func(headers ...*tar.Header) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range headers {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	file, other := &tar.Header{Name: "a", Typeflag: tar.TypeReg}, &tar.Header{Name: "c", Typeflag: tar.TypeReg}
	link := &tar.Header{Name: "b", Linkname: "a", Typeflag: tar.TypeLink}
	const id = "0123456789abcdef0123456789abcdef"
	for name, tc := range map[string]struct {
		second []byte
		want   error
	}{
		"another file": {archive(other), nil},
		"both anew":    {archive(file, link), nil},
		"the file":     {archive(file), members.ErrChain},
		"the link":     {archive(link), nil},
	} {
		full, err := members.Indexed(packedIn(t, members.Chain{ID: id}, archive(file, link)))
		if err != nil {
			t.Fatal(err)
		}
		night, err := members.Indexed(packedIn(t, members.Chain{ID: id, N: 1, Links: []string{"full"}}, tc.second))
		if err == nil {
			err = night.Join([]*members.Archive{full})
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := night.CheckLinks(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := night.File("b"); !errors.Is(err, tc.want) {
			t.Errorf("%s, the file: %v", name, err)
		}
	}
}
