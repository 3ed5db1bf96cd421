package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// chain opens the backups that an increment needs for a restore. Their own checks read them
// to the end.
func (c *Checker) chain(ctx context.Context, b *Backup) {
	h, err := backup.OpenAt(ctx, c.Place, b.Path, backup.Options{Keys: c.Keys, Signers: c.Signers})
	if err == nil {
		defer h.Close()
		var whole *members.Archive
		if whole, err = h.Members(ctx); err == nil && c.Level >= Content {
			err = whole.CheckLinks()
		}
	}
	if err != nil && ctx.Err() == nil {
		_, hint := fail.Of(err)
		b.add(Finding{Severity: Error, Code: BrokenChain, Message: err.Error(), Advice: hint, cause: err})
	}
}

// lost are findings after which nothing more should be added to a chain.
var lost = []Code{Damaged, Truncated, NotSealed, Replaced, NotRestorable}

// chains marks the increments that need what is bad.
func (j *Job) chains(r *Report) {
	type chain struct{ folder, id string }
	type first struct {
		name string
		n    int
	}
	l := r.Backups
	bad := make(map[chain]first)
	for _, i := range l.whole() {
		if n := l.row(int(i)); n.link < 0 || !n.bad {
			continue
		}
		b := l.at(int(i))
		link, _ := backup.LinkOf(b.Name)
		c := chain{store.Dir(b.Path), link.Chain}
		if was, known := bad[c]; !known || link.N < was.n {
			bad[c] = first{store.Base(b.Path), link.N}
		}
		if j.Lost != nil && slices.ContainsFunc(lost, b.has) {
			j.Lost(link.Chain)
		}
	}
	for _, i := range l.order {
		if len(bad) == 0 || l.row(int(i)).link < 0 {
			continue
		}
		b := l.at(int(i))
		link, _ := backup.LinkOf(b.Name)
		if first, is := bad[chain{store.Dir(b.Path), link.Chain}]; is && first.n < link.N && !b.has(BrokenChain) {
			l.find(int(i), Finding{Severity: Error, Code: BrokenChain, Message: fmt.Sprintf("it needs %s, number %d of its chain, which is bad", first.name, first.n),
				Advice: "bring that one from another copy of the store; takumi-backup backup uploads makes a full one now"})
		}
	}
}
