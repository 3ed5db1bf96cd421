package main

import (
	"cmp"
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
		k, err := vault.ParseTransit(rest, vault.Options{RequireTLS: inProduction()})
		if err != nil {
			return service{}, err
		}
		return service{k.Recipient(), k}, nil
	}
	k, err := awskms.Parse(strings.TrimPrefix(uri, "awskms:"), awskms.Options{RequireTLS: inProduction()})
	if err != nil {
		return service{}, err
	}
	return service{k.Recipient(), k.Identity().(holder)}, nil
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
