package named

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awskms"
	"github.com/takumi-backup/takumi-backup/keystore/vault"
)

// IsAge reports whether a key URI names a file of age's.
func IsAge(uri string) bool { return strings.HasPrefix(uri, "age:") }

// maxAgeFile bounds a file of recipients or identities in bytes.
const maxAgeFile = 1 << 20

// Join adds to a ring what the flags, key URIs and the environment name. Nothing
// is unlocked, and no plugin runs, before a backup wants it.
func (k *Keys) Join(ring *keystore.Ring) error {
	o := agekey.Options{Tell: k.Tell, Ask: k.Answer, Passphrase: k.Ask}
	for _, text := range k.Recipients {
		if err := k.joinRecipient(ring, text, o); err != nil {
			return fail.Usagef("--recipient: %w", err)
		}
	}
	files := k.RecipientFiles
	if path := k.Settings.Get("BACKUP_RECIPIENTS_FILE"); k.Seals && !k.holders() && len(k.URIs) == 0 && path != "" {
		files = []string{path}
	}
	if text := k.Settings.Get("BACKUP_RECIPIENTS"); k.Seals && !k.holders() && len(k.URIs) == 0 && text != "" {
		for _, one := range config.List(text) {
			if err := k.joinRecipient(ring, one, o); err != nil {
				return fail.Usagef("BACKUP_RECIPIENTS: %w", err)
			}
		}
	}
	for _, path := range files {
		text, err := os.ReadFile(path) // public
		if err == nil {
			err = joinRecipients(ring, text, o)
		}
		if err != nil {
			return fail.Usagef("%s: %w", path, err)
		}
	}
	for _, path := range k.IdentityFiles {
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
			return fail.Usagef("--%s: age: wants the path of a file of identities or recipients", cmp.Or(k.Flag, "key"))
		}
		if err := joinFile(ring, path, o, false); err != nil {
			return err
		}
	}
	return k.joinServices(ring, k.named())
}

// joinRecipient adds a recipient of age's, or a key of a service to seal for alone.
func (k *Keys) joinRecipient(ring *keystore.Ring, text string, o agekey.Options) error {
	if isService(text) {
		s, err := k.parseService(text)
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

type holder interface {
	slot.Recipient
	slot.Identity
}

// service is a key that a service keeps and uses, and gives to nobody.
type service struct {
	seals slot.Recipient // and no more than that
	both  holder
}

// isService reports whether a key URI, or a recipient, names a key of a service.
func isService(uri string) bool {
	return strings.HasPrefix(uri, "awskms:") || strings.HasPrefix(uri, "transit:")
}

// isHolder reports whether a key URI names a holder that is not a key at hand.
func isHolder(uri string) bool { return IsAge(uri) || isService(uri) }

func (k *Keys) parseService(uri string) (service, error) {
	if rest, ok := strings.CutPrefix(uri, "transit:"); ok {
		key, err := vault.ParseTransit(rest, vault.Options{RequireTLS: k.Settings.Production()})
		if err != nil {
			return service{}, err
		}
		return service{key.Recipient(), key}, nil
	}
	key, err := awskms.Parse(strings.TrimPrefix(uri, "awskms:"), awskms.Options{RequireTLS: k.Settings.Production()})
	if err != nil {
		return service{}, err
	}
	return service{key.Recipient(), key.Identity().(holder)}, nil
}

// Try has a recipient, as the key of a service, wrap a data key, and unwrap it where it opens too, and
// returns what its slots are called.
func Try(ctx context.Context, r slot.Recipient) (slot.Holder, error) {
	var id slot.ID
	dataKey := make([]byte, slot.DataKeySize)
	rand.Read(id[:])
	rand.Read(dataKey)
	s, err := r.Wrap(ctx, id, dataKey)
	if err != nil {
		return slot.Holder{}, err
	}
	if i, opens := r.(slot.Identity); opens {
		got, err := i.Unwrap(ctx, id, s)
		if err == nil && !bytes.Equal(got, dataKey) { // both were just made, and are thrown away
			err = errors.New("it gives another data key back than it was given")
		}
		if err != nil {
			return slot.Holder{}, err
		}
	}
	return s.Holder(), nil
}

func (k *Keys) joinServices(ring *keystore.Ring, uris []string) error {
	for _, uri := range uris {
		if !isService(uri) {
			continue
		}
		s, err := k.parseService(uri)
		if err != nil {
			return fail.Usagef("--%s: %w", cmp.Or(k.Flag, "key"), err)
		}
		ring.AddRecipients(s.both)
		ring.AddIdentities(s.both)
	}
	return nil
}
