package verify

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Job verifies the backups at some paths. Options and Paths must be set; the zero value of
// the rest checks everything.
type Job struct {
	Options
	Paths   []string
	Program string // its version, for the report
	Shard   backup.Shard
	Memory  *Memory // nil: nothing is known, and nothing is remembered

	// Which backups are checked; without any of the three, all. NewerOnly leaves out those
	// proved up to Level, RecheckAfter those proved since that long, and Sample is the
	// random part, from 0 to 1, of these that is still checked.
	NewerOnly    bool
	RecheckAfter time.Duration
	Sample       float64
	// MaxDuration is when no further check begins.
	MaxDuration time.Duration

	// MaxAge is the limit for the newest backup of a series, by kind; "" is for all other
	// kinds.
	MaxAge    map[string]time.Duration
	Retention time.Duration // 0: no backup is too old to be kept
	KnownKeys []Key         // for the report
	// Checkpoint is put into the report.
	Checkpoint json.RawMessage

	// Planned, if set, gets the amount to check. It runs on the goroutine of Run.
	Planned func(backups int, bytes int64)
	// Lost, if set, gets the chain, as in file names, of each damaged backup.
	Lost func(chain string)
	// Saved gets errors of saving the memory, on any goroutine, one at a time.
	Saved func(err error)

	roots     []string // the paths that are folders
	now       time.Time
	saveEvery time.Duration // how much work a kill may make forgotten; a field for the tests
}

const unseen = "it cannot be looked at"

// Run verifies. It returns a report even when ctx ends early; the error is then the
// context's cause. Any other error means that nothing could be looked at. One unreadable
// file among several is a finding.
func (j *Job) Run(ctx context.Context) (*Report, error) {
	j.now, j.saveEvery = time.Now(), cmp.Or(j.saveEvery, time.Minute)
	r := &Report{
		Schema: Schema, Program: j.Program, Host: audit.Host(), Started: j.now.UTC().Truncate(time.Second),
		Roots: slices.Clone(j.Paths), Level: j.Level, Shard: j.Shard.String(), Checkpoint: j.Checkpoint,
	}
	if err := j.look(ctx, r); err != nil {
		return nil, err
	}
	l := new(List)
	if err := j.find(ctx, l); err != nil {
		return nil, err
	}
	failed := cmp.Or(j.check(ctx, l, j.plan(l)), context.Cause(ctx))
	if failed != nil {
		j.save(nil) // what follows takes time, which a stop may not give
	}
	l.sort()
	r.Backups = l
	j.notTwice(r)
	j.chains(r)
	j.compare(r)
	j.judgeKeys(r)
	var forget func(string) bool
	if failed == nil {
		if forget = j.missing(r); j.Memory != nil {
			j.survey(l)
		}
	}
	j.save(forget)
	r.Finished, r.Interrupted = time.Now().UTC().Truncate(time.Second), failed != nil
	return r, failed
}

// find puts a Backup, with claims and proofs, of each into the list.
func (j *Job) find(ctx context.Context, l *List) error {
	c := NewChecker(j.Options)
	claim := func(b *Backup) {
		if b.Why != "" || ctx.Err() != nil || j.alone() && b.Path == j.Paths[0] {
			return
		}
		file := &hashed{Store: c.Place, path: b.Path}
		c.readClaims(ctx, b, file)
		file.end()
		b.unread = b.has(Unreadable)
		if len(b.Findings) > 0 && errors.Is(b.Findings[0].cause, fs.ErrNotExist) {
			b.Why = gone
		}
		b.Findings = nil // checking tells
		if j.Memory != nil {
			if p, ok := j.Memory.Proved(b.Path, b.ID, b.Size, b.etag); ok {
				b.Proven, b.ProvenAt, b.SHA256 = p.Level, p.At, p.SHA256
			}
		}
	}
	next, stop := iter.Pull2(j.items(ctx))
	defer stop()
	return parallel.Run(max(4, workers()), make([]Backup, 4*max(4, workers())), parallel.Stages[Backup]{
		Fill: func(b *Backup) (bool, error) {
			it, err, ok := next()
			if !ok {
				err = io.EOF
			}
			*b = Backup{Path: it.Path, Size: it.Size, etag: it.ETag}
			if it.Err != nil {
				b.Path = redact.Path(it.Path, it.Err)
				b.add(fault(it.Err, it.Size))
				b.Why, b.unread = unseen, true
			}
			return err == nil, err
		},
		Work: claim,
		Drain: func(b *Backup) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if b.Why != gone {
				l.add(b, !j.Shard.Has(b.Path)) // the id is another when it is re-encrypted meanwhile
			}
			return nil
		},
	})
}

// alone reports whether a single file is asked for, and is checked whatever it claims.
func (j *Job) alone() bool {
	return len(j.Paths) == 1 && len(j.roots) == 0 && !j.selective() && j.MaxDuration == 0 && j.Shard.Count < 2
}

func (j *Job) selective() bool { return j.NewerOnly || j.RecheckAfter > 0 || j.Sample > 0 }

