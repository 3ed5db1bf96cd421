package vectors

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/stream"
)

const recoverScript = "../../scripts/recover.py"

// python returns a Python that scripts/recover.py runs with. Debian's own comes
// first: it is what a bare machine has, and its cryptography is the older one.
func python(t *testing.T) string {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to run scripts/recover.py")
	}
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import cryptography").Run() == nil {
			return name
		}
	}
	t.Fatal("no Python with its package cryptography: apt-get install python3-cryptography")
	return ""
}

// trial is a file that both implementations open, and variants of it.
type trial struct {
	File     []byte `json:"file"`
	Keys     []key  `json:"keys"`
	Detached []byte `json:"detached"`
	Rescue   bool   `json:"rescue"`
	Changes  []edit `json:"changes"`
}

// edit is one byte that is changed, or with mask 0 a cut before it.
type edit struct {
	At   int `json:"at"`
	Mask int `json:"mask"`
}

// outcome is what an implementation made of a file.
type outcome struct {
	Class  string `json:"class"`
	Chunk  int    `json:"chunk"`  // that is damaged, or -1
	Offset int64  `json:"offset"` // of that chunk, or of what trails, or -1
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

// recoverer is a running testdata/outcomes.py.
type recoverer struct {
	in  *json.Encoder
	out *json.Decoder
}

func startRecoverer(t *testing.T) *recoverer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), "-B", "testdata/outcomes.py", recoverScript)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() // by now the context has stopped it
	})
	return &recoverer{json.NewEncoder(in), json.NewDecoder(bufio.NewReaderSize(out, 1<<20))}
}

// try returns the outcome of the file and of each variant.
func (r *recoverer) try(t *testing.T, c *trial) []outcome {
	t.Helper()
	var got []outcome
	if err := r.in.Encode(c); err != nil {
		t.Fatal(err)
	}
	if err := r.out.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1+len(c.Changes) {
		t.Fatalf("%d outcomes for %d files", len(got), 1+len(c.Changes))
	}
	return got
}

// ours returns what this program makes of the same.
func (c *trial) ours(t *testing.T) []outcome {
	t.Helper()
	v := &vector{keys: c.Keys, detached: c.Detached}
	o, keys := v.options(t)
	o.Rescue = c.Rescue
	open := func(file []byte) outcome { return outcomeOf(file, o, keys) }
	all := []outcome{open(c.File)}
	for _, change := range c.Changes {
		if change.Mask == 0 {
			all = append(all, open(c.File[:change.At]))
			continue
		}
		file := bytes.Clone(c.File)
		file[change.At] ^= byte(change.Mask)
		all = append(all, open(file))
	}
	return all
}

func outcomeOf(file []byte, o envelope.Options, keys []*kek.Key) outcome {
	got, err := plainReads(&vector{file: file}, o, keys)
	d, offset := digestOf(got), int64(-1)
	if e := new(stream.ChunkError); errors.As(err, &e) {
		offset = e.Offset
	} else if e := new(stream.TrailingError); errors.As(err, &e) {
		offset = e.Offset
	}
	return outcome{class(err), chunkOf(err), offset, d.size, d.hash}
}

// agree fails unless both implementations make the same of the file and of
// every variant, and refuse every variant that is not rescued.
func (r *recoverer) agree(t *testing.T, c *trial) {
	t.Helper()
	theirs, faults := r.try(t, c), 0
	for i, ours := range c.ours(t) {
		what := "as it is"
		if i > 0 {
			what = strings.TrimSpace(string(must(json.Marshal(c.Changes[i-1]))))
		}
		if ours != theirs[i] || i > 0 && ours.Class == opens && !c.Rescue {
			if faults++; faults < 10 {
				t.Errorf("%d bytes, %s:\nthis program: %+v\nrecover.py:   %+v", len(c.File), what, ours, theirs[i])
			}
		}
	}
}

