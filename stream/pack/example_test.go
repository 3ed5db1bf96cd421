package pack_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/takumi-backup/takumi-backup/stream/pack"
)

func Example() {
	var packed bytes.Buffer // would be a stream.Writer
	w, err := pack.NewWriter(&packed, pack.Options{Codec: pack.Zstd})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(w, strings.NewReader(strings.Repeat("the same again\n", 10_000))); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(packed.Len() < 1000)

	r, err := pack.NewReader(&packed, pack.Zstd)
	if err != nil {
		log.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	fmt.Println(n, err)
	// Output:
	// true
	// 150000 <nil>
}
