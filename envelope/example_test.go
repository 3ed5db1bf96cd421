package envelope_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

func Example() {
	ctx := context.Background()
	atHome, inTheSafe := kek.Generate(), kek.Generate()

	var file bytes.Buffer
	w, err := envelope.NewWriter(ctx, &file, envelope.Label{
		Created: time.Now(), Kind: "stream", Name: "notes.txt", Codec: "none",
	}, atHome, inTheSafe)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(w, strings.NewReader("what was noted")); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	sealed := file.Bytes()

	r, err := envelope.Open(ctx, bytes.NewReader(sealed), envelope.Options{}, inTheSafe)
	if err != nil {
		log.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	fmt.Printf("%s: %s, %v\n", r.Envelope.Name, plain, err)

	_, err = envelope.Open(ctx, bytes.NewReader(sealed), envelope.Options{}, kek.Generate())
	fmt.Println(errors.As(err, new(*envelope.WrongKeyError)))
	// Output:
	// notes.txt: what was noted, <nil>
	// true
}