// TestRecoverOnVectors: the rescue reader, which does not unpack, makes of every
// published vector what its header says.
func TestRecoverOnVectors(t *testing.T) {
	t.Parallel()
	all, err := published()
	if err != nil {
		t.Fatal(err)
	}
	r := startRecoverer(t)
	for _, v := range all {
		chunk := -1
		if v.expect == damaged && v.chunk != nil {
			chunk = *v.chunk
		}
		c := &trial{File: v.file, Keys: v.keys, Detached: v.detached}
		want := outcome{v.packedClass(), chunk, -1, v.released.size, v.released.hash}
		got := r.try(t, c)[0]
		want.Offset = got.Offset // the vectors do not say
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", v.name, got, want)
		}
		if v.rescued == nil {
			continue
		}
		c.Rescue = true
		want = outcome{opens, -1, -1, v.rescued.size, v.rescued.hash}
		if got := r.try(t, c)[0]; got != want {
			t.Errorf("%s, rescued:\ngot  %+v\nwant %+v", v.name, got, want)
		}
	}
}

// TestRecoverCommand runs the rescue reader as a person would, on one vector of
// each class, from a file and from a pipe.
func TestRecoverCommand(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	run := func(stdin io.Reader, args ...string) (stdout []byte, stderr string, code int) {
		cmd := exec.CommandContext(t.Context(), interpreter, append([]string{recoverScript}, args...)...)
		var out, message bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &message
		if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		return out.Bytes(), message.String(), cmd.ProcessState.ExitCode()
	}
	for _, name := range []string{"zstd-frames", "two-keys-offered", "detached", "detached-torn", "newer-2", "wrong-key", "not-sealed-a-dump", "slot-none",
		"cut-pad", "cut-final-chunk", "chunk-1-flipped", "altered-pad", "trailing-byte"} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		v := must(decode(name, text))
		dir := t.TempDir()
		write := func(name string, content []byte) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		var keys []string
		for i, k := range v.keys {
			keys = append(keys, write("key"+string(rune('0'+i)), []byte(strings.ToUpper(hex.EncodeToString(k))+"\n")))
		}
		check := func(out []byte, message string, code int, want digest, class string) {
			t.Helper()
			if digestOf(out) != want || code != exitCodes[class] || class != opens && !strings.Contains(message, ": "+class+": ") {
				t.Errorf("%s: %d bytes, code %d, %s", name, len(out), code, message)
			}
		}
		path := write("backup.enc", v.file)
		if v.detached != nil {
			write("backup.enc.envelope", v.detached)
		}
		out, message, code := run(nil, append(slices.Clone(keys), path)...)
		check(out, message, code, v.released, v.expect)
		if v.detached == nil {
			out, message, code = run(bytes.NewReader(v.file), append(keys, "-")...)
			check(out, message, code, v.released, v.expect)
		}
		if v.rescued != nil {
			out, message, code = run(nil, "--rescue", keys[0], path)
			check(out, message, code, *v.rescued, opens)
		}
	}

	good := filepath.Join(t.TempDir(), "good")
	if err := os.WriteFile(good, []byte(strings.Repeat("5a", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
	}{{nil, 64}, {[]string{good}, 64}, {[]string{recoverScript, good}, 4}, {[]string{good, good + ".enc"}, 1}} {
		if out, message, code := run(nil, tc.args...); code != tc.code || len(out) > 0 || message == "" || strings.Contains(message, "Traceback") {
			t.Errorf("%q: code %d, %s", tc.args, code, message)
		}
	}
}

// TestRecoverIncrement: recover.py knows no chains, and says so of what is only a part.
func TestRecoverIncrement(t *testing.T) {
	python, dir, k := python(t), t.TempDir(), kek.Generate()
	if err := os.WriteFile(dir+"/key", []byte(hex.EncodeToString(k.Bytes())), 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, warned := range map[string]bool{"uploads": false, "uploads-increment": true} {
		var sealed, stderr bytes.Buffer
		w, err := envelope.NewWriter(t.Context(), &sealed, envelope.Label{Kind: kind, Name: "x", Codec: "none"}, k)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, recoverScript, dir+"/key", "-")
		cmd.Stdin, cmd.Stderr = &sealed, &stderr
		if err := cmd.Run(); err != nil || strings.Contains(stderr.String(), "the backup is an increment") != warned {
			t.Errorf("%s: %v, %s", kind, err, &stderr)
		}
	}
}
