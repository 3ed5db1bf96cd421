package vectors

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
)

// longName has 255 bytes, each of them escaped: 765 characters.
var longName = strings.Repeat("%E3%83%90", 85)

// goodOnes open: what every reader must accept of the envelope and the payload.
func goodOnes() []recipe {
	const otherSlot = "slot future to:ops@example.org AGUtbm90LWJhc2U2NA"
	longSlot := "slot future " + strings.Repeat("x", maxSlotLine-len("slot future \n"))
	return []recipe{
		{name: "example", expect: opens, comment: "the worked example of docs/FORMAT.md"},
		{name: "payload-empty", expect: opens, comment: "no plaintext at all: one chunk, which holds only its tag", make: filled(0)},
		{name: "payload-16383", expect: opens, comment: "one byte less than a full chunk", make: filled(chunkSize - 1)},
		{name: "payload-16384", expect: opens, comment: "exactly one full chunk, and an empty final one", make: filled(chunkSize)},
		{name: "payload-16385", expect: opens, comment: "a full chunk and one byte", make: filled(chunkSize + 1)},
		{name: "payload-three-chunks", expect: opens, comment: "two full chunks and a short one", make: filled(2*chunkSize + 1000)},

		{name: "two-slots-first", expect: opens, comment: "sealed for two keys, opened with the one that stands first", make: twoSlots},
		{name: "two-slots-second", expect: opens, comment: "sealed for two keys, opened with the one that stands second", keys: []key{keyB}, make: twoSlots},
		{name: "two-keys-offered", expect: opens, comment: "two keys are offered and the second has the slot", keys: []key{keyC, keyA}},
		{name: "slot-twice", expect: opens, comment: "two slots for one key; the first is spoilt, under an auth line that covers it, and the second opens", make: func(f *file) {
			f.slots = append([]string{spoilt(f.slots[0])}, f.slots...)
		}},
		{name: "slot-under-another-id", expect: opens, comment: "two slots for one key, under an auth line that covers them; the first bears another key's id, so the second is tried before it", make: func(f *file) {
			f.slots = append([]string{strings.Replace(f.slots[0], keyA.id(), keyB.id(), 1)}, f.slots...)
		}},
		{name: "slot-age", expect: opens, identity: ageX25519, comment: "a slot for an age recipient, X25519, next to the key's", make: func(f *file) { f.slots = append(f.slots, string(sample("slot-age.slot"))) }},
		{name: "slot-age-hybrid", expect: opens, identity: ageHybrid, comment: "a slot for a hybrid post-quantum age recipient, before the key's", make: func(f *file) { f.slots = append([]string{string(sample("slot-age-hybrid.slot"))}, f.slots...) }},
		{name: "slot-age-of-another-backup", expect: opens, identity: ageX25519, identityExpect: damaged, comment: "the age slot holds another backup's id, and this one's data key", make: func(f *file) { f.slots = append(f.slots, string(sample("slot-age-of-another-backup.slot"))) }},
		{name: "slot-awskms", expect: opens, service: keyC, comment: "a slot for a key of AWS KMS, before the key's", make: func(f *file) { f.slots = append([]string{f.kmsSlot(f.id)}, f.slots...) }},
		{name: "slot-awskms-of-another-backup", expect: opens, service: keyC, serviceExpect: damaged, comment: "the encryption context of the slot is that of another backup", make: func(f *file) {
			f.slots = append(f.slots, f.kmsSlot(strings.Repeat("0", 32)))
		}},
		{name: "slot-transit", expect: opens, service: keyC, comment: "a slot for a key of the transit engine, which has been rotated twice, next to the key's", make: func(f *file) { f.slots = append(f.slots, f.transitSlot(f.id)) }},
		{name: "slot-transit-of-another-backup", expect: opens, service: keyC, serviceExpect: damaged, comment: "the associated data of the slot is that of another backup", make: func(f *file) {
			f.slots = append(f.slots, f.transitSlot(strings.Repeat("0", 32)))
		}},
		{name: "slot-unknown", expect: opens, comment: "slots of types that no reader knows stand before and after the key's", make: func(f *file) {
			f.slots = []string{otherSlot, f.slots[0], "slot x ~ ! ~"}
		}},
		{name: "slots-32", expect: opens, comment: "as many slots as there may be; the key's is the last", make: func(f *file) {
			mine := f.slots[0]
			f.slots = nil
			for i := range 31 {
				f.slots = append(f.slots, fmt.Sprintf("slot future %d", i))
			}
			f.slots = append(f.slots, mine)
		}},
		{name: "slot-16384", expect: opens, comment: "a slot line of 16384 octets, the longest", make: addSlot(longSlot)},

		{name: "envelope-65536", expect: opens, comment: "the longest envelope, three slots of 16384 octets among its lines", make: func(f *file) {
			f.slots = append(f.slots, longSlot, longSlot, longSlot)
			f.dots = padFor(f.head(), maxEnvelope)
		}},
		{name: "pad-longest", expect: opens, comment: "the longest envelope, nearly all of it padding", make: func(f *file) { f.dots = padFor(f.head(), maxEnvelope) }},
		{name: "pad-shortest", expect: opens, comment: "one dot of padding, which a reader accepts (sealing leaves more)", make: func(f *file) {
			f.slots = append(f.slots, "slot future ")
			f.slots[1] += strings.Repeat("x", padFor(f.head(), unit)-1)
			f.dots = 1
		}},

		{name: "name-utf8", expect: opens, comment: "the name is バックアップ 2026.sql", make: set("name", "%E3%83%90%E3%83%83%E3%82%AF%E3%82%A2%E3%83%83%E3%83%97%202026.sql")},
		{name: "name-255-bytes", expect: opens, comment: "the longest name, every byte of it escaped", make: set("name", longName)},
		{name: "name-odd", expect: opens, comment: "the name is -..~\\%_, all of which is allowed", make: set("name", "-..~%5C%25_")},
		{name: "kind-unknown", expect: opens, comment: "a kind of 32 characters that no reader knows", make: set("kind", "a-kind-of-backup-from-the-future")},
		{name: "created-leap-day", expect: opens, comment: "29 February 2028", make: set("created", "2028-02-29T23:59:59Z")},

		{name: "created-year-0000", expect: opens, comment: "the earliest time, in a leap year", make: set("created", "0000-02-29T00:00:00Z")},
		{name: "created-year-9999", expect: opens, comment: "the latest time", make: set("created", "9999-12-31T23:59:59Z")},

		{name: "detached", expect: opens, comment: "the embedded slot is torn and the detached envelope is whole", make: nil, spoil: func(s *sealed) {
			s.detached = s.envelope
			s.edit(s.slots[0], spoilt(s.slots[0]))
		}},
		{name: "detached-rewrapped", expect: opens, comment: "the detached envelope has a slot for the key; the embedded one, of the same backup, has not", keys: []key{keyB}, spoil: func(s *sealed) {
			rewrapped := *s.file
			rewrapped.slots = []string{s.slot(keyB)}
			s.detached = rewrapped.envelope()
		}},
		{name: "detached-foreign", expect: opens, comment: "the detached envelope is another backup's, so it is passed over", spoil: func(s *sealed) {
			s.detached = newFile("another backup").envelope()
		}},
		{name: "detached-longer", expect: opens, comment: "the detached envelope is longer than the embedded one, after which the payload starts", spoil: func(s *sealed) {
			rewrapped := *s.file
			rewrapped.slots = append(rewrapped.slots, longSlot)
			s.detached = rewrapped.envelope()
		}},
		{name: "detached-torn", expect: opens, comment: "a rewrap for two keys was interrupted: the first 300 bytes are those of the detached envelope, whose length tells where the payload starts", keys: []key{keyB}, spoil: func(s *sealed) {
			rewrapped := *s.file
			rewrapped.slots = []string{s.slot(keyB), s.slot(keyC)}
			s.detached = rewrapped.envelope()
			s.envelope = append(bytes.Clone(s.detached[:300]), s.envelope[300:]...)
		}},
		{name: "detached-alone", expect: opens, comment: "nothing but zeros in the place of the embedded envelope", spoil: erased},
	}
}

