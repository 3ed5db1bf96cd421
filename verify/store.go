package verify

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// strayAge is how long a file that is being written may be unfinished.
const strayAge = time.Hour

// plaintext ends the names of unsealed dumps and archives.
var plaintext = regexp.MustCompile(`(?i)(\.(sql|dump|pgdump|tar|tgz|txz|tzst)|_\d{8}_\d{6}(-\d+)?\.bin)(\.(zst|gz|bz2|xz|lz4))?$`)

// strayFinding judges a file that is not a backup; there has the backups by path.
func (j *Job) strayFinding(f *store.Backup, there map[string]bool) (Finding, bool) {
	name := store.Base(f.Path)
	begun := strings.TrimSuffix(strings.TrimPrefix(name, "."), ".partial")
	unfinished := strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".partial")
	warning := func(code Code, message, advice string) (Finding, bool) {
		return Finding{Severity: Warning, Code: code, Path: f.Path, Message: message, Advice: advice}, true
	}
	switch {
	case unfinished && j.now.Sub(f.ModTime) < strayAge:
		return Finding{}, false
	case unfinished && there[store.Join(store.Dir(f.Path), strings.TrimSuffix(begun, store.SidecarSuffix))]:
		return warning(SideFile, "a rewrap or reencrypt that was killed has left it",
			"run it again, which clears it away; delete it by hand only when its backup verifies without it")
	case unfinished && (strings.Contains(begun, backup.Suffix) || plaintext.MatchString(begun)):
		return warning(SideFile, "a backup that was killed has left it", "the next backup into that folder clears it away; or delete it")
	case plaintext.MatchString(name):
		return warning(Plaintext, "a dump or archive that everybody can read who can read the file",
			"seal it: takumi-backup seal < FILE; then delete it")
	}
	for suffix, what := range map[string]string{store.SidecarSuffix: "the sidecar", envelope.DetachedSuffix: "the envelope", store.SignatureSuffix: "the signature"} {
		of, found := store.CutSuffix(f.Path, suffix)
		if !found || !(store.Backup{Path: of}).Named() {
			continue
		}
		if !there[of] && j.now.Sub(f.ModTime) >= strayAge {
			return warning(SideFile, what+" of a backup that is not there", "find out where the backup went; else delete it")
		}
	}
	return Finding{}, false
}

// peer is what a comparison needs of a backup: a shard keeps that of the whole store.
type peer struct {
	path    string
	size    int64
	created time.Time
	series  unique.Handle[prune.Series]
	known   bool // its envelope could be read
	bad     bool // it counts for nothing next to others
	unread  bool // the store did not give its envelope

	increment bool // its size says nothing of others
	link      backup.Link
	broken    bool // what needs it cannot be restored
}

func (b *Backup) peer() peer {
	link, _ := backup.LinkOf(b.Name)
	return peer{
		path: b.Path, size: b.Size, created: b.Created, known: b.ID != "", bad: b.Worst() == Error,
		unread:    b.unread || b.ID == "" && b.has(Unreadable),
		series:    unique.Make(prune.Series{Folder: store.Dir(b.Path), Kind: backup.Family(b.Kind), Name: b.Series}),
		increment: b.Kind == backup.KindIncrement, link: link,
		broken: slices.ContainsFunc(b.Findings, func(f Finding) bool { return f.Severity == Error && f.Code != NotRehearsed }),
	}
}

