package vectors

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const page = "../../docs/FORMAT.md"

// TestPageExample holds the worked example of docs/FORMAT.md against the vector
// of that name, which every reader opens. With -update it writes the example.
func TestPageExample(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begins, ends = "-update writes it -->\n", "<!-- example ends -->"
	before, rest, ok := strings.Cut(string(text), begins)
	_, after, ok2 := strings.Cut(rest, ends)
	if !ok || !ok2 {
		t.Fatal("the page has no place for the example")
	}
	want := before + begins + example(t) + ends + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Error("the example is not what the vector gives; run go test -update")
	}
}

// listing gathers the example's tables.
type listing struct {
	strings.Builder
	offset int
}

// field lists the next bytes of the file.
func (l *listing) field(length int, shown, meaning string) {
	fmt.Fprintf(l, "| %d | %d | %s | %s |\n", l.offset, length, shown, meaning)
	l.offset += length
}

// value lists what is computed.
func (l *listing) value(name string, b []byte) {
	fmt.Fprintf(l, "    %-11s %s\n", name, hex.EncodeToString(b))
}

func code(s string) string { return "`" + s + "`" }

// bytesOf shows a field of the file, in lines that a page can bear.
func bytesOf(b []byte) string {
	var lines []string
	for len(b) > 32 {
		lines = append(lines, code(hex.EncodeToString(b[:32])))
		b = b[32:]
	}
	return strings.Join(append(lines, code(hex.EncodeToString(b))), "<br>")
}

// example explains every byte of the vector, from its bytes and the key alone.
func example(t *testing.T) string {
	text, err := os.ReadFile(folder + "/example")
	if err != nil {
		t.Fatal(err)
	}
	v := must(decode("example", text))
	end := bytes.Index(v.file, []byte("\n---\n")) + 5
	lines := strings.SplitAfter(string(v.file[:end]), "\n")
	id := must(hex.DecodeString(lines[1][3:35]))
	keyID := lines[6][9:25]
	wrap := must(base64.StdEncoding.DecodeString(strings.TrimSuffix(lines[6][26:], "\n")))
	auth := must(base64.StdEncoding.DecodeString(strings.TrimSuffix(lines[8][5:], "\n")))
	payload := v.file[end:]
	preamble := strings.Join(lines[:6], "")
	slotContext := append([]byte("takumi-backup/v1 slot key\x00"), id...)
	wrapping := newMessage(v.keys[0], slotContext, wrap[:24])
	dataKey := open(t, wrapping, wrap)
	sealing := newMessage(dataKey, []byte(preamble), payload[:24])
	content := open(t, sealing, payload)
	covered := strings.Join(lines[:8], "")
	authentic := newMessage(dataKey, append([]byte("takumi-backup/v1 envelope\x00"), covered...), auth[:24])
	if len(open(t, authentic, auth)) != 0 || keyID != v.keys[0].id() {
		t.Fatal("the example is not right")
	}

	l := new(listing)
	fmt.Fprintf(l, "\nThe file has %d bytes. Each line of the envelope ends in LF (0a), which counts.\n\n", len(v.file))
	l.WriteString("| offset | length | bytes | |\n|---|---|---|---|\n")
	for i, meaning := range []string{"version", "id", "", "", "", "codec; here ends the preamble", "slot", "padding", "authenticator", "here ends the envelope"} {
		shown := strings.TrimSuffix(lines[i], "\n")
		if i == 7 {
			shown = fmt.Sprintf("pad ....….... (%d dots)", len(shown)-4)
		}
		l.field(len(lines[i]), code(shown), meaning)
	}
	l.field(24, bytesOf(payload[:24]), "salt of the payload")
	l.field(32, bytesOf(payload[24:56]), "its commitment")
	l.field(len(content), bytesOf(payload[56:56+len(content)]), "chunk 0, the final one: ciphertext")
	l.field(tagSize, bytesOf(payload[56+len(content):]), "its tag")
	if l.offset != len(v.file) {
		t.Fatalf("the example explains %d of %d bytes", l.offset, len(v.file))
	}

	message := func(m *message, sealed []byte) {
		l.value("salt", m.salt)
		l.value("gcm key", m.okm[:32])
		l.value("base IV", m.baseIV)
		l.value("commitment", m.commitment)
		l.value("chunk 0", sealed[headSize:])
	}
	l.WriteString("\nThe key id, and the slot under it:\n\n")
	l.value("KEK", v.keys[0])
	l.value("HMAC", hmacID(v.keys[0]))
	fmt.Fprintf(l, "    %-11s %s\n", "KEYID", keyID)
	l.value("context", slotContext)
	message(wrapping, wrap)
	l.value("data key", dataKey)
	fmt.Fprintf(l, "\nThe payload. Its context is the preamble, bytes 0 to %d of the file; `info` for HKDF has %d bytes.\n\n", len(preamble)-1, len(infoPrefix)+24+len(preamble))
	message(sealing, payload)
	l.value("plaintext", content)
	fmt.Fprintf(l, "    %-11s %q\n", "", content)
	fmt.Fprintf(l, "\n`auth`. Its context is `\"takumi-backup/v1 envelope\" || 0x00` and bytes 0 to %d of the file.\n\n", len(covered)-1)
	message(authentic, auth)
	l.WriteString("    plaintext   (nothing)\n\n")
	return l.String()
}

// open opens a message of one chunk.
func open(t *testing.T, m *message, sealed []byte) []byte {
	t.Helper()
	if !bytes.Equal(sealed[24:headSize], m.commitment) {
		t.Fatal("the example does not fit its commitment")
	}
	return must(m.aead.Open(nil, m.baseIV, sealed[headSize:], nil))
}

// TestPageClasses holds the table of classes against those of the vectors: each
// has a row and at least one vector, and the exit code is the one that
// TestRecoverCommand expects.
func TestPageClasses(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	vectors := map[string]int{}
	for _, r := range recipes() {
		vectors[r.expect]++
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|.*\\| (\\d) \\| .* \\|$").FindAllStringSubmatch(string(text), -1)
	for _, row := range rows {
		if code := must(strconv.Atoi(row[2])); code != exitCodes[row[1]] || vectors[row[1]] == 0 {
			t.Errorf("%s: exit code %d, %d vectors", row[1], code, vectors[row[1]])
		}
	}
	if len(rows)+1 != len(exitCodes) || len(vectors) != len(exitCodes) {
		t.Errorf("%d rows, %d classes, %d classes of vectors", len(rows), len(exitCodes), len(vectors))
	}
}
