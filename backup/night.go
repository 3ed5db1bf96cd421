package backup

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/chain"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

// Incremental is how the changes of a folder are backed up.
type Incremental struct {
	StateDir  string        // where the state is kept
	FullEvery time.Duration // how often all of it is backed up
	// Full, if set, gets the reason for a full archive instead of an increment.
	Full func(why string)
}

const (
	// one archive in wholeEvery has an index of the whole tree
	wholeEvery = 16
	// slack is how early a night may start: its timer has jitter.
	slack = time.Hour
)

// settled is how old a change has to be for the next one to show: two within a tick of the
// file system's clock have the same times. A variable for tests.
var settled = 2 * time.Second

// night makes one archive of a chain. mu guards what two goroutines use.
type night struct {
	of    Incremental
	store *chain.Store
	last  *chain.Last // nil for a full one
	next  *chain.Next
	head  chain.Header
	chain members.Chain
	began time.Time

	builder *members.Builder // is called by whoever reads the source

	mu      sync.Mutex
	held    *members.Entry // the next of last
	matched []match
	went    []*members.Entry
	err     error

	// What can't be read stays as it was.
	unlisted []string        // folders, each below the one before, around the last path
	kept     map[string]bool // files that stay, and folders of which all does
	report   func(tree.Problem)
}

// match is an entry of the last archive whose path is there again, or may be.
type match struct {
	*members.Entry
	unlisted bool
}

// UploadsIncremental is [Uploads] of the changes since the last archive of the chain. It
// makes a full archive, which begins a chain, when the last full one is FullEvery old, when
// the chain has an archive for each of its nights, and when the host's facts about the last
// archive, or the chain in the store, are in doubt. The job has a generated name.
func UploadsIncremental(ctx context.Context, job Job, run Runner, dir string, o tree.Options, of Incremental) (*tree.Stats, error) {
	if of.Full == nil {
		of.Full = func(string) {}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if job.Name != "" { // of the files; a link's label has its place in the chain
		job.To.Base, job.Name = job.Name, ""
	}
	if job.Pack.Codec != "" && job.Pack.Codec != pack.Zstd || job.Unguarded || job.Plain || job.To.Sink != nil || job.To.Path != "" {
		return nil, errors.New("an incremental backup is sealed, packed with zstd, and has a generated name")
	}
	n := &night{of: of, began: time.Now(), kept: make(map[string]bool), report: o.Report}
	if n.report == nil {
		n.report = func(tree.Problem) {}
	}
	if n.store, err = chain.Open(of.StateDir, strings.Join([]string{dir, job.To.Root, job.To.Base}, "\x00")); err != nil {
		return nil, err
	}
	defer n.store.Close()
	n.head.Holders, n.head.Options, n.head.Copies = holdersOf(job.Recipients), fmt.Sprintf("xattrs=%v", !o.NoXattrs), job.Also
	if err := n.prepare(ctx, &job); err != nil {
		return nil, err
	}
	defer n.end()
	job.night = n
	o.Earlier, o.Seen, o.Unread, o.Unlisted = n.earlier, n.seen, n.noteUnread, n.noteUnlisted
	stats, err := uploads(ctx, job, func(ctx context.Context, j Job) (*Made, error) {
		made, err := run(ctx, j)
		if made != nil {
			err = errors.Join(err, n.saveFacts(made))
		}
		return made, err
	}, dir, o)
	return stats, err
}

// holdersOf names recipients. A nameless one counts as new each time.
func holdersOf(to []envelope.Recipient) string {
	var names []string
	for _, r := range to {
		h, ok := slot.HolderOf(r)
		if !ok {
			h.Name = rand.Text()
		}
		names = append(names, h.Type+" "+h.Name)
	}
	slices.Sort(names)
	return strings.Join(names, "\n")
}

func (n *night) prepare(ctx context.Context, job *Job) (err error) {
	if n.next, err = n.store.Begin(); err != nil {
		return err
	}
	n.last, err = n.store.Last()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.of.Full("there is no state of an earlier one")
	case err != nil:
		n.of.Full(err.Error())
	default:
		why, err := n.whyFull(ctx, job)
		if err != nil {
			n.end()
			return err
		}
		if why != "" {
			n.of.Full(why)
			n.last.Close()
			n.last = nil
		}
	}
	if err := n.place(job); err != nil {
		n.end()
		return err
	}
	n.builder, err = members.NewBuilder()
	if err != nil {
		n.end()
		return err
	}
	n.builder.Chain = n.chain
	return nil
}

