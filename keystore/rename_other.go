//go:build !linux

package keystore

func renameNew(temp, path string) error { return linkNew(temp, path) }
