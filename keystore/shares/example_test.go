package shares_test

import (
	"fmt"
	"log"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
)

func Example() {
	key := kek.Generate()
	blocks, err := shares.Split(key, 5, 3)
	if err != nil {
		log.Fatal(err)
	}
	proof, err := shares.Verify(blocks)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("proved", proof)

	// What three of the custodians bring, one page after the other.
	typed := append(append(blocks[4].Text(), blocks[0].Text()...), blocks[2].Text()...)
	read, err := paper.Parse(typed)
	if err != nil {
		log.Fatal(err)
	}
	restored, err := shares.Combine(read)
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Wipe()
	fmt.Println(restored.ID() == key.ID())
	// Output:
	// proved all 10
	// true
}