func (n *night) place(job *Job) (err error) {
	job.Kind = KindUploads
	if n.last == nil {
		var id [16]byte
		rand.Read(id[:]) // never fails
		n.chain.ID = hex.EncodeToString(id[:])
		n.head.Chain = n.chain.ID
		return nil
	}
	job.Kind = KindIncrement
	n.head.Chain, n.head.Links = n.last.Chain, n.last.Links
	n.chain = members.Chain{ID: n.head.Chain, N: len(n.head.Links)}
	for _, l := range n.head.Links {
		n.chain.Links = append(n.chain.Links, l.Name)
	}
	n.held, err = n.following()
	return err
}

// whyFull returns why no increment may be made, or "".
func (n *night) whyFull(ctx context.Context, job *Job) (string, error) {
	links := n.last.Links
	nights := int(n.of.FullEvery / (24 * time.Hour))
	switch age := job.Created.Sub(links[0].Created); {
	case age >= n.of.FullEvery-min(slack, n.of.FullEvery/2) || len(links) > min(max(nights, 1), members.MaxLinks-1):
		return "the chain is as long as --full-every allows", nil
	case job.Created.Before(links[len(links)-1].Created):
		return "the last backup is dated in the future", nil
	case n.store.IsBad(n.last.Chain):
		return "verify has found a damaged backup in the chain", nil
	case n.last.Holders != n.head.Holders:
		return "the keys or recipients have changed", nil
	case n.last.Options != n.head.Options:
		return "the setting for extended attributes has changed", nil
	}
	folder := job.To.Root
	if !job.To.Flat {
		folder = store.Join(folder, KindUploads)
	}
	if why, err := whyBroken(ctx, job.Store, folder, links, false); why != "" || err != nil {
		return why, err
	}
	for _, root := range job.Also {
		if !slices.Contains(n.last.Copies, root) {
			return root + " does not have the chain", nil
		}
		why, err := whyBroken(ctx, job.Store, store.Join(root, cmp.Or(job.To.Folder, KindUploads)), links, true)
		if why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// whyBroken returns why the chain in a folder is not as it was, or "". A copy that can't be
// looked at is trusted: its host may only write, or the store is away and fails the copy.
func whyBroken(ctx context.Context, place store.Store, folder string, links []chain.Link, isCopy bool) (string, error) {
	for i, l := range links {
		path := store.Join(folder, l.Name+Suffix)
		seen, err := Look(ctx, place, path, Options{})
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist):
			return path + " is missing", nil
		case err != nil && isCopy:
			return "", nil
		case err != nil:
			return fmt.Sprintf("%s is not as it was: %v", path, err), nil
		case seen.Own == nil || seen.Own.Name != l.Name || !seen.Own.Created.Equal(l.Created) || (seen.Own.Kind == KindIncrement) != (i > 0) ||
			seen.Size-int64(len(seen.Own.Bytes())) != l.Payload:
			return path + " is not as it was: another backup has its name", nil
		}
	}
	return "", nil
}

func (n *night) following() (*members.Entry, error) {
	e, err := n.last.Next()
	if err == io.EOF {
		return nil, nil
	}
	return e, err
}

// earlier returns the facts about a path, and counts those before it as deleted.
func (n *night) earlier(path string) *tree.Facts {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		return nil
	}
	defer func() { // nothing that follows is below others
		n.unlisted = slices.DeleteFunc(n.unlisted, func(folder string) bool { return !strings.HasPrefix(path, folder+"/") })
	}()
	for n.err == nil && n.held != nil {
		e := n.held
		order := members.Order(e.Name(), path)
		if order > 0 {
			return nil
		}
		n.held, n.err = n.following()
		if order == 0 {
			n.matched = append(n.matched, match{Entry: e})
			return &tree.Facts{
				Type: e.Type[0], Size: e.Size, MTime: e.MTime, CTime: e.CTime, Inode: e.Inode, Mode: e.Mode,
				UID: e.UID, GID: e.GID, Target: e.Target(), Hash: e.Hash,
			}
		}
		n.noteMissing(e)
	}
	return nil
}

// noteMissing takes an entry for deleted, unless its folder could not be listed.
func (n *night) noteMissing(e *members.Entry) {
	if slices.ContainsFunc(n.unlisted, func(folder string) bool { return strings.HasPrefix(e.Name(), folder+"/") }) {
		n.matched = append(n.matched, match{e, true})
	} else {
		n.went = append(n.went, e)
	}
}

// noteUnlisted takes note of a folder that could not be listed.
func (n *night) noteUnlisted(path string, all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unlisted = append(n.unlisted, path)
	if all {
		n.kept[path] = true
	}
}

func (n *night) noteUnread(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if was := n.matchUpTo(path); was != nil {
		n.kept[path] = true
		n.keepFormer(was)
	}
	n.noteDeleted()
}

