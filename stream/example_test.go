package stream_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/takumi-backup/takumi-backup/stream"
)

func Example() {
	key := make([]byte, stream.KeySize)
	rand.Read(key)
	context := []byte("example.org nightly export, version 1")

	var sealed bytes.Buffer
	w, err := stream.NewWriter(&sealed, key, context)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(w, strings.NewReader("all of it")); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil { // without this the stream is refused as truncated
		log.Fatal(err)
	}

	r, err := stream.NewReader(&sealed, key, context)
	if err != nil {
		log.Fatal(err)
	}
	var plain strings.Builder
	if _, err := io.Copy(&plain, r); err != nil { // only without an error is it all of it
		log.Fatal(err)
	}
	fmt.Println(plain.String())
	// Output: all of it
}

func ExampleReaderAt() {
	key := make([]byte, stream.KeySize)
	rand.Read(key)
	sealed, err := stream.Seal(key, nil, []byte("a long message, and a word in its middle"))
	if err != nil {
		log.Fatal(err)
	}
	r, err := stream.NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), key, nil)
	if err != nil {
		log.Fatal(err)
	}
	word := make([]byte, 4)
	if _, err := r.ReadAt(word, 22); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, of %d bytes\n", word, r.Size())
	// Output: word, of 40 bytes
}