// items yields the backups at the paths, and what increments among them need that were
// given as files: an increment is as good as that. A folder has it.
func (j *Job) items(ctx context.Context) iter.Seq2[backup.Backup, error] {
	return func(yield func(backup.Backup, error) bool) {
		var roots []string
		rooted := func(path string) bool {
			return slices.ContainsFunc(roots, func(root string) bool { return under(path, root) })
		}
		var increments []backup.Backup
		for b, err := range backup.All(ctx, j.Place, j.Paths, func(root string) { roots = append(roots, root) }) {
			if _, linked := backup.LinkOf(store.Base(b.Path)); linked && err == nil && !rooted(b.Path) {
				increments = append(increments, b)
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
		all, err := backup.WithLinks(ctx, j.Place, increments)
		if err != nil {
			yield(backup.Backup{}, err)
			return
		}
		for _, b := range all[len(increments):] {
			if !rooted(b.Path) && !yield(b, nil) {
				return
			}
		}
	}
}

// plan orders the backups to check: unproved ones, newest first, then those with the oldest
// proofs.
func (j *Job) plan(l *List) []uint32 {
	type due struct {
		i      uint32
		proved bool
		at     int64 // seconds: when it was proved, or made
	}
	var all, spared []due
	for i := range l.held() {
		if l.row(i).other || l.why(i) != "" {
			continue
		}
		b := l.at(i)
		d := due{uint32(i), b.Proven >= j.reach(&b), b.Created.Unix()}
		if d.proved {
			d.at = b.ProvenAt.Unix()
		}
		if j.selective() && d.proved && (j.RecheckAfter == 0 || j.now.Sub(b.ProvenAt) < j.RecheckAfter) {
			spared = append(spared, d)
		} else {
			all = append(all, d)
		}
	}
	for n := sampleSize(j.Sample, len(spared)); n > 0; n-- {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(spared))))
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		last := len(spared) - 1
		all = append(all, spared[k.Int64()])
		spared[k.Int64()] = spared[last]
		spared = spared[:last]
	}
	for _, d := range spared {
		l.setWhy(l.row(int(d.i)), "it was proved already")
	}
	slices.SortFunc(all, func(a, b due) int {
		switch {
		case a.proved != b.proved && b.proved:
			return -1
		case a.proved != b.proved:
			return 1
		case a.proved:
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.i, b.i))
		}
		return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.i, b.i))
	})
	order := make([]uint32, len(all))
	for n, d := range all {
		order[n] = d.i
	}
	return order
}

func sampleSize(part float64, n int) int {
	size := int(part * float64(n))
	if float64(size) < part*float64(n) {
		size++
	}
	return min(size, n)
}

func (j *Job) check(ctx context.Context, l *List, order []uint32) error {
	if j.Planned != nil {
		var total int64
		for _, i := range order {
			total += l.row(int(i)).size
		}
		j.Planned(len(order), total)
	}
	c := NewChecker(j.Options)
	for _, i := range order {
		l.setWhy(l.row(int(i)), "the run was stopped") // until it was checked
	}
	saved := time.Now()
	var saving sync.Mutex // one that is slow holds up no other, nor what these have proved
	look := func(ctx context.Context, was Backup) Backup {
		if j.MaxDuration > 0 && time.Since(j.now) >= j.MaxDuration {
			was.Why = fmt.Sprintf("the run had taken %v", j.MaxDuration)
			return was
		}
		b := c.One(ctx, was.Path)
		if !b.Checked {
			was.Why = b.Why
			return was
		}
		if j.Memory == nil {
			return b
		}
		b.etag = was.etag // of an object that was replaced since, which is then checked again
		j.Memory.remember(&b, j.Program)
		if saving.TryLock() {
			if time.Since(saved) > j.saveEvery || j.Memory.full() {
				j.save(nil)
				saved = time.Now()
			}
			saving.Unlock()
		}
		return b
	}
	// Results need no order, in which those behind a slow one would have to wait in memory.
	return parallel.Each(ctx, workers(), len(order), func(ctx context.Context, n int) struct{} {
		b := look(ctx, l.at(int(order[n])))
		l.put(int(order[n]), &b)
		return struct{}{}
	}, func(int, struct{}) {})
}

// save saves the memory, without what forget tells of.
func (j *Job) save(forget func(path string) bool) {
	if j.Memory == nil {
		return
	}
	if err := j.Memory.Save(forget); err != nil && j.Saved != nil {
		j.Saved(err)
	}
}

// look looks at the files next to the backups, and finds which paths are folders.
func (j *Job) look(ctx context.Context, r *Report) error {
	said := make(map[string]bool)
	say := func(f Finding) {
		if path := anchored(f.Path); !said[path] { // another path may lead here too
			said[path] = true
			r.Findings = append(r.Findings, f)
		}
	}
	unread := func(path string, err error) {
		f := fault(err, 0)
		f.Path = path
		say(f)
	}
	for i, root := range j.Paths {
		_, isRoot, err := j.Place.Stat(ctx, root)
		if err != nil {
			r.Roots[i] = redact.Path(root, err)
			unread(r.Roots[i], err)
		}
		if err != nil || !isRoot {
			continue
		}
		j.roots = append(j.roots, root)
		last := ""
		there := func(path string) bool { // its companions are behind it
			if path == last {
				return true
			}
			_, _, err := j.Place.Stat(ctx, path)
			return !errors.Is(err, fs.ErrNotExist)
		}
		for f, err := range j.Place.Walk(ctx, root, true) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				unread(backup.Unread(root, f, err))
			} else if f.Named() {
				last = f.Path
			} else if f, found := j.strayFinding(&f, there); found && j.Shard.Has(f.Path) {
				say(f)
			}
		}
	}
	return nil
}

// notTwice takes out what is said of a backup as well: that it, or its folder, cannot be
// looked at.
func (j *Job) notTwice(r *Report) {
	unread := make(map[string]bool)
	for _, b := range r.Backups.Found() {
		if b.Why == unseen {
			unread[anchored(b.Path)] = true
		}
	}
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return unread[anchored(f.Path)] })
}
