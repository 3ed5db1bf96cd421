package vectors

import (
	"encoding/base64"
	"strings"
)

// badText are refused for the first line, or for one field of the envelope.
func badText() []recipe {
	keep := func(n int) func(*sealed) {
		return func(s *sealed) { s.envelope, s.payload = s.envelope[:n], nil }
	}
	replace := func(text string) func(*sealed) {
		return func(s *sealed) { s.envelope, s.payload = []byte(text), nil }
	}
	return []recipe{
		{name: "not-sealed-empty-file", expect: notSealed, comment: "an empty file", spoil: replace("")},
		{name: "not-sealed-a-dump", expect: notSealed, comment: "a dump that was never sealed", spoil: replace("--\n-- PostgreSQL database dump\n--\n")},
		{name: "not-sealed-zeros", expect: notSealed, comment: "8192 zero bytes", spoil: replace(strings.Repeat("\x00", 8192))},
		{name: "not-sealed-upper-case", expect: notSealed, comment: "the first line in another case", spoil: change("takumi-backup/v1", "Takumi-Backup/v1")},
		{name: "not-sealed-crlf", expect: notSealed, comment: "the first line ends in CR LF", spoil: change("/v1\n", "/v1\r\n")},
		{name: "not-sealed-byte-order-mark", expect: notSealed, comment: "a byte order mark before the first line", spoil: func(s *sealed) { s.envelope = append([]byte("\xef\xbb\xbf"), s.envelope...) }},
		{name: "newer-2", expect: newer, comment: "version 2", spoil: change("/v1\n", "/v2\n")},
		{name: "newer-10", expect: newer, comment: "version 10", spoil: change("/v1\n", "/v10\n")},

		{name: "cut-first-line", expect: truncated, comment: "the file ends inside the first line", spoil: keep(10)},
		{name: "cut-preamble", expect: truncated, comment: "the file ends after the id", spoil: keep(53)},
		{name: "cut-pad", expect: truncated, comment: "the file ends in the padding", spoil: keep(2000)},
		{name: "cut-terminator", expect: truncated, comment: "the file ends one byte before the end of the envelope", spoil: keep(unit - 1)},

		{name: "id-upper-case", expect: malformed, comment: "hex digits in upper case", make: set("id", "0123456789ABCDEF0123456789ABCDEF")},
		{name: "id-short", expect: malformed, comment: "15 bytes", make: set("id", strings.Repeat("5a", 15))},
		{name: "created-february-30", expect: malformed, comment: "a day that does not exist", make: set("created", "2026-02-30T02:00:00Z")},
		{name: "created-february-29", expect: malformed, comment: "a day that exists in leap years alone", make: set("created", "2026-02-29T02:00:00Z")},
		{name: "created-month-13", expect: malformed, comment: "a month that does not exist", make: set("created", "2026-13-01T02:00:00Z")},
		{name: "created-hour-24", expect: malformed, comment: "an hour that does not exist", make: set("created", "2026-11-23T24:00:00Z")},
		{name: "created-second-60", expect: malformed, comment: "a leap second", make: set("created", "2026-12-31T23:59:60Z")},
		{name: "created-fraction", expect: malformed, comment: "a fraction of a second", make: set("created", "2026-11-23T02:00:00.5Z")},
		{name: "created-offset", expect: malformed, comment: "an offset instead of Z", make: set("created", "2026-11-23T02:00:00+00:00")},
		{name: "kind-upper-case", expect: malformed, comment: "a kind with a capital", make: set("kind", "Database")},
		{name: "kind-digit", expect: malformed, comment: "a kind that begins with a digit", make: set("kind", "2database")},
		{name: "kind-33", expect: malformed, comment: "a kind of 33 characters", make: set("kind", strings.Repeat("k", 33))},
		{name: "kind-empty", expect: malformed, comment: "no kind", make: set("kind", "")},
		{name: "name-empty", expect: malformed, comment: "no name", make: set("name", "")},
		{name: "name-256-bytes", expect: malformed, comment: "one byte too many", make: set("name", strings.Repeat("n", 256))},
		{name: "name-raw-space", expect: malformed, comment: "a space that is not escaped", make: set("name", "a b")},
		{name: "name-lower-case-escape", expect: malformed, comment: "an escape in lower case", make: set("name", "caf%c3%a9")},
		{name: "name-needless-escape", expect: malformed, comment: "an escape for a character that needs none", make: set("name", "%41")},
		{name: "name-half-escape", expect: malformed, comment: "an escape that breaks off", make: set("name", "100%2")},
		{name: "name-slash", expect: malformed, comment: "a slash, escaped", make: set("name", "etc%2Fpasswd")},
		{name: "name-dot-dot", expect: malformed, comment: "the name is ..", make: set("name", "..")},
		{name: "name-nul", expect: malformed, comment: "U+0000", make: set("name", "a%00b")},
		{name: "name-c1-control", expect: malformed, comment: "U+0085, a control character in two bytes", make: set("name", "a%C2%85b")},
		{name: "name-not-utf8", expect: malformed, comment: "bytes that are not UTF-8", make: set("name", "caf%E9")},
		{name: "name-surrogate", expect: malformed, comment: "a surrogate, U+D800, in the form of UTF-8", make: set("name", "%ED%A0%80")},
		{name: "name-overlong", expect: malformed, comment: "a slash in two bytes, which is not UTF-8", make: set("name", "%C0%AF")},
		{name: "codec-unknown", expect: malformed, comment: "a codec that version 1 does not have", make: set("codec", "lz4")},
		{name: "codec-space", expect: malformed, comment: "a blank at the end of a line", make: set("codec", "none ")},
		{name: "lines-exchanged", expect: malformed, comment: "name before kind", spoil: change("kind database\nname takumi_db.sql\n", "name takumi_db.sql\nkind database\n")},
		{name: "line-unknown", expect: malformed, rescued: true, comment: "a line that the format does not have", spoil: change("codec none\n", "codec none\nsite tokyo\n")},
		{name: "line-twice", expect: malformed, rescued: true, comment: "two lines for the codec", spoil: change("codec none\n", "codec none\ncodec none\n")},
		{name: "line-crlf", expect: malformed, comment: "a line that ends in CR LF", spoil: change("codec none\n", "codec none\r\n")},
	}
}

