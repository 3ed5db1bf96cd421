package awssm_test

import (
	"context"
	"fmt"
	"log"

	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

func ExampleScheme() {
	src, err := keystore.Parse("awssm:takumi/production/BACKUP_ENCRYPTION_KEY@AWSPREVIOUS", awssm.Scheme(awssm.Options{RequireTLS: true}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(src)

	ctx, cancel := context.WithCancel(context.Background())
	cancel() // here nothing is asked for
	_, err = src.Load(ctx)
	fmt.Println(err)
	// Output:
	// awssm:takumi/production/BACKUP_ENCRYPTION_KEY@AWSPREVIOUS
	// context canceled
}
