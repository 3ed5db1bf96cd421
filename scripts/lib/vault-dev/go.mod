module github.com/takumi-backup/takumi-backup/scripts/lib/vault-dev

go 1.23.0

require github.com/hashicorp/vault v1.19.5

// Vault names its own parts by their place in its repository, and two modules
// by versions that are not to be had any more.
replace (
	github.com/99designs/keyring => github.com/Jeffail/keyring v1.2.3
	github.com/hashicorp/vault/api => github.com/hashicorp/vault/api v1.20.0
	github.com/hashicorp/vault/sdk => github.com/hashicorp/vault/sdk v0.17.0
	github.com/ma314smith/signedxml v1.1.1 => github.com/moov-io/signedxml v1.1.1
)