// compare judges every backup of the report next to its series; whole has all backups,
// those of other shards too.
func (j *Job) compare(r *Report, whole []peer) {
	series := make(map[unique.Handle[prune.Series]][]peer)
	for _, p := range whole {
		if p.known && !p.created.After(j.now.Add(prune.Skew)) {
			series[p.series] = append(series[p.series], p)
		}
	}
	order := func(a, b peer) int {
		return cmp.Or(b.created.Compare(a.created), b.link.After(a.link), cmp.Compare(a.path, b.path))
	}
	newest := make(map[unique.Handle[prune.Series]]time.Time) // good ones, from which prune counts
	for s, all := range series {
		slices.SortFunc(all, order)
		if at := slices.IndexFunc(all, func(p peer) bool { return !p.bad }); at >= 0 {
			newest[s] = all[at].created
		}
	}
	for i := range r.Backups {
		b := &r.Backups[i]
		j.permissions(b)
		if b.ID == "" {
			continue
		}
		if b.Created.After(j.now.Add(prune.Skew)) {
			b.add(Finding{Severity: Warning, Code: Future, Message: "it is dated " + b.Created.Format(time.RFC3339) + ", in the future",
				Advice: "a clock was wrong when it was made; it counts for nothing until its time has come"})
			continue
		}
		self := b.peer()
		all := series[self.series]
		at, found := slices.BinarySearchFunc(all, self, order)
		if !found {
			continue // another one is there now
		}
		j.age(r, b, at == 0, newest[self.series])
		if median, ok := medianSize(all[at+1:]); ok && !self.increment && b.Size < median/2 {
			b.add(Finding{Severity: Warning, Code: Small, Message: fmt.Sprintf("it has %d bytes, and half of those before it have %d or more", b.Size, median),
				Advice: "look what is missing in the source"})
		}
	}
}

// mostAge is the limit for the newest backup of a kind; 0 is none.
func (j *Job) mostAge(kind string) time.Duration {
	if kind == backup.KindManifest {
		return 0
	}
	if most, ok := j.MaxAge[backup.Family(kind)]; ok {
		return most
	}
	return j.MaxAge[""]
}

// pruned are the kinds that become too old.
var pruned = []string{backup.KindDatabase, backup.KindUploads, backup.KindManifest}

// age judges the age of a backup, and its distance to the newest good one. A newest one
// that is too old is a fault of the series, and not of the backup.
func (j *Job) age(r *Report, b *Backup, newest bool, from time.Time) {
	age, most := j.now.Sub(b.Created), j.mostAge(b.Kind)
	switch {
	case newest && most > 0 && age > most:
		r.Findings = append(r.Findings, Finding{Severity: Error, Code: TooOld, Path: b.Path, Message: fmt.Sprintf("the newest %s backup %s is %s old, and may be %s", b.Kind, b.Series, prune.Span(age), prune.Span(most)),
			Advice: "find out why there is no newer one: takumi-backup audit show, and the log of the backup job"})
	case !newest && j.Retention > 0 && from.Sub(b.Created) > j.Retention+24*time.Hour && slices.Contains(pruned, backup.Family(b.Kind)):
		b.add(Finding{Severity: Warning, Code: PastRetention, Message: fmt.Sprintf("it is %s older than the newest, and kept for %s", prune.Span(from.Sub(b.Created)), prune.Span(j.Retention)),
			Advice: "takumi-backup prune shows what no rule keeps"})
	}
}

// enough backups make a median, few do not.
const (
	enough = 7
	few    = 3
)

func medianSize(newest []peer) (int64, bool) {
	var sizes []int64
	for _, p := range newest {
		if len(sizes) == enough {
			break
		}
		if !p.bad && !p.increment {
			sizes = append(sizes, p.size)
		}
	}
	if len(sizes) < few {
		return 0, false
	}
	slices.Sort(sizes)
	return sizes[len(sizes)/2], true
}

func (j *Job) permissions(b *Backup) {
	if store.IsRemote(b.Path) || b.has(Unreadable) {
		return
	}
	info, err := os.Stat(b.Path)
	if err != nil {
		return
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		b.add(Finding{Severity: Warning, Code: Permissions, Message: fmt.Sprintf("its mode is %04o: others than its owner have access", mode),
			Advice: "chmod 600 " + printable(b.Path)})
	}
}

func (j *Job) judgeKeys(r *Report) {
	r.Keys = j.KnownKeys
	for _, k := range j.KnownKeys {
		if k.Overdue && j.Shard.Index <= 1 {
			r.Findings = append(r.Findings, Finding{Severity: Warning, Code: KeyOverdue,
				Message: fmt.Sprintf("the key %s of %s was to be replaced on %s", k.ID, k.Provider, k.NextRotation.Format(time.DateOnly)),
				Advice:  "takumi-backup key rotate replaces it"})
		}
	}
}
