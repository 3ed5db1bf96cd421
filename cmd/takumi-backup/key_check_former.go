package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// missing says which keys backups need that cannot be had from the places of the
// ring: those of the backups that neither a current nor a former key there opens.
func (c *keyCheck) missing(ctx context.Context, ring *keystore.Ring, current []*kek.Key) []string {
	had := make(map[kek.ID]bool)
	for _, key := range current {
		had[key.ID()] = true
	}
	opens := func(b history.Backup) bool {
		return len(b.Keys) == 0 || slices.ContainsFunc(b.Keys, func(id kek.ID) bool { return had[id] })
	}
	why := make(map[kek.ID]string) // of every key that was looked for in vain
	for _, b := range c.backups {
		for _, id := range b.Keys {
			if opens(b) || why[id] != "" {
				continue
			}
			if had[id], why[id] = find(ctx, ring, id); had[id] {
				delete(why, id)
			}
		}
	}
	needs := make(map[kek.ID]int)
	var ids []kek.ID
	for _, b := range c.backups {
		if opens(b) {
			continue
		}
		for i, id := range b.Keys {
			if slices.Contains(b.Keys[:i], id) {
				continue
			}
			if needs[id]++; needs[id] == 1 {
				ids = append(ids, id)
			}
		}
	}
	var all []string
	for _, id := range ids {
		need := "1 backup needs"
		if n := needs[id]; n > 1 {
			need = fmt.Sprintf("%d backups need", n)
		}
		all = append(all, fmt.Sprintf("%s key %s, which cannot be had: %s", need, id, why[id]))
	}
	return all
}

// find looks for a key as opening a backup does, and says why it is not there.
func find(ctx context.Context, ring *keystore.Ring, id kek.ID) (bool, string) {
	keys, err := ring.Find(ctx, []kek.ID{id})
	if slices.ContainsFunc(keys, func(k *kek.Key) bool { return k.ID() == id }) {
		return true, ""
	}
	if err == nil {
		return false, "it is in none of the places that are named"
	}
	return false, strings.ReplaceAll(err.Error(), "\n", "; ") // one of them each
}
