package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// chain opens the backups that an increment needs for a restore. Their own checks read them
// to the end.
func (c *Checker) chain(ctx context.Context, b *Backup) {
	h, err := backup.OpenAt(ctx, c.Place, b.Path, backup.Options{Keys: c.Keys, Signers: c.Signers})
	if err == nil {
		defer h.Close()
		_, err = h.Members(ctx)
	}
	if err != nil && ctx.Err() == nil {
		_, hint := fail.Of(err)
		b.add(Finding{Severity: Error, Code: BrokenChain, Message: err.Error(), Advice: hint, cause: err})
	}
}

// lost are findings after which nothing more should be added to a chain.
var lost = []Code{Damaged, Truncated, NotSealed, Replaced, NotRestorable}

// chains marks the increments that need what is bad. whole has all backups.
func (j *Job) chains(r *Report, whole []peer) {
	type chain struct{ folder, id string }
	bad := make(map[chain]peer) // of each the first bad one
	for _, p := range whole {
		if p.link.Chain == "" || !p.broken {
			continue
		}
		c := chain{store.Dir(p.path), p.link.Chain}
		if first, known := bad[c]; !known || p.link.N < first.link.N {
			bad[c] = p
		}
	}
	for i := range r.Backups {
		b := &r.Backups[i]
		l, ok := backup.LinkOf(b.Name)
		if ok && j.Lost != nil && slices.ContainsFunc(lost, b.has) {
			j.Lost(l.Chain)
		}
		if first, is := bad[chain{store.Dir(b.Path), l.Chain}]; ok && is && first.link.N < l.N && !b.has(BrokenChain) {
			b.add(Finding{Severity: Error, Code: BrokenChain, Message: fmt.Sprintf("it needs %s, number %d of its chain, which is bad", store.Base(first.path), first.link.N),
				Advice: "bring that one from another copy of the store; takumi-backup backup uploads makes a full one now"})
		}
	}
}
