package stream_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream"
)

// TestDamage names, for each kind of damage, the error and how many whole
// chunks come out before it.
func TestDamage(t *testing.T) {
	message := random(3*chunk + 100)
	whole := seal(t, message)
	other := seal(t, message) // same key and context, another salt
	at := func(i int) int { return stream.HeaderSize + i*sealed }
	cut := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	flip := func(i int) []byte { b := bytes.Clone(whole); b[i] ^= 1; return b }
	chunkAt := func(i int64, last bool) error {
		return &stream.ChunkError{Index: i, Offset: int64(at(int(i))), Last: last}
	}
	for _, tc := range []struct {
		name     string
		damaged  []byte
		released int
		want     error
	}{
		{"salt flipped", flip(0), 0, stream.ErrCommitment},
		{"commitment flipped", flip(55), 0, stream.ErrCommitment},
		{"header of another message", cut(other[:at(0)], whole[at(0):]), 0, chunkAt(0, false)},
		{"header cut", whole[:55], 0, stream.ErrTruncated},
		{"all chunks cut", whole[:at(0)], 0, stream.ErrTruncated},
		{"first byte flipped", flip(at(0)), 0, chunkAt(0, false)},
		{"tag flipped", flip(at(2) - 1), 1, chunkAt(1, false)},
		{"final chunk flipped", flip(len(whole) - 1), 3, chunkAt(3, true)},
		{"cut after a full chunk", whole[:at(2)], 2, stream.ErrTruncated},
		{"cut inside a tag", whole[:at(2)+7], 2, stream.ErrTruncated},
		{"cut inside a chunk", whole[:at(2)+700], 2, chunkAt(2, true)},
		{"one byte off the end", whole[:len(whole)-1], 3, chunkAt(3, true)},
		{"swapped", cut(whole[:at(0)], whole[at(1):at(2)], whole[at(0):at(1)], whole[at(2):]), 0, chunkAt(0, false)},
		{"repeated", cut(whole[:at(1)], whole[at(0):]), 1, chunkAt(1, false)},
		{"left out", cut(whole[:at(1)], whole[at(2):]), 1, chunkAt(1, false)},
		{"spliced", cut(whole[:at(1)], other[at(1):]), 1, chunkAt(1, false)},
		{"final chunk moved up", cut(whole[:at(1)], whole[at(3):]), 1, chunkAt(1, true)},
		{"one byte more", cut(whole, []byte{0}), 3, &stream.TrailingError{Offset: int64(len(whole))}},
		{"a message more", cut(whole, other), 3, &stream.TrailingError{Offset: int64(len(whole))}},
	} {
		for name, open := range ways {
			got, err := open(testKey, testContext, tc.damaged)
			released := tc.released * chunk
			switch name {
			case "Open":
				released = 0
			case "ReaderAt": // looks at the final chunk first, so other errors may come first
				if err == nil || len(got) > released {
					t.Errorf("%s, %s: %d bytes, error %v", tc.name, name, len(got), err)
				}
				continue
			}
			if !sameError(err, tc.want) || len(got) != released || !bytes.Equal(got, message[:released]) {
				t.Errorf("%s, %s: %d bytes and %v; want %d and %v", tc.name, name, len(got), err, released, tc.want)
			}
		}
	}
}

func TestChunkErrorSaysWhetherItIsTheLast(t *testing.T) {
	for last, want := range map[bool]string{
		false: "chunk 3 (at byte 7) does not verify: it is damaged",
		true:  "chunk 3 (the last, at byte 7) does not verify: it is damaged or cut short",
	} {
		if got := (&stream.ChunkError{Index: 3, Offset: 7, Last: last}).Error(); got != want {
			t.Error(got)
		}
	}
}

func sameError(got, want error) bool {
	return got != nil && (errors.Is(got, want) || got.Error() == want.Error())
}

// FuzzReader checks that all ways of opening agree, and that nothing but the
// sealed message itself opens.
func FuzzReader(f *testing.F) {
	message := []byte("one short chunk")
	whole := seal(f, message)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(bytes.Clone(whole), 0))
	f.Add(seal(f, random(chunk)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := stream.NewReader(bytes.NewReader(data), testKey, testContext)
		var serial []byte
		if err == nil {
			serial, err = io.ReadAll(plain{r})
		}
		parallel, parallelErr := ways["WriteTo"](testKey, testContext, data)
		if !bytes.Equal(serial, parallel) || (err == nil) != (parallelErr == nil) || err != nil && err.Error() != parallelErr.Error() {
			t.Fatalf("Read gives %d bytes and %v, WriteTo %d and %v", len(serial), err, len(parallel), parallelErr)
		}
		at, atErr := ways["ReaderAt"](testKey, testContext, data)
		if (err == nil) != (atErr == nil) || err == nil && !bytes.Equal(at, serial) {
			t.Fatalf("ReaderAt gives %d bytes and %v", len(at), atErr)
		}
		// Whoever does not hold the key makes nothing that opens. The fuzzer
		// could only do it with a message that was sealed above.
		if err == nil && len(serial) != len(message) && len(serial) != chunk {
			t.Fatalf("a forged message of %d bytes opens", len(serial))
		}
	})
}
