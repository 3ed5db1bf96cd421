package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// ageFlags are holders of another kind than keys: age recipients, to seal for, and
// age identities, to open with.
type ageFlags struct {
	seals          bool // $BACKUP_RECIPIENTS_FILE counts
	recipients     []string
	recipientFiles []string
	identityFiles  []string
}

func (a *ageFlags) addRecipients(cmd *cobra.Command) {
	a.seals = true
	cmd.Flags().StringArrayVarP(&a.recipients, "recipient", "r", nil, "seal for this recipient: age1…, age1pq1…, ssh-ed25519 …, awskms:KEY, transit:MOUNT/KEY; may be repeated")
	cmd.Flags().StringArrayVarP(&a.recipientFiles, "recipients-file", "R", nil, "seal for the age recipients in this file; may be repeated (default $BACKUP_RECIPIENTS_FILE)")
}

func (a *ageFlags) addIdentities(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&a.identityFiles, "identity", "i", nil, "open with the age identities in this file; may be repeated")
}

// named reports whether a flag names any: then the environment's keys do not count.
func (a *ageFlags) named() bool {
	return len(a.recipients)+len(a.recipientFiles)+len(a.identityFiles) > 0
}

// isAge reports whether a key URI names a file of age's.
func isAge(uri string) bool { return strings.HasPrefix(uri, "age:") }

// maxAgeFile bounds a file of recipients or identities in bytes.
const maxAgeFile = 1 << 20

// joinAge adds to a ring what the flags, key URIs and the environment name. Nothing
// is unlocked, and no plugin runs, before a backup wants it.
func (k *keyFlags) joinAge(ring *keystore.Ring) error {
	o := agekey.Options{
		Tell:       func(message string) { fmt.Fprintln(os.Stderr, "takumi-backup:", message) },
		Ask:        terminal.Ask,
		Passphrase: k.asks().ask,
	}
	for _, text := range k.age.recipients {
		if err := joinRecipient(ring, text, o); err != nil {
			return usagef("--recipient: %w", err)
		}
	}
	files := k.age.recipientFiles
	if path := conf.Get("BACKUP_RECIPIENTS_FILE"); k.age.seals && !k.age.named() && len(k.uris) == 0 && path != "" {
		files = []string{path}
	}
	if text := conf.Get("BACKUP_RECIPIENTS"); k.age.seals && !k.age.named() && len(k.uris) == 0 && text != "" {
		for _, one := range config.List(text) {
			if err := joinRecipient(ring, one, o); err != nil {
				return usagef("BACKUP_RECIPIENTS: %w", err)
			}
		}
	}
	for _, path := range files {
		text, err := os.ReadFile(path) // public
		if err == nil {
			err = joinRecipients(ring, text, o)
		}
		if err != nil {
			return usagef("%s: %w", path, err)
		}
	}
	for _, path := range k.age.identityFiles {
		if err := joinFile(ring, path, o, true); err != nil {
			return err
		}
	}
	for _, uri := range k.named() {
		path, ok := strings.CutPrefix(uri, "age:")
		if !ok {
			continue
		}
		if path == "" {
			return usagef("--%s: age: wants the path of a file of identities or recipients", cmp.Or(k.flag, "key"))
		}
		if err := joinFile(ring, path, o, false); err != nil {
			return err
		}
	}
	return k.joinServices(ring, k.named())
}

// joinRecipient adds a recipient of age's, or a key of a service to seal for alone.
func joinRecipient(ring *keystore.Ring, text string, o agekey.Options) error {
	if isService(text) {
		s, err := parseService(text)
		if err == nil {
			ring.AddRecipients(s.seals)
		}
		return err
	}
	r, err := agekey.ParseRecipient(text, o)
	if err == nil {
		ring.AddRecipients(r)
	}
	return err
}

func joinRecipients(ring *keystore.Ring, text []byte, o agekey.Options) error {
	all, err := agekey.ParseRecipients(bytes.NewReader(text), o)
	for _, r := range all {
		ring.AddRecipients(r)
	}
	return err
}

// joinFile adds the identities in a file, which has to be as private as a key, and
// whom to seal for so that they open. Of the URIs a file may have recipients instead.
func joinFile(ring *keystore.Ring, path string, o agekey.Options, onlyIdentities bool) error {
	if !onlyIdentities {
		if text, err := os.ReadFile(path); err == nil && joinRecipients(ring, text, o) == nil {
			return nil
		}
	}
	text, err := (keystore.File{Path: path}).ReadSecret(context.Background(), maxAgeFile)
	defer clear(text)
	if err != nil {
		return fmt.Errorf("loading the identities: %w", err)
	}
	all, err := agekey.ParseIdentities(bytes.NewReader(text), path, o)
	if err != nil {
		return fmt.Errorf("loading the identities of %s: %w", path, &keystore.Error{
			URI: "age:" + path, Kind: keystore.ErrRefused, Reason: errors.Unwrap(err).Error(), Fix: "give a file that age-keygen, ssh-keygen or an age plugin made",
		})
	}
	ring.AddPlace(keystore.File{Path: path})
	for _, i := range all {
		named := i.Named()
		ring.AddIdentities(named)
		if r, ok := named.(slot.Recipient); ok {
			ring.AddRecipients(r)
		}
	}
	return nil
}
