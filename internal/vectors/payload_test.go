package vectors

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
)

// badOpenings are well formed, and do not open with the keys that are offered.
func badOpenings() []recipe {
	other := func() *sealed { return newFile("another backup").seal() }
	const foreignID = "0123456789abcdef"
	return []recipe{
		{name: "wrong-key", expect: wrongKey, comment: "the offered key has no slot", keys: []key{keyC}},
		{name: "wrong-key-unknown-slots", expect: wrongKey, comment: "the only slot is of a type that no reader knows", make: onlySlot(func(*file) string { return "slot future x" })},
		{name: "wrong-key-two-offered", expect: wrongKey, comment: "two keys are offered and neither has a slot", keys: []key{keyB, keyC}},

		{name: "slot-damaged", expect: damaged, comment: "one bit of the offered key's slot", spoil: func(s *sealed) { s.edit(s.slots[0], spoilt(s.slots[0])) }},
		{name: "slot-of-another-backup", expect: damaged, comment: "the slot is the key's, and another backup's", spoil: func(s *sealed) { s.edit(s.slots[0], other().slots[0]) }},
		{name: "slot-another-data-key", expect: damaged, comment: "the slot opens to a data key that does not fit the payload", make: onlySlot(func(f *file) string {
			return f.slotWith(keyA, random("another", "data key", 32))
		})},
		{name: "slot-bound-to-nothing", expect: damaged, comment: "the slot is wrapped with an empty context", make: onlySlot(func(f *file) string {
			id := f.id
			defer func() { f.id = id }()
			f.id = ""
			return f.slot(keyA)
		})},
		{name: "id-changed", expect: damaged, comment: "one digit of the id, to which the slot is bound", spoil: func(s *sealed) {
			s.edit("id "+s.id, "id "+hex.EncodeToString(flip(must(hex.DecodeString(s.id)), 0)))
		}},
		{name: "created-changed", expect: damaged, comment: "the preamble is the payload's context", spoil: change("T02:", "T03:")},
		{name: "name-changed", expect: damaged, comment: "the preamble is the payload's context", spoil: change("takumi_db.sql", "takumi_dc.sql")},
		{name: "codec-changed", expect: damaged, comment: "the preamble is the payload's context", spoil: change("codec none", "codec zstd")},
		{name: "envelope-of-another-backup", expect: damaged, comment: "a whole envelope before the payload of another backup, both for the key", spoil: func(s *sealed) { s.envelope = other().envelope }},
		{name: "salt-changed", expect: damaged, comment: "one bit of the payload's salt", spoil: func(s *sealed) { s.payload = flip(s.payload, 0) }},
		{name: "commitment-changed", expect: damaged, comment: "one bit of the payload's commitment", spoil: func(s *sealed) { s.payload = flip(s.payload, headSize-1) }},
		{name: "detached-useless", expect: damaged, comment: "the embedded slot is torn, and the detached envelope is another backup's", spoil: func(s *sealed) {
			s.edit(s.slots[0], spoilt(s.slots[0]))
			s.detached = other().envelope
		}},
		{name: "detached-torn-foreign", expect: notSealed, comment: "zeros in the place of the embedded envelope, and the detached one is another backup's", spoil: func(s *sealed) {
			erased(s)
			s.detached = other().envelope
		}},
		{name: "detached-torn-wrong-key", expect: notSealed, comment: "zeros in the place of the embedded envelope, and the detached one is for another key", keys: []key{keyC}, spoil: erased},
		{name: "detached-torn-cut", expect: notSealed, comment: "the same, and the file ends inside the head of the payload", spoil: func(s *sealed) {
			erased(s)
			s.payload = s.payload[:headSize-1]
		}},
		{name: "detached-torn-damaged", expect: damaged, chunk: at(0), comment: "the detached envelope opens it, and a chunk is damaged", spoil: func(s *sealed) {
			erased(s)
			s.payload = flip(s.payload, headSize)
		}},

		{name: "altered-key-id", expect: altered, comment: "the slot stands under an id that is not its key's", spoil: change(keyA.id(), foreignID)},
		{name: "altered-key-id-covered", expect: altered, comment: "the same, under an auth line that covers it", make: onlySlot(func(f *file) string {
			return strings.Replace(f.slots[0], keyA.id(), foreignID, 1)
		})},
		{name: "altered-key-ids-exchanged", expect: altered, comment: "two slots stand under each other's ids", make: twoSlots, spoil: func(s *sealed) {
			s.edit(keyA.id(), foreignID)
			s.edit(keyB.id(), keyA.id())
			s.edit(foreignID, keyB.id())
		}},
		{name: "altered-slot-removed", expect: altered, comment: "the other holder's slot is gone", make: twoSlots, spoil: func(s *sealed) { s.edit(s.slots[1]+"\n", "") }},
		{name: "altered-slot-added", expect: altered, comment: "a slot of an unknown type was added", spoil: func(s *sealed) { s.edit(s.slots[0]+"\n", s.slots[0]+"\nslot future x\n") }},
		{name: "altered-slot-damaged", expect: altered, comment: "the other holder's slot has one bit changed", make: twoSlots, spoil: func(s *sealed) { s.edit(s.slots[1], spoilt(s.slots[1])) }},
		{name: "altered-slots-exchanged", expect: altered, comment: "two slots stand in another order", make: twoSlots, spoil: func(s *sealed) {
			s.edit(s.slots[0]+"\n"+s.slots[1], s.slots[1]+"\n"+s.slots[0])
		}},
		{name: "altered-pad", expect: altered, comment: "4096 dots were added", spoil: func(s *sealed) {
			s.envelope = bytes.Replace(s.envelope, []byte("pad "), []byte("pad "+strings.Repeat(".", unit)), 1)
		}},
		{name: "altered-auth", expect: altered, comment: "one bit of auth", spoil: func(s *sealed) { s.envelope[unit-60] ^= 1 }},
		{name: "altered-auth-of-another-backup", expect: altered, comment: "the auth line is another backup's", spoil: func(s *sealed) {
			copy(s.envelope[unit-106:], other().envelope[unit-106:])
		}},
		{name: "altered-auth-of-another-envelope", expect: altered, comment: "the auth line is that of an envelope of this backup with one slot more", make: func(f *file) {
			longer := *f
			longer.slots = append(longer.slots, "slot future x")
			f.authCovers = []byte(longer.beforeAuth())
		}},
		{name: "altered-auth-another-key", expect: altered, comment: "auth is sealed under the key, where it must be the data key", make: func(f *file) { f.authKey = keyA }},
	}
}

