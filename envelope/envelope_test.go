package envelope_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream"
)

var (
	created = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	label   = envelope.Label{Created: created, Kind: "database", Name: "takumi_db_20261123_020000.sql", Codec: "none"}
	keyA    = kek.Generate()
	keyB    = kek.Generate()
	keyC    = kek.Generate()
)

func seal(t testing.TB, l envelope.Label, message string, keys ...*kek.Key) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &out, l, slot.Recipients(keys...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, message); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(sealed []byte, opts envelope.Options, keys ...*kek.Key) (string, *envelope.Reader, error) {
	r, err := envelope.Open(context.Background(), bytes.NewReader(sealed), opts, slot.Identities(keys...)...)
	if err != nil {
		return "", nil, err
	}
	message, err := io.ReadAll(r)
	return string(message), r, err
}

func TestRoundTrip(t *testing.T) {
	const message = "pg_dump says hello"
	for _, sealedFor := range [][]*kek.Key{{keyA}, {keyA, keyB}, {keyB, keyA, keyC}} {
		sealed := seal(t, label, message, sealedFor...)
		for _, offered := range [][]*kek.Key{{keyA}, {keyC, keyA}, sealedFor} {
			got, r, err := open(sealed, envelope.Options{}, offered...)
			if err != nil || got != message || r.Envelope.Label != label || r.Altered != nil {
				t.Errorf("sealed for %d, opened with %d: %q, %v", len(sealedFor), len(offered), got, err)
			}
			at, err := envelope.OpenAt(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{}, slot.Identities(offered...)...)
			if err != nil {
				t.Fatal(err)
			}
			part := make([]byte, 4)
			if _, err := at.ReadAt(part, 3); err != nil || string(part) != message[3:7] {
				t.Errorf("random access: %q, %v", part, err)
			}
		}
		e, err := envelope.Parse(iotest.OneByteReader(bytes.NewReader(sealed)))
		if err != nil || len(e.KeyIDs()) != len(sealedFor) || e.KeyIDs()[0] != sealedFor[0].ID() {
			t.Errorf("Parse: %v, %v", e, err)
		}
		if n := len(e.Bytes()); n != envelope.Unit || !bytes.Equal(e.Bytes(), sealed[:n]) {
			t.Errorf("the envelope has %d bytes", n)
		}
	}
}

func TestParseReadsNoFurther(t *testing.T) {
	src := bytes.NewReader(append(seal(t, label, "payload", keyA), "after"...))
	e, err := envelope.Parse(src)
	if err != nil || src.Len() != int(src.Size())-len(e.Bytes()) {
		t.Errorf("%d of %d bytes left, %v", src.Len(), src.Size(), err)
	}
}

func TestEveryBackupIsNew(t *testing.T) {
	a, b := seal(t, label, "", keyA), seal(t, label, "", keyA)
	ea, _ := envelope.Parse(bytes.NewReader(a))
	eb, _ := envelope.Parse(bytes.NewReader(b))
	if ea.ID == eb.ID || ea.Slots[0].Args[1] == eb.Slots[0].Args[1] {
		t.Error("two backups share an id or a wrapped key")
	}
	if _, _, err := open(append(bytes.Clone(a[:len(ea.Bytes())]), b[len(eb.Bytes()):]...), envelope.Options{}, keyA); !errors.Is(err, envelope.ErrDamagedHead) {
		t.Errorf("the payload of one opens under the envelope of the other: %v", err)
	}
}

