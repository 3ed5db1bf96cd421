package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awskms"
	"github.com/takumi-backup/takumi-backup/keystore/vault"
)

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
func isHolder(uri string) bool { return isAge(uri) || isService(uri) }

func parseService(uri string) (service, error) {
	if rest, ok := strings.CutPrefix(uri, "transit:"); ok {
		k, err := vault.ParseTransit(rest, vault.Options{RequireTLS: conf.Production()})
		if err != nil {
			return service{}, err
		}
		return service{k.Recipient(), k}, nil
	}
	k, err := awskms.Parse(strings.TrimPrefix(uri, "awskms:"), awskms.Options{RequireTLS: conf.Production()})
	if err != nil {
		return service{}, err
	}
	return service{k.Recipient(), k.Identity().(holder)}, nil
}

// isServiceSlot reports whether holders of that type are keys of services. One whose
// name is not known is one of KMS that an alias names.
func isServiceSlot(h slot.Holder, known bool) bool {
	return !known || h.Type == awskms.SlotType || h.Type == vault.TransitSlot
}

// askService has the service wrap a data key, and unwrap it where r is to open too, and
// returns what its slots are called.
func askService(ctx context.Context, r slot.Recipient) (slot.Holder, error) {
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

// joinServices adds the keys of services that the key URIs name.
func (k *keyFlags) joinServices(ring *keystore.Ring, uris []string) error {
	for _, uri := range uris {
		if !isService(uri) {
			continue
		}
		s, err := parseService(uri)
		if err != nil {
			return usagef("--%s: %w", cmp.Or(k.flag, "key"), err)
		}
		ring.AddRecipients(s.both)
		ring.AddIdentities(s.both)
	}
	return nil
}
