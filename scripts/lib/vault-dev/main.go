// Vault is HashiCorp's own server, built from its published module, for the
// tests of keystore/vault. scripts/vault-dev builds it.
//
// It is a module of its own, so that the program's module knows nothing of a
// server's dependencies.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
