//go:build !cgo

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "age-plugin-pkcs11: this one was built without cgo, and PKCS#11 wants C: build it with CGO_ENABLED=1 and a C compiler")
	os.Exit(1)
}