// erased leaves nothing of the embedded envelope, and the same beside it.
func erased(s *sealed) { s.detached, s.envelope = s.envelope, make([]byte, len(s.envelope)) }

func twoSlots(f *file) { f.slots = append(f.slots, f.slot(keyB)) }

// spoilt returns a key slot whose wrapped key differs in one bit.
func spoilt(slot string) string {
	i := strings.LastIndexByte(slot, ' ') + 1
	wrapped := must(base64.StdEncoding.DecodeString(slot[i:]))
	return slot[:i] + base64.StdEncoding.EncodeToString(flip(wrapped, 60))
}

// goodPacked open, and hold what every reader must unpack.
func goodPacked() []recipe {
	const text = "CREATE TABLE badge (id int);\n"
	one := rawFrame(sized(len(text)), text)
	long := dump(150_000)
	indexed := indexFrame([2]string{"", indexHeader + "\n" + indexLineA + "\n"}, [2]string{"b", indexLineB + "\n"})
	return []recipe{
		{name: "zstd-empty", expect: opens, comment: "an empty input: one empty frame, and its seek table", make: packs("zstd", emptyFrame+table(len(emptyFrame), 0), "")},
		{name: "zstd-frames", expect: opens, comment: "three frames and a seek table, as this program packs", make: packs("zstd", string(sample("frames.zst")), long)},
		{name: "zstd-tool", expect: opens, comment: "one frame without a content size, as the zstd program packs a pipe", make: packs("zstd", string(sample("pipe.zst")), long)},
		{name: "zstd-no-table", expect: opens, comment: "two frames, and no seek table", make: packs("zstd", one+one, text+text)},
		{name: "zstd-window-8-MiB", expect: opens, comment: "the largest window", make: packs("zstd", rawFrame(windowed(13, 0), text), text)},
		{name: "zstd-table-lies", expect: opens, comment: "the seek table's lengths are wrong; it is a hint, and in order nobody asks it", make: packs("zstd", one+one+table(len(one), len(text)+7, len(one)-3, 0), text+text)},
		{name: "zstd-table-counts", expect: opens, comment: "the seek table has one entry for two frames", make: packs("zstd", one+one+table(len(one), len(text)), text+text)},
		{name: "zstd-index", expect: opens, comment: "an index before the seek table; a reader in order passes over it", make: packs("zstd", one+one+indexed+table(len(one), len(text), len(one), len(text), len(indexed), 0), text+text)},
		{name: "zstd-index-garbage", expect: opens, comment: "a frame that should be an index, and is noise", make: packs("zstd", one+indexMagic+le32(4)+"TKBI"+table(len(one), len(text), 12, 0), text)},
		{name: "gzip-empty", expect: opens, comment: "an empty input: one empty member", make: packs("gzip", member(""), "")},
		{name: "gzip-stored", expect: opens, comment: "two members that are stored, not compressed", make: packs("gzip", member(text)+member(text), text+text)},
		{name: "gzip-members", expect: opens, comment: "three members, as this program packs", make: packs("gzip", string(sample("multi.gz")), long)},
		{name: "gzip-tool", expect: opens, comment: "one member that bears a file name and a time, as the gzip program packs", make: packs("gzip", string(sample("named.gz")), long)},
	}
}
