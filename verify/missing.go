package verify

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// missing reports, with MaxAge, the kinds and series without any backup, which would
// otherwise go unnoticed. It returns what to forget: missing backups, except the newest of
// an empty series, which is reported until accepted. When something could not be looked at,
// or there is no backup at all, a disk is probably not mounted.
func (j *Job) missing(r *Report) (forget func(path string) bool) {
	l := r.Backups
	whole := l.whole()
	unread := slices.ContainsFunc(whole, func(i uint32) bool { return l.row(int(i)).unread })
	if len(whole) == 0 || len(j.roots) == 0 || unread {
		return nil
	}
	// A hash of each path: by chance one in 10^13 that is gone is not forgotten.
	seed, hashes := maphash.MakeSeed(), make([]uint64, 0, len(whole))
	series := make(map[prune.Series]bool)
	kinds := make(map[string]bool)
	for _, i := range whole {
		path, s := anchored(l.at(int(i)).Path), l.names[l.row(int(i)).series]
		hashes = append(hashes, maphash.String(seed, path))
		series[prune.Series{Folder: store.Dir(path), Kind: s.Kind, Name: s.Name}] = true
		kinds[s.Kind] = true
	}
	slices.Sort(hashes)
	there := func(path string) bool {
		_, found := slices.BinarySearch(hashes, maphash.String(seed, path))
		return found
	}
	tooOld := func(path, message, advice string) {
		if j.Shard.Has(cmp.Or(path, "kinds")) {
			r.Findings = append(r.Findings, Finding{Severity: Error, Code: TooOld, Path: path, Message: message, Advice: advice})
		}
	}
	last := make(map[prune.Series]string) // the newest that is remembered of one that is gone
	proofs := make(map[string]Proof)
	if j.Memory != nil {
		err := j.Memory.each(func(path string, e entry) {
			if e.Proof == nil || !j.rooted(path) || there(path) {
				return
			}
			s := prune.Series{Folder: store.Dir(path), Kind: backup.Family(e.Proof.Kind), Name: e.Proof.Series}
			was, known := last[s]
			if newer := !known || e.Proof.Created.After(proofs[was].Created); newer && !series[s] {
				delete(proofs, was)
				last[s], proofs[path] = path, *e.Proof
			}
		})
		if err != nil {
			return nil // and nothing is forgotten
		}
	}
	kept := make(map[string]bool)
	for _, path := range slices.Sorted(maps.Values(last)) {
		p := proofs[path]
		kept[path] = true
		kinds[backup.Family(p.Kind)] = true
		if most := j.mostAge(p.Kind); most > 0 {
			tooOld(path, fmt.Sprintf("no %s backup %s is left: this was the newest, of %s, and one may be %s old",
				p.Kind, printable(p.Series), p.Created.Format(time.DateOnly), prune.Span(most)),
				"find out where it went, and why no new one is made; if it is intended: takumi-backup verify --accept "+printable(path))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(j.MaxAge)) {
		if most := j.mostAge(kind); kind != "" && most > 0 && !kinds[kind] {
			tooOld("", fmt.Sprintf("there is no %s backup at all, and the newest may be %s old", kind, prune.Span(most)),
				"find out where they went, and why no new one is made; or leave out this --max-age")
		}
	}
	return func(path string) bool { return !there(path) && !kept[path] && j.rooted(path) }
}

// rooted reports whether an anchored path is in a folder that was looked at as a whole.
func (j *Job) rooted(path string) bool {
	return slices.ContainsFunc(j.roots, func(root string) bool { return under(path, anchored(root)) })
}