func TestNewWriterRefuses(t *testing.T) {
	many := make([]*kek.Key, 33)
	for i := range many {
		many[i] = kek.Generate()
	}
	with := func(change func(*envelope.Label)) envelope.Label { l := label; change(&l); return l }
	for name, tc := range map[string]struct {
		label envelope.Label
		keys  []*kek.Key
		want  string
	}{
		"no key":      {label, nil, "no key"},
		"a key twice": {label, []*kek.Key{keyA, keyB, keyA}, "twice"},
		"33 keys":     {label, many, "32 slots"},
		"kind":        {with(func(l *envelope.Label) { l.Kind = "Data base" }), many[:1], "kind"},
		"codec":       {with(func(l *envelope.Label) { l.Codec = "lz4" }), many[:1], "codec"},
		"empty name":  {with(func(l *envelope.Label) { l.Name = "" }), many[:1], "name"},
		"slash":       {with(func(l *envelope.Label) { l.Name = "a/b" }), many[:1], "slash"},
		"newline":     {with(func(l *envelope.Label) { l.Name = "a\nb" }), many[:1], "control"},
		"C1 control":  {with(func(l *envelope.Label) { l.Name = "a\u0085b" }), many[:1], "control"},
		"dots":        {with(func(l *envelope.Label) { l.Name = ".." }), many[:1], "folder"},
		"not UTF-8":   {with(func(l *envelope.Label) { l.Name = "a\xff" }), many[:1], "UTF-8"},
		"256 bytes":   {with(func(l *envelope.Label) { l.Name = strings.Repeat("x", 256) }), many[:1], "256 bytes"},
		"year 10000":  {with(func(l *envelope.Label) { l.Created = created.AddDate(10000-2026, 0, 0) }), many[:1], "year"},
		"year -1":     {with(func(l *envelope.Label) { l.Created = created.AddDate(-2027, 0, 0) }), many[:1], "year"},
	} {
		var out bytes.Buffer
		if _, err := envelope.NewWriter(t.Context(), &out, tc.label, slot.Recipients(tc.keys...)...); err == nil || !strings.Contains(err.Error(), tc.want) || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, out.Len())
		}
	}
	for _, year := range []int{0, 9999} {
		l := with(func(l *envelope.Label) { l.Created = created.AddDate(year-2026, 0, 0) })
		if _, r, err := open(seal(t, l, "x", keyA), envelope.Options{}, keyA); err != nil || r.Envelope.Label != l {
			t.Errorf("year %d: %v", year, err)
		}
	}
	sealed := seal(t, label, "x", many[:32]...)
	if _, _, err := open(sealed, envelope.Options{}, many[31]); err != nil {
		t.Errorf("32 slots: %v", err)
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for _, name := range []string{"a", "~-._", "with space", "50%", "日本語.sql", "-rf", "...", "\u00a0", strings.Repeat("é", 127) + "x", `back\slash`} {
		l := label
		l.Name = name
		l.Created = created.In(time.FixedZone("JST", 9*3600)).Add(999 * time.Millisecond)
		if _, r, err := open(seal(t, l, "", keyA), envelope.Options{}, keyA); err != nil || r.Envelope.Name != name || r.Envelope.Created != created {
			t.Errorf("%q: %+v, %v", name, r, err)
		}
	}
}