// badPayloads open, and go wrong in a chunk or after the last one.
func badPayloads() []recipe {
	three := filled(2*chunkSize + 1000)
	another := func() *sealed {
		f := newFile("another backup")
		f.fill(2*chunkSize + 1000)
		return f.seal()
	}
	keep := func(n int) func(*sealed) { return func(s *sealed) { s.payload = s.payload[:n] } }
	add := func(text string) func(*sealed) {
		return func(s *sealed) { s.payload = append(s.payload, text...) }
	}
	// resealed puts other chunks behind a head that is right.
	resealed := func(chunks func(f *file, m *message) [][]byte) func(*sealed) {
		return func(s *sealed) { s.chunks(chunks(s.file, s.payloadMessage())...) }
	}
	return []recipe{
		{name: "cut-before-payload", expect: truncated, comment: "the file ends with the envelope", spoil: keep(0)},
		{name: "cut-commitment", expect: truncated, comment: "the file ends inside the commitment", spoil: keep(headSize - 1)},
		{name: "cut-before-chunk-0", expect: truncated, comment: "the file ends after the commitment: even no plaintext is one chunk", spoil: keep(headSize), chunk: at(0)},
		{name: "cut-tag", expect: truncated, comment: "the final chunk is shorter than a tag", spoil: keep(headSize + tagSize - 1), chunk: at(0)},
		{name: "cut-final-chunk", expect: truncated, comment: "the final chunk is gone, and what is left ends with a full one", make: three, spoil: keep(headSize + 2*sealedChunkSize), chunk: at(2)},
		{name: "cut-empty-final-chunk", expect: truncated, comment: "the final chunk is gone, which held no plaintext", make: filled(chunkSize), spoil: keep(headSize + sealedChunkSize), chunk: at(1)},
		{name: "cut-tag-of-final-chunk", expect: truncated, comment: "15 bytes are left of the final chunk", make: three, spoil: keep(headSize + 2*sealedChunkSize + tagSize - 1), chunk: at(2)},
		{name: "cut-in-final-chunk", expect: damaged, comment: "the last byte is gone: what is left could be a chunk, and does not verify", make: three, spoil: func(s *sealed) { s.payload = s.payload[:len(s.payload)-1] }, chunk: at(2)},
		{name: "cut-in-chunk-1", expect: damaged, comment: "the file ends in the middle of chunk 1", make: three, spoil: keep(headSize + sealedChunkSize + 5000), chunk: at(1)},
		{name: "cut-chunk-0-front", expect: damaged, comment: "the first byte of chunk 0 is gone", make: three, spoil: func(s *sealed) { s.chunks(s.chunk(0)[1:], s.chunk(1), s.chunk(2)) }, chunk: at(0)},

		{name: "chunk-0-flipped", expect: damaged, comment: "one bit of the first chunk", make: three, spoil: func(s *sealed) { s.chunks(flip(s.chunk(0), 0), s.chunk(1), s.chunk(2)) }, chunk: at(0)},
		{name: "chunk-1-flipped", expect: damaged, comment: "one bit of a chunk in the middle; the one before it may be released", make: three, spoil: func(s *sealed) { s.chunks(s.chunk(0), flip(s.chunk(1), 9000), s.chunk(2)) }, chunk: at(1)},
		{name: "chunk-final-flipped", expect: damaged, comment: "one bit of the final chunk's tag", make: three, spoil: func(s *sealed) { s.payload = flip(s.payload, -1) }, chunk: at(2)},
		{name: "chunk-only-flipped", expect: damaged, comment: "one bit of the only chunk", spoil: func(s *sealed) { s.payload = flip(s.payload, -1) }, chunk: at(0)},
		{name: "chunks-swapped", expect: damaged, comment: "two chunks change places", make: three, spoil: func(s *sealed) { s.chunks(s.chunk(1), s.chunk(0), s.chunk(2)) }, chunk: at(0)},
		{name: "chunk-duplicated", expect: damaged, comment: "a chunk stands there twice", make: three, spoil: func(s *sealed) { s.chunks(s.chunk(0), s.chunk(0), s.chunk(1), s.chunk(2)) }, chunk: at(1)},
		{name: "chunk-missing", expect: damaged, comment: "a chunk in the middle is gone", make: three, spoil: func(s *sealed) { s.chunks(s.chunk(0), s.chunk(2)) }, chunk: at(1)},
		{name: "chunk-of-another-backup", expect: damaged, comment: "a chunk is another backup's, at the same place and under the same key", make: three, spoil: func(s *sealed) { s.chunks(s.chunk(0), another().chunk(1), s.chunk(2)) }, chunk: at(1)},
		{name: "payload-of-another-backup", expect: damaged, comment: "all chunks are another backup's, behind this one's head", make: three, spoil: func(s *sealed) {
			s.payload = slices.Concat(s.payload[:headSize], another().payload[headSize:])
		}, chunk: at(0)},
		{name: "chunk-numbers-from-one", expect: damaged, comment: "the chunks are sealed with numbers that begin with 1", spoil: resealed(func(f *file, m *message) [][]byte {
			return [][]byte{m.sealChunk(1, f.packed)}
		}), chunk: at(0)},
		{name: "chunk-final-full", expect: truncated, comment: "the message ends with a full chunk, properly sealed: no final chunk follows", make: filled(2 * chunkSize), spoil: resealed(func(f *file, m *message) [][]byte {
			return [][]byte{m.sealChunk(0, f.packed[:chunkSize]), m.sealChunk(1, f.packed[chunkSize:])}
		}), chunk: at(2)},

		{name: "trailing-byte", expect: trailing, comment: "one byte follows the final chunk", spoil: add("\x00")},
		{name: "trailing-line-feed", expect: trailing, comment: "a line feed follows, as an editor adds", spoil: add("\n")},
		{name: "trailing-after-empty-chunk", expect: trailing, comment: "one byte follows an empty final chunk", make: filled(chunkSize), spoil: add("x")},
		{name: "trailing-long", expect: trailing, comment: "more than another chunk's worth of zeros follows", spoil: add(strings.Repeat("\x00", sealedChunkSize))},
		{name: "trailing-backup", expect: trailing, comment: "the whole file follows once more", spoil: func(s *sealed) {
			s.payload = slices.Concat(s.payload, s.envelope, s.payload)
		}},
		{name: "trailing-chunk", expect: trailing, comment: "a short chunk ends the message; another, properly sealed, follows", spoil: resealed(func(f *file, m *message) [][]byte {
			return [][]byte{m.sealChunk(0, f.packed), m.sealChunk(1, []byte("DROP TABLE badge;\n"))}
		})},
	}
}

