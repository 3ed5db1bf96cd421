// A module of its own: PKCS#11 wants C, and nothing else here does.
module github.com/takumi-backup/takumi-backup/cmd/age-plugin-pkcs11

go 1.26.4

require (
	filippo.io/age v1.3.2
	github.com/miekg/pkcs11 v1.1.2
	golang.org/x/term v0.48.0
)

require (
	filippo.io/hpke v0.4.0 // indirect
	filippo.io/nistec v0.0.4 // indirect
	golang.org/x/crypto v0.55.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
)
