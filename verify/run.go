package verify

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
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

	// Planned, if set, gets the amount to check, and Done, in order, each result. They run
	// on the goroutine of Run.
	Planned func(backups int, bytes int64)
	Done    func(b *Backup)
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
		Roots: j.Paths, Level: j.Level, Shard: j.Shard.String(), Checkpoint: j.Checkpoint,
	}
	backups, others, err := j.find(ctx)
	if err != nil {
		return nil, err
	}
	order := j.plan(backups)
	failed := j.check(ctx, backups, order)
	if failed == nil {
		failed = j.look(ctx, r, backups)
	}
	r.Backups = slices.DeleteFunc(backups, func(b Backup) bool { return b.Why == gone })
	whole := others // with those of this shard
	for i := range r.Backups {
		whole = append(whole, r.Backups[i].peer())
	}
	j.chains(r, whole)
	j.compare(r, whole)
	j.judgeKeys(r)
	slices.SortStableFunc(r.Backups, newestFirst)
	var forget func(string) bool
	if failed == nil {
		if forget = j.missing(r, whole); j.Memory != nil {
			j.survey(whole)
		}
	}
	j.save(forget)
	r.Finished, r.Interrupted = time.Now().UTC().Truncate(time.Second), failed != nil
	return r, failed
}

func newestFirst(a, b Backup) int {
	return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Path, b.Path))
}

// find makes a Backup, with claims and proofs, of each in the shard. Of the others it keeps
// what compare needs.
func (j *Job) find(ctx context.Context) (backups []Backup, others []peer, err error) {
	items, _, err := backup.Find(ctx, j.Place, j.Paths)
	if err == nil { // an increment is as good as what it needs
		items, err = backup.WithLinks(ctx, j.Place, items)
	}
	if err != nil {
		return nil, nil, err
	}
	c := NewChecker(j.Options)
	err = parallel.Each(ctx, max(4, workers()), len(items), func(ctx context.Context, i int) Backup {
		it := &items[i]
		b := Backup{Path: it.Path, Size: it.Size, etag: it.ETag}
		if it.Err != nil {
			b.add(fault(it.Err, it.Size))
			b.Why, b.unread = unseen, true
			return b
		}
		file := &hashed{Store: c.Place, path: b.Path}
		c.readClaims(ctx, &b, file)
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
		return b
	}, func(_ int, b Backup) {
		switch {
		case b.Why == gone:
		case j.Shard.Has(b.Path): // the id is another when it is re-encrypted meanwhile
			backups = append(backups, b)
		default:
			others = append(others, b.peer())
		}
	})
	return backups, others, err
}

// plan orders the backups to check: unproved ones, newest first, then those with the oldest
// proofs.
func (j *Job) plan(backups []Backup) (order []int) {
	selective := j.NewerOnly || j.RecheckAfter > 0 || j.Sample > 0
	var spared []int
	for i := range backups {
		b := &backups[i]
		if b.Why != "" {
			continue
		}
		proved := b.Proven >= j.reach(b)
		due := !proved || j.RecheckAfter > 0 && j.now.Sub(b.ProvenAt) >= j.RecheckAfter
		if selective && !due {
			spared = append(spared, i)
			b.Why = "it was proved already"
			continue
		}
		order = append(order, i)
	}
	for n := sampleSize(j.Sample, len(spared)); n > 0; n-- {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(spared))))
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		i, last := spared[k.Int64()], len(spared)-1
		spared[k.Int64()] = spared[last]
		spared = spared[:last]
		backups[i].Why = ""
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(x, y int) int {
		a, b := &backups[x], &backups[y]
		provedA, provedB := a.Proven >= j.reach(a), b.Proven >= j.reach(b)
		switch {
		case provedA && provedB:
			return a.ProvenAt.Compare(b.ProvenAt)
		case provedA:
			return 1
		case provedB:
			return -1
		}
		return newestFirst(*a, *b)
	})
	return order
}

func sampleSize(part float64, n int) int {
	size := int(part * float64(n))
	if float64(size) < part*float64(n) {
		size++
	}
	return min(size, n)
}

func (j *Job) check(ctx context.Context, backups []Backup, order []int) error {
	if j.Planned != nil {
		var total int64
		for _, i := range order {
			total += backups[i].Size
		}
		j.Planned(len(order), total)
	}
	c := NewChecker(j.Options)
	for _, i := range order {
		backups[i].Why = "the run was stopped" // until it was checked
	}
	saved := time.Now()
	var saving sync.Mutex // one that is slow holds up no other, nor what these have proved
	return parallel.Each(ctx, workers(), len(order), func(ctx context.Context, n int) Backup {
		if j.MaxDuration > 0 && time.Since(j.now) >= j.MaxDuration {
			b := backups[order[n]]
			b.Why = fmt.Sprintf("the run had taken %v", j.MaxDuration)
			return b
		}
		b := c.One(ctx, backups[order[n]].Path)
		if !b.Checked {
			why := b.Why
			b = backups[order[n]]
			b.Why = why
			return b
		}
		if j.Memory != nil {
			j.Memory.remember(&b, j.Program)
		}
		if saving.TryLock() {
			if time.Since(saved) > j.saveEvery {
				j.save(nil)
				saved = time.Now()
			}
			saving.Unlock()
		}
		return b
	}, func(n int, b Backup) {
		backups[order[n]] = b
		if j.Done != nil {
			j.Done(&b)
		}
	})
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

// look looks at the files next to the backups. An unreadable folder is a finding, unless a
// backup is that already.
func (j *Job) look(ctx context.Context, r *Report, backups []Backup) error {
	said := make(map[string]bool)
	for i := range backups {
		if backups[i].Why == unseen {
			said[anchored(backups[i].Path)] = true
		}
	}
	unread := func(path string, err error) {
		if !said[anchored(path)] {
			said[anchored(path)] = true
			f := fault(err, 0)
			f.Path = path
			r.Findings = append(r.Findings, f)
		}
	}
	for _, root := range j.Paths {
		_, isRoot, err := j.Place.Stat(ctx, root)
		if err != nil {
			unread(root, err)
		}
		if err != nil || !isRoot {
			continue
		}
		j.roots = append(j.roots, root)
		there := make(map[string]bool)
		var others []store.Backup
		for f, err := range j.Place.Walk(ctx, root, true) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				unread(backup.Unread(root, f, err))
				continue
			}
			if f.Named() {
				there[f.Path] = true
			} else {
				others = append(others, f)
			}
		}
		for i := range others {
			f, found := j.strayFinding(&others[i], there)
			if path := anchored(f.Path); found && j.Shard.Has(f.Path) && !said[path] {
				said[path] = true // another path may lead here too
				r.Findings = append(r.Findings, f)
			}
		}
	}
	return nil
}