func TestEncodeName(t *testing.T) {
	// What is next to each range of unreserved characters is escaped.
	if got, want := envelope.EncodeName("azAZ09`{@[/:-._~ "), "azAZ09%60%7B%40%5B%2F%3A-._~%20"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

type lossy struct{}

func (lossy) Write(p []byte) (int, error) { return max(len(p)-1, 0), nil }

func TestShortWrite(t *testing.T) {
	if _, err := envelope.NewWriter(t.Context(), lossy{}, label, keyA); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

// TestSyntax changes one thing in a good envelope; the bytes after it do not
// matter, for it must be refused before any key is used.
func TestSyntax(t *testing.T) {
	good := string(seal(t, label, "", keyA, keyB)[:envelope.Unit])
	lines := strings.SplitAfter(good, "\n")
	// replace changes the text and lets the padding keep the length.
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the envelope", old)
		}
		s := strings.Replace(good, old, new, 1)
		if grown := len(s) - len(good); grown > 0 {
			return strings.Replace(s, strings.Repeat(".", grown), "", 1)
		}
		return strings.Replace(s, "pad ", "pad "+strings.Repeat(".", len(good)-len(s)), 1)
	}
	slotA := lines[6]
	long := "slot future " + strings.Repeat("x", 16384-len("slot future \n")) + "\n"
	huge := strings.Replace(good, slotA, strings.Repeat(long, 4)+slotA, 1)
	for name, tc := range map[string]struct {
		text string
		want string
	}{
		"empty":                  {"", "not a sealed"},
		"something else":         {"-- PostgreSQL database dump\n" + good, "not a sealed"},
		"zeros":                  {strings.Repeat("\x00", 8192), "not a sealed"},
		"CRLF magic":             {replace("/v1\n", "/v1\r\n"), "not a sealed"},
		"version 2":              {replace("/v1\n", "/v2\n"), "version 2"},
		"version 17":             {"takumi-backup/v17\nwhatever", "version 17"},
		"version word":           {replace("/v1\n", "/vx\n"), "not a sealed"},
		"no version":             {replace("/v1\n", "/v\n"), "not a sealed"},
		"a number":               {"12345\n", "not a sealed"},
		"version without end":    {"takumi-backup/v" + strings.Repeat("1", 30), "not a sealed"},
		"nothing but the magic":  {good[:16], "ends inside"},
		"more than the magic":    {"takumi-backup/v1 and more", "not a sealed"},
		"cut in the magic":       {good[:10], "ends inside"},
		"cut after the magic":    {good[:17], "ends inside"},
		"cut":                    {good[:4000], "ends inside"},
		"upper-case id":          {replace(lines[1], "id "+strings.Repeat("AB", 16)+"\n"), "line 2"},
		"a part of the magic":    {"takumi-back\nup", "not a sealed"},
		"id and half a byte":     {replace(lines[1], "id "+strings.Repeat("ab", 16)+"a\n"), "line 2"},
		"short id":               {replace(lines[1], "id "+strings.Repeat("ab", 15)+"\n"), "line 2"},
		"no such day":            {replace("2026-11-23T", "2026-02-30T"), "line 3"},
		"leap second":            {replace("02:00:00Z", "23:59:60Z"), "line 3"},
		"fraction":               {replace("02:00:00Z", "02:00:00.5Z"), "line 3"},
		"offset":                 {replace("02:00:00Z", "02:00:00+00:00"), "line 3"},
		"no id":                  {replace("\nid ", "\nix "), "line 2"},
		"no created":             {replace("\ncreated ", "\ncreates "), "line 3: \"created\" expected"},
		"no kind":                {replace("\nkind ", "\nkine "), "line 4: \"kind\" expected"},
		"no name":                {replace("\nname ", "\nnane "), "line 5: \"name\" expected"},
		"no codec":               {replace("\ncodec ", "\ncoder "), "line 6: \"codec\" expected"},
		"no pad":                 {replace("\npad ", "\npat "), "line 9"},
		"kind upper":             {replace("kind database", "kind Database"), "line 4"},
		"kind digit first":       {replace("kind database", "kind 4base"), "line 4"},
		"kind of 33":             {replace("kind database", "kind "+strings.Repeat("k", 33)), "line 4"},
		"kind empty":             {replace("kind database", "kind "), "line 4"},
		"name raw space":         {replace("name takumi", "name ta kumi"), "line 5"},
		"name lower-case escape": {replace("name takumi", "name %c3%a9"), "line 5"},
		"name needless escape":   {replace("name takumi", "name %41"), "line 5"},
		"name half escape":       {replace("20000.sql", "20000.sql%4"), "line 5"},
		"name escaped slash":     {replace("name takumi", "name a%2Fb"), "line 5"},
		"name escaped NUL":       {replace("name takumi", "name a%00b"), "line 5"},
		"name not UTF-8":         {replace("name takumi", "name %FF"), "line 5"},
		"name too long":          {replace("name takumi", "name "+strings.Repeat("n", 250)), "line 5"},
		"codec unknown":          {replace("codec none", "codec lz4"), "line 6"},
		"codec empty":            {replace("codec none", "codec "), "line 6"},
		"lines out of order":     {replace("kind database\nname", "name database\nkind"), "line 4"},
		"no slot":                {replace(lines[6]+lines[7], ""), "line 7"},
		"33 slots":               {replace(slotA, slotA+strings.Repeat("slot a b\n", 31)), "line 39"},
		"slot without arguments": {replace(slotA, slotA+"slot future\n"), "line 8"},
		"slot two spaces":        {replace(slotA, slotA+"slot future  b\n"), "line 8"},
		"slot trailing space":    {replace(slotA, slotA+"slot future b \n"), "line 8"},
		"slot tab":               {replace(slotA, slotA+"slot future b\tc\n"), "line 8"},
		"slot type upper":        {replace(slotA, slotA+"slot Future b\n"), "line 8"},
		"key slot, no wrapped":   {replace(slotA, slotA+"slot key 9f86d081884c7d65\n"), "line 8"},
		"key slot, more":         {replace(slotA, strings.TrimSpace(slotA)+" x\n"), "line 7"},
		"key id of 15":           {replace(slotA, strings.Replace(slotA, string(keyA.ID()), "9f86d081884c7d6", 1)), "line 7"},
		"key id of 17":           {replace(slotA, strings.Replace(slotA, string(keyA.ID()), "9f86d081884c7d651", 1)), "line 7"},
		"key id upper":           {replace(slotA, strings.Replace(slotA, string(keyA.ID()), "9F86D081884C7D65", 1)), "line 7"},
		"base64 short":           {replace(slotA, slotA[:len(slotA)-5]+"\n"), "line 7"},
		"base64 loose bits":      {replace(slotA, looseBits(slotA)), "line 7"},
		"base64 no padding":      {replace(slotA, strings.Replace(slotA, "=\n", "A\n", 1)), "line 7"},
		"four slots of 16 KiB":   {huge, "longer than"},
		"pad empty":              {replace("pad .", "pad \nx"), "line 9"},
		"pad other":              {replace("pad ...", "pad .-."), "line 9"},
		"auth missing":           {replace("\nauth ", "\nxuth "), "line 10"},
		"auth short":             {replace(lines[9], lines[9][:50]+"\n"), "line 10"},
		"line after auth":        {replace("\n---\n", "\nfuture x\n---\n"), "line 11"},
		"not a multiple":         {strings.Replace(good, "....", "...", 1) + "more", "multiple"},
		"65537 bytes":            {strings.Replace(good, ".", strings.Repeat(".", 65536), 1), "longer than"},
		"no end":                 {strings.Replace(good, "---\n", "----", 1) + strings.Repeat(".", 70000), "longer than"},
	} {
		e, err := envelope.Parse(strings.NewReader(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) || e != nil {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// looseBits sets a bit that base64 decoders may ignore.
func looseBits(slot string) string {
	i := strings.LastIndex(slot, "=") - 1
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return slot[:i] + string(digits[strings.IndexByte(digits, slot[i])|1]) + slot[i+1:]
}

// class names the kind of an error, so that a table can say what it expects.
func class(err error) string {
	var chunk *stream.ChunkError
	switch {
	case err == nil:
		return "opens"
	case errors.Is(err, envelope.ErrNotSealed):
		return "not sealed"
	case errors.As(err, new(*envelope.VersionError)):
		return "newer"
	case errors.As(err, new(*envelope.SyntaxError)):
		return "malformed"
	case errors.Is(err, envelope.ErrTruncated), errors.Is(err, stream.ErrTruncated):
		return "truncated"
	case errors.As(err, new(*envelope.WrongKeyError)):
		return "wrong key"
	case errors.Is(err, envelope.ErrDamagedSlot), errors.Is(err, envelope.ErrDamagedHead):
		return "damaged"
	case errors.Is(err, envelope.ErrAltered):
		return "altered"
	case errors.As(err, &chunk):
		return fmt.Sprintf("chunk %d", chunk.Index)
	case errors.As(err, new(*stream.TrailingError)):
		return "trailing"
	}
	return "unnamed: " + err.Error()
}

// TestCutAtTheHeader: what ends with the header of the payload, or in it, is cut short,
// however it is read.
func TestCutAtTheHeader(t *testing.T) {
	const end = envelope.Unit + stream.HeaderSize
	sealed := seal(t, label, "message", keyA)
	for _, cut := range [][]byte{sealed[:end], sealed[:end-1]} {
		_, _, err := open(cut, envelope.Options{}, keyA)
		_, errAt := envelope.OpenAt(t.Context(), bytes.NewReader(cut), int64(len(cut)), envelope.Options{}, keyA)
		if class(err) != "truncated" || class(errAt) != "truncated" {
			t.Errorf("%d bytes: %v and %v", len(cut), err, errAt)
		}
	}
}

// TestEveryFlip flips every byte of a small backup and says, line by line,
// which errors may come of it.
func TestEveryFlip(t *testing.T) {
	const message = "the message"
	for _, keys := range [][]*kek.Key{{keyA}, {keyB, keyA}} {
		good := seal(t, label, message, keys...)
		may := func(i int) string {
			n := bytes.Count(good[:min(i, envelope.Unit)], []byte("\n"))
			switch {
			case i >= envelope.Unit+stream.HeaderSize:
				return "chunk 0"
			case i >= envelope.Unit:
				return "damaged"
			case n == 0:
				return "not sealed, newer, truncated"
			case n == 1:
				return "malformed, damaged" // the slot no longer belongs to the id
			case n <= 5:
				return "malformed, damaged" // the payload no longer belongs to the preamble
			case n <= 5+len(keys):
				return "malformed, damaged, altered, wrong key" // a type word of another kind hides the slot
			}
			return "malformed, altered, truncated"
		}
		for _, mask := range []byte{0x01, 0x20, 0x80} {
			for i := range good {
				bad := bytes.Clone(good)
				bad[i] ^= mask
				got, _, err := open(bad, envelope.Options{}, keyA)
				if c := class(err); !strings.Contains(may(i), c) || got != "" {
					t.Fatalf("%d keys, byte %d ^ %#x: %s, %q released; want %s", len(keys), i, mask, c, got, may(i))
				}
				if class(err) == "wrong key" && !bytes.Contains(bad[:i+1], []byte("\nslot ")) {
					t.Fatalf("byte %d: a damaged backup passes for a wrong key", i)
				}
			}
		}
	}
}

func TestEveryCut(t *testing.T) {
	good := seal(t, label, "the message", keyA)
	for n := range good {
		got, _, err := open(good[:n], envelope.Options{}, keyA)
		want := "truncated"
		switch {
		case n == 0:
			want = "not sealed"
		case n >= envelope.Unit+stream.HeaderSize+stream.TagSize:
			want = "chunk 0"
		}
		if class(err) != want || got != "" {
			t.Fatalf("cut at %d: %s, %q released; want %s", n, class(err), got, want)
		}
	}
	_, _, err := open(good[:len(good)-1], envelope.Options{}, keyA)
	if chunk := new(stream.ChunkError); !errors.As(err, &chunk) || chunk.Offset != envelope.Unit+stream.HeaderSize {
		t.Errorf("a cut chunk is not placed in the file: %v", err)
	}
	_, _, err = open(append(bytes.Clone(good), 'x'), envelope.Options{}, keyA)
	if trailing := new(stream.TrailingError); !errors.As(err, &trailing) || trailing.Offset != int64(len(good)) {
		t.Errorf("one byte more is not placed at the end of the file: %v", err)
	}
	for _, more := range []string{"\x00", "x", string(good)} {
		if _, _, err := open(append(bytes.Clone(good), more...), envelope.Options{}, keyA); class(err) != "trailing" {
			t.Errorf("%d bytes more: %v", len(more), err)
		}
	}
}

// TestOpening is the table of "Opening" in docs/FORMAT.md.
func TestOpening(t *testing.T) {
	edit := func(b []byte, old, new string) []byte {
		if !bytes.Contains(b, []byte(old)) || len(old) != len(new) {
			t.Fatalf("cannot replace %q", old)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
	one, two, other := seal(t, label, "m", keyA), seal(t, label, "m", keyB, keyA), seal(t, label, "m", keyA)
	slotOf := func(b []byte, i int) string { return strings.Split(string(b), "\n")[6+i] }
	const foreign = "0123456789abcdef"
	for name, tc := range map[string]struct {
		sealed []byte
		keys   []*kek.Key
		want   string
	}{
		"right key":                    {one, []*kek.Key{keyA}, "opens"},
		"second slot":                  {two, []*kek.Key{keyA}, "opens"},
		"right key among wrong ones":   {one, []*kek.Key{keyC, keyB, keyA}, "opens"},
		"wrong key":                    {two, []*kek.Key{keyC}, "wrong key"},
		"no key":                       {one, nil, "wrong key"},
		"own slot of another backup":   {edit(one, slotOf(one, 0), slotOf(other, 0)), []*kek.Key{keyA}, "damaged"},
		"slot under another id":        {edit(one, string(keyA.ID()), foreign), []*kek.Key{keyA}, "altered"},
		"other slot under another id":  {edit(two, string(keyB.ID()), foreign), []*kek.Key{keyA}, "altered"},
		"ids exchanged":                {edit(edit(edit(two, string(keyA.ID()), foreign), string(keyB.ID()), string(keyA.ID())), foreign, string(keyB.ID())), []*kek.Key{keyA}, "altered"},
		"other holder's slot replaced": {edit(two, slotOf(two, 0)[30:], slotOf(other, 0)[30:]), []*kek.Key{keyA}, "altered"},
		"created changed":              {edit(one, "T02:", "T03:"), []*kek.Key{keyA}, "damaged"},
		"name changed":                 {edit(one, "takumi_db", "takumi_dc"), []*kek.Key{keyA}, "damaged"},
	} {
		if _, _, err := open(tc.sealed, envelope.Options{}, tc.keys...); class(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}

	altered := edit(two, string(keyB.ID()), foreign)
	got, r, err := open(altered, envelope.Options{Rescue: true}, keyA)
	if err != nil || got != "m" || !errors.Is(r.Altered, envelope.ErrAltered) {
		t.Errorf("rescue: %q, %v", got, err)
	}
	var wrong *envelope.WrongKeyError
	if _, _, err = open(edit(two, "slot key "+string(keyA.ID()), "slot kms "+string(keyA.ID())), envelope.Options{}, keyA); !errors.As(err, &wrong) ||
		wrong.Wanted[0] != keyB.Holder() || wrong.Wanted[1].Type != "kms" || wrong.Offered[0] != keyA.Holder() {
		t.Errorf("a slot of an unknown type: %v", err)
	}
	wrong = &envelope.WrongKeyError{Wanted: []slot.Holder{{Type: "key", Name: "a"}, {Type: "key", Name: "b"}, {Type: "age", Name: "c"}}}
	if got := wrong.Error(); got != "wrong key: the backup wants key a, b, age c, offered no key" {
		t.Errorf("%q", got)
	}
}

func TestDetached(t *testing.T) {
	sealed, foreign := seal(t, label, "m", keyA), seal(t, label, "m", keyA)
	parse := func(b []byte) *envelope.Envelope {
		e, err := envelope.Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	// The embedded slot is unreadable, as after a crash in the middle of a rewrap.
	torn := bytes.Clone(sealed)
	at := bytes.Index(torn, []byte(keyA.ID())) + 20
	if torn[at] == 'A' {
		torn[at] = 'B'
	} else {
		torn[at] = 'A'
	}
	for name, tc := range map[string]struct {
		file     []byte
		detached *envelope.Envelope
		opens    bool
		passed   error
	}{
		"same":             {sealed, parse(sealed), true, nil},
		"embedded damaged": {torn, parse(sealed), true, nil},
		"another backup's": {sealed, parse(foreign), true, envelope.ErrPreamble},
		"both useless":     {torn, parse(foreign), false, nil},
	} {
		_, r, err := open(tc.file, envelope.Options{Detached: tc.detached}, keyA)
		if (err == nil) != tc.opens || err == nil && !errors.Is(r.Detached, tc.passed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNeitherOpens: of two envelopes that do not open, the one that an offered key is for
// gives the error, and its own when both are.
func TestNeitherOpens(t *testing.T) {
	sealed := seal(t, label, "m", keyA)
	w, err := rewrap(t, sealed, nil, envelope.RewrapOptions{}, keyA, keyB)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(b []byte) []byte { // its slot parses and does not open
		b = bytes.Clone(b)
		at := bytes.Index(b, []byte("\nslot key ")) + 40
		b[at] = map[bool]byte{true: 'B', false: 'A'}[b[at] == 'A']
		return b
	}
	for name, tc := range map[string]struct {
		own, detached []byte
		key           *kek.Key
		want, says    string
		wanted        []slot.Holder
	}{
		"a key for neither":                   {sealed, w.New.Bytes(), keyC, "wrong key", "", []slot.Holder{keyB.Holder(), keyA.Holder()}},
		"a key for neither of two equal":      {sealed, sealed, keyC, "wrong key", "", []slot.Holder{keyA.Holder()}},
		"two equal, damaged":                  {bad(sealed), bad(sealed), keyA, "damaged", "", nil},
		"a key for the damaged one beside":    {sealed, bad(w.New.Bytes()), keyB, "damaged", "with the envelope next to it: ", nil},
		"a key for its own, damaged":          {bad(sealed), w.New.Bytes(), keyA, "damaged", "passed over: wrong key", nil},
		"beside is another backup's":          {sealed, seal(t, label, "m", keyB), keyB, "wrong key", "passed over: the detached", []slot.Holder{keyA.Holder()}},
		"damaged, beside is another backup's": {bad(sealed), seal(t, label, "m", keyB), keyA, "damaged", "passed over: the detached", nil},
	} {
		detached, err := envelope.Parse(bytes.NewReader(tc.detached))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = open(tc.own, envelope.Options{Detached: detached}, tc.key)
		var wrong *envelope.WrongKeyError
		if errors.As(err, &wrong); class(err) != tc.want || !strings.Contains(err.Error(), tc.says) ||
			tc.says == "" && strings.Contains(err.Error(), "next to it") || tc.wanted != nil && !slices.Equal(wrong.Wanted, tc.wanted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFind: keys are asked for with the ids that the slots carry, and only what
// is missing fails.
func TestFind(t *testing.T) {
	sealed := seal(t, label, "message", keyA, keyB)
	gone := errors.New("the vault is down")
	for name, tc := range map[string]struct {
		found []*kek.Key
		err   error
		want  error // nil: it opens
	}{
		"the key":                {[]*kek.Key{keyB}, nil, nil},
		"among others":           {[]*kek.Key{keyC, keyB}, nil, nil},
		"the key, and a failure": {[]*kek.Key{keyA}, gone, nil},
		"another, and a failure": {[]*kek.Key{keyC}, gone, gone},
		"a failure":              {nil, gone, gone},
		"nothing":                {nil, nil, new(envelope.WrongKeyError)},
	} {
		var wanted []slot.Holder
		got, _, err := open(sealed, envelope.Options{Find: func(_ context.Context, holders []slot.Holder) ([]envelope.Identity, error) {
			wanted = holders
			return slot.Identities(tc.found...), tc.err
		}})
		if !slices.Equal(wanted, []slot.Holder{keyA.Holder(), keyB.Holder()}) {
			t.Errorf("%s: asked for %v", name, wanted)
		}
		var wrong *envelope.WrongKeyError
		switch {
		case tc.want == nil:
			if err != nil || got != "message" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		case tc.want == gone:
			if !errors.Is(err, gone) || errors.As(err, &wrong) != (tc.found != nil) {
				t.Errorf("%s: %v", name, err)
			}
		default:
			if !errors.As(err, &wrong) || strings.Contains(err.Error(), "could be had") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// Who gives up while keys are looked for is asked no more.
	ctx, stop := context.WithCancel(t.Context())
	asked := 0
	_, err := envelope.Open(ctx, bytes.NewReader(sealed), envelope.Options{Find: func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
		asked++
		stop()
		return slot.Identities(keyB), nil
	}})
	if asked != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("asked %d times after it was stopped: %v", asked, err)
	}
	// What the caller offers stays the caller's.
	offered := append(make([]envelope.Identity, 0, 2), keyC)
	if _, err := envelope.Open(t.Context(), bytes.NewReader(sealed), envelope.Options{Find: have(keyA)}, offered...); err != nil || offered[:2][1] != nil {
		t.Errorf("%v, and the caller's list has %v", err, offered[:2])
	}
	// Keys that were given are tried first, and Find's besides them.
	if got, _, err := open(sealed, envelope.Options{Find: func(context.Context, []slot.Holder) ([]envelope.Identity, error) { return nil, gone }}, keyA); err != nil || got != "message" {
		t.Errorf("%q, %v", got, err)
	}
}