// badPacked are whole and authentic, and hold what does not unpack.
func badPacked() []recipe {
	const text = "CREATE TABLE badge (id int);\n"
	one := rawFrame(sized(len(text)), text)
	frames, gz := string(sample("pipe.zst")), string(sample("named.gz"))
	zstd := func(name, comment, packed string) recipe {
		return recipe{name: "zstd-" + name, expect: unpack, comment: comment, make: packs("zstd", packed, "")}
	}
	gzip := func(name, comment, packed string) recipe {
		return recipe{name: "gzip-" + name, expect: unpack, comment: comment, make: packs("gzip", packed, "")}
	}
	return []recipe{
		zstd("nothing", "no frame at all, where an empty input has one", ""),
		zstd("only-table", "a seek table and no frame", table()),
		zstd("window-9-MiB", "a window larger than 8 MiB", rawFrame(windowed(13, 1), text)),
		zstd("dictionary", "a frame that needs a dictionary", rawFrame("\x21\x07"+string(rune(len(text))), text)),
		zstd("checksum", "the content does not have the checksum of the frame", string(flip([]byte(frames), -1))),
		zstd("content-size", "the content is shorter than the frame says", rawFrame(sized(len(text)+1), text)),
		zstd("reserved-block", "a block of the reserved type", frameMagic+sized(len(text))+block(3, text)),
		zstd("cut", "the last frame breaks off", frames[:len(frames)-5]),
		zstd("cut-table", "the seek table breaks off", one+table(len(one), len(text))[:20]),
		zstd("garbage", "bytes follow the seek table", one+table(len(one), len(text))+"garbage"),
		zstd("plain", "the codec says zstd, and the content is not packed", text),
		zstd("gzip", "the codec says zstd, and the content is gzip", member(text)),
		gzip("nothing", "no member at all, where an empty input has one", ""),
		gzip("cut", "the member breaks off", gz[:len(gz)-9]),
		gzip("cut-trailer", "the member's length is cut", gz[:len(gz)-1]),
		gzip("checksum", "the content does not have the checksum of the member", string(flip([]byte(gz), -8))),
		gzip("length", "the content does not have the length of the member", string(flip([]byte(gz), -4))),
		gzip("garbage", "bytes follow the last member", member(text)+"garbage"),
		gzip("zeros", "zeros follow the last member", member(text)+strings.Repeat("\x00", 512)),
		gzip("plain", "the codec says gzip, and the content is not packed", text),
	}
}
