package paper_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

func Example() {
	key := kek.Generate()
	text := paper.NewKey(key).Text() // to be printed and locked away

	// Years later somebody types it, with a mistake in the last line.
	text[len(text)-2] ^= 1
	_, err := paper.Parse(text)
	fmt.Println(err != nil)

	text[len(text)-2] ^= 1
	blocks, err := paper.Parse(bytes.ToLower(text))
	if err != nil {
		log.Fatal(err)
	}
	restored, err := blocks[0].Secret()
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Wipe()
	fmt.Println(restored.ID() == key.ID())
	// Output:
	// true
	// true
}