// badEnvelopes are refused for the lines after the preamble, or for a limit.
// Where that can be, auth covers what is wrong, so that the form alone is to
// blame.
func badEnvelopes() []recipe {
	keySlot := func(id string, wrapped []byte, encoding *base64.Encoding) func(*file) {
		return addSlot("slot key " + id + " " + encoding.EncodeToString(wrapped))
	}
	const id = "0123456789abcdef"
	wrapped := random("badEnvelopes", "wrapped", 104)
	std := base64.StdEncoding
	return []recipe{
		{name: "slot-none", expect: malformed, comment: "no slot", make: func(f *file) { f.slots = nil }},
		{name: "slots-33", expect: malformed, rescued: true, comment: "one slot too many", make: func(f *file) {
			for range 32 {
				f.slots = append(f.slots, "slot future x")
			}
		}},
		{name: "slot-16385", expect: malformed, rescued: true, comment: "a slot line one octet too long", make: addSlot("slot future " + strings.Repeat("x", maxSlotLine+1-len("slot future \n")))},
		{name: "slot-type-upper-case", expect: malformed, rescued: true, comment: "a type with a capital", make: addSlot("slot Future x")},
		{name: "slot-type-33", expect: malformed, rescued: true, comment: "a type of 33 characters", make: addSlot("slot " + strings.Repeat("f", 33) + " x")},
		{name: "slot-no-argument", expect: malformed, rescued: true, comment: "a type and nothing after it", make: addSlot("slot future")},
		{name: "slot-two-spaces", expect: malformed, rescued: true, comment: "an empty argument", make: addSlot("slot future  x")},
		{name: "slot-trailing-space", expect: malformed, rescued: true, comment: "a blank at the end", make: addSlot("slot future x ")},
		{name: "slot-tab", expect: malformed, rescued: true, comment: "a tab", make: addSlot("slot future x\ty")},
		{name: "slot-not-ascii", expect: malformed, rescued: true, comment: "an argument outside ASCII", make: addSlot("slot future é")},
		{name: "slot-key-third-argument", expect: malformed, rescued: true, comment: "an argument too many for type key", make: addSlot("slot key " + id + " " + std.EncodeToString(wrapped) + " x")},
		{name: "slot-key-no-wrap", expect: malformed, rescued: true, comment: "an argument too few for type key", make: addSlot("slot key " + id)},
		{name: "slot-key-id-upper-case", expect: malformed, rescued: true, comment: "a key id in upper case", make: keySlot("0123456789ABCDEF", wrapped, std)},
		{name: "slot-key-id-short", expect: malformed, rescued: true, comment: "a key id of 14 digits", make: keySlot(id[2:], wrapped, std)},
		{name: "slot-data-key-31-bytes", expect: malformed, comment: "the slot opens, to 31 bytes", make: onlySlot(func(f *file) string { return f.slotWith(keyA, f.dataKey[:31]) })},
		{name: "slot-data-key-33-bytes", expect: malformed, comment: "the slot opens, to 33 bytes", make: onlySlot(func(f *file) string { return f.slotWith(keyA, append(f.dataKey[:32:32], 0)) })},
		{name: "slot-base64-loose-bits", expect: malformed, comment: "base64 whose unused bits are not zero", make: onlySlot(func(f *file) string { return loosened(f.slots[0]) })},
		{name: "slot-base64-unpadded", expect: malformed, rescued: true, comment: "base64 without its =", make: keySlot(id, wrapped, base64.RawStdEncoding)},
		{name: "slot-base64-url", expect: malformed, rescued: true, comment: "base64 in the alphabet for URLs", make: keySlot(id, []byte(strings.Repeat("\xff\xfe\xfd", 34)+"\xff\xff"), base64.URLEncoding)},
		{name: "slot-after-pad", expect: malformed, rescued: true, comment: "a slot that stands after the padding", spoil: func(s *sealed) {
			s.edit("\nauth ", "\nslot future x\nauth ")
		}},
		{name: "pad-empty", expect: malformed, rescued: true, comment: "no dot of padding", make: func(f *file) {
			f.slots = append(f.slots, "slot future ")
			f.slots[1] += strings.Repeat("x", padFor(f.head(), unit))
		}, spoil: func(s *sealed) {
			s.envelope = []byte(s.head() + "pad \nauth " + strings.Repeat("A", 96) + "\n---\n")
		}},
		{name: "pad-missing", expect: malformed, rescued: true, comment: "no line of padding", make: func(f *file) {
			f.slots = append(f.slots, "slot future ")
			f.slots[1] += strings.Repeat("x", padFor(f.head(), unit)+len("pad \n"))
		}, spoil: func(s *sealed) { s.envelope = []byte(s.head() + "auth " + strings.Repeat("A", 96) + "\n---\n") }},
		{name: "pad-other", expect: malformed, rescued: true, comment: "something in the padding that is not a dot", spoil: func(s *sealed) { s.envelope[2000] = ',' }},
		{name: "auth-missing", expect: malformed, rescued: true, comment: "no auth line", spoil: func(s *sealed) {
			line := string(s.envelope[unit-4-102 : unit-4])
			s.edit(line, "")
		}},
		{name: "auth-message", expect: malformed, rescued: true, comment: "auth seals three bytes, where it must seal nothing", make: func(f *file) {
			f.authMessage = []byte("xyz")
			f.dots = padFor(f.head(), unit) - 4
		}},
		{name: "auth-base64", expect: malformed, rescued: true, comment: "a character outside base64", spoil: func(s *sealed) { s.envelope[unit-50] = '*' }},
		{name: "after-auth", expect: malformed, rescued: true, comment: "a line between auth and the end", spoil: func(s *sealed) {
			s.edit("\n---\n", "\nfuture x\n---\n")
		}},
		{name: "envelope-4095", expect: malformed, comment: "one dot is missing, so the length is no multiple of 4096", make: func(f *file) { f.dots = padFor(f.head(), unit-1) }},
		{name: "envelope-4097", expect: malformed, comment: "one dot too many", make: func(f *file) { f.dots = padFor(f.head(), unit+1) }},
		{name: "envelope-69632", expect: malformed, comment: "17 times 4096, one too many", make: func(f *file) { f.dots = padFor(f.head(), maxEnvelope+unit) }},
		{name: "envelope-early-end", expect: malformed, rescued: true, comment: "a line of --- among the padding ends the envelope there", spoil: func(s *sealed) { copy(s.envelope[2000:], "\n---\n") }},
		{name: "envelope-no-end", expect: malformed, comment: "65536 octets and no end", spoil: func(s *sealed) {
			s.envelope = append(s.envelope[:unit-4], strings.Repeat("-", maxEnvelope)...)
		}},
	}
}

// loosened sets an unused bit of a padded base64 text.
func loosened(slot string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := len(slot) - 2
	return slot[:i] + string(digits[strings.IndexByte(digits, slot[i])|1]) + "="
}