// errFurther is why a name of a file goes that could not be read.
var errFurther = errors.New("it could not be read, and was a further name of a file that may be another by now: it is not in the backup")

// keepFormer leaves what can't be read in the tree as it was. A further name of a file only does
// if the file does.
func (n *night) keepFormer(e *members.Entry) {
	if e.Type == "h" {
		at := e.Target()
		for at != "." && !n.kept[at] {
			at = path.Dir(at)
		}
		if at == "." {
			n.report(tree.Problem{Path: e.Name(), Err: errFurther})
			n.went = append(n.went, e)
			return
		}
	}
	n.addFormer(e)
}

// addFormer puts an entry of the last archive into the tree.
func (n *night) addFormer(e *members.Entry) {
	if n.chain.N%wholeEvery == 0 {
		plain := *e
		plain.CTime, plain.Inode, plain.Hash = 0, 0, nil
		n.builder.AddEntry(&plain)
	}
	n.add(e)
}

// matchUpTo settles the matches before a path, and returns that of the path.
func (n *night) matchUpTo(path string) *members.Entry {
	for len(n.matched) > 0 {
		m := n.matched[0]
		order := members.Order(m.Name(), path)
		if order > 0 {
			break
		}
		n.matched = n.matched[1:]
		switch {
		case m.unlisted:
			n.keepFormer(m.Entry)
		case order == 0:
			return m.Entry
		default:
			n.went = append(n.went, m.Entry) // it vanished
		}
	}
	return nil
}

func (n *night) seen(path string, f tree.Facts, stored bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.matchUpTo(path)
	n.noteDeleted()
	if !stored && was != nil {
		n.addFormer(was)
		return
	}
	e := &members.Entry{
		Type: string(f.Type), Size: f.Size, MTime: f.MTime, CTime: f.CTime, Inode: f.Inode, Mode: f.Mode, UID: f.UID, GID: f.GID,
		Hash: f.Hash, From: &n.chain.N,
	}
	e.SetNames(path, f.Target)
	if last := n.began.Add(-settled).UnixNano(); f.CTime > last || f.MTime > last {
		e.CTime = 0
	}
	n.add(e)
}

func (n *night) noteDeleted() {
	for _, e := range n.went {
		gone := &members.Entry{Type: e.Type, Gone: true}
		gone.SetNames(e.Name(), "")
		n.builder.AddEntry(gone)
	}
	n.went = n.went[:0]
}

func (n *night) add(e *members.Entry) {
	if n.err == nil {
		n.err = n.next.Add(e)
	}
}

// errIndexNeeded is the error of a chain's archive without an index.
var errIndexNeeded = errors.New("an archive of a chain needs its index")

// index makes the index, without which an archive of a chain is useless.
func (n *night) index(size int64) (*index.Content, error) {
	n.finish()
	content, err := n.builder.Finish(size)
	if err == nil && (content.Size > pack.MaxIndex || size > pack.MaxIndexed) {
		err = fmt.Errorf("the archive has %d bytes, and its index would have %d", size, content.Size)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errIndexNeeded, err)
	}
	return content, err
}

// finish counts the remaining facts as deleted.
func (n *night) finish() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.err == nil && n.held != nil {
		n.noteMissing(n.held)
		n.flushMatched()
		n.held, n.err = n.following()
	}
	n.flushMatched()
}

func (n *night) flushMatched() {
	for _, m := range n.matched {
		if m.unlisted {
			n.keepFormer(m.Entry)
		} else {
			n.went = append(n.went, m.Entry)
		}
	}
	n.matched = n.matched[:0]
	n.noteDeleted()
}

// fault is why the archive must not be kept.
func (n *night) fault() error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// saveFacts makes the archive the last of the chain, unless a copy failed.
func (n *night) saveFacts(m *Made) error {
	for _, c := range m.Copies {
		if c.Err != nil {
			return n.store.Forget()
		}
	}
	n.head.Links = append(slices.Clone(n.head.Links), chain.Link{
		Name: m.Name, Created: m.Envelope.Created, Payload: m.Size - int64(len(m.Envelope.Bytes())),
	})
	return n.next.Commit(n.head)
}

func (n *night) end() {
	n.next.Abort()
	if n.builder != nil {
		n.builder.Close()
	}
	if n.last != nil {
		n.last.Close()
		n.last = nil
	}
}

// link is the place of the job's backup in a chain.
func (j *Job) link() Link {
	if j.night == nil {
		return Link{}
	}
	return Link{Chain: j.night.chain.ID[:16], N: j.night.chain.N}
}
