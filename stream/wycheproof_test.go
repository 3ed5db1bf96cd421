package stream_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/takumi-backup/takumi-backup/stream"
)

type vector struct {
	ID        int      `json:"tcId"`
	Comment   string   `json:"comment"`
	Key       hexBytes `json:"key"`
	Context   hexBytes `json:"ctx"`
	Sealed    hexBytes `json:"ct"` // zlib-compressed
	MsgLength *int     `json:"msgLength"`
	MsgSHA512 hexBytes `json:"msgSha512"`
	Result    string   `json:"result"`
	Flags     []string `json:"flags"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// TestWycheproof holds every way of opening against the published vectors,
// with the rule for invalid ones: exactly the valid prefix is released, and
// then the error stays.
func TestWycheproof(t *testing.T) {
	text, err := wycheproof.TestVectors.Open("c2sp_chunked_encryption_aes_256_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	var file struct {
		NumberOfTests int
		TestGroups    []struct{ Tests []vector }
	}
	if err := json.NewDecoder(text).Decode(&file); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, group := range file.TestGroups {
		for _, v := range group.Tests {
			ran++
			t.Run(v.Comment, v.test)
		}
	}
	if ran != 35 || ran != file.NumberOfTests {
		t.Errorf("%d vectors ran, the file has %d, 35 were expected", ran, file.NumberOfTests)
	}
}

func (v *vector) test(t *testing.T) {
	z, err := zlib.NewReader(bytes.NewReader(v.Sealed))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range ways {
		got, err := open(v.Key, v.Context, sealed)
		if (err == nil) != (v.Result == "valid") {
			t.Errorf("%s: error %v for a vector that is %s", name, err, v.Result)
		}
		switch {
		case err != nil && (name == "Open" || name == "ReaderAt" && !slices.Contains(v.Flags, "ValidFinalChunk")):
			// Neither releases a part of what it cannot release as a whole.
			if len(got) != 0 {
				t.Errorf("%s: released %d bytes", name, len(got))
			}
		case v.MsgLength == nil:
			if len(got) != 0 {
				t.Errorf("%s: released %d bytes, but no prefix is valid", name, len(got))
			}
		default:
			sum := sha512.Sum512(got)
			if len(got) != *v.MsgLength || !bytes.Equal(sum[:], v.MsgSHA512) {
				t.Errorf("%s: released %d bytes, the valid prefix has %d", name, len(got), *v.MsgLength)
			}
		}
	}
	if slices.Contains(v.Flags, "HeaderFailure") {
		if _, err := stream.NewReader(bytes.NewReader(sealed), v.Key, v.Context); err == nil {
			t.Error("the header alone must be refused")
		}
	}
	if v.Result == "valid" {
		v.sealAgain(t, sealed)
	}
}

// sealAgain checks that a Writer and a Reader agree on the vector's message.
func (v *vector) sealAgain(t *testing.T, sealed []byte) {
	message, err := stream.Open(v.Key, v.Context, sealed)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := stream.NewWriter(&out, v.Key, v.Context)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReadFrom(bytes.NewReader(message)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, open := range ways {
		if len(message) > run && name != "WriteTo" {
			continue // every way has opened the vector itself
		}
		if got, err := open(v.Key, v.Context, out.Bytes()); err != nil || !bytes.Equal(got, message) {
			t.Errorf("sealed again, %s: %d bytes, error %v", name, len(got), err)
		}
	}
}
