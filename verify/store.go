package verify

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// strayAge is how long a file that is being written may be unfinished.
const strayAge = time.Hour

// plaintext ends the names of unsealed dumps and archives.
var plaintext = regexp.MustCompile(`(?i)(\.(sql|dump|pgdump|tar|tgz|txz|tzst)|_\d{8}_\d{6}(-\d+)?\.bin)(\.(zst|gz|bz2|xz|lz4))?$`)

// strayFinding judges a file that is not a backup; there reports whether a
// backup is.
func (j *Job) strayFinding(f *store.Backup, there func(path string) bool) (Finding, bool) {
	name := store.Base(f.Path)
	begun := strings.TrimSuffix(strings.TrimPrefix(name, "."), ".partial")
	unfinished := strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".partial")
	warning := func(code Code, message, advice string) (Finding, bool) {
		return Finding{Severity: Warning, Code: code, Path: f.Path, Message: message, Advice: advice}, true
	}
	switch {
	case unfinished && j.now.Sub(f.ModTime) < strayAge:
		return Finding{}, false
	case unfinished && there(store.Join(store.Dir(f.Path), strings.TrimSuffix(begun, store.SidecarSuffix))):
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
		if j.now.Sub(f.ModTime) >= strayAge && !there(of) {
			return warning(SideFile, what+" of a backup that is not there", "find out where the backup went; else delete it")
		}
	}
	return Finding{}, false
}

// compare judges every backup of the report next to its series, with those of other shards.
func (j *Job) compare(r *Report) {
	l := r.Backups
	series := make([][]uint32, len(l.names))
	latest := j.now.Add(prune.Skew)
	for _, i := range l.whole() {
		if n := l.row(int(i)); n.known && n.created <= latest.Unix() {
			series[n.series] = append(series[n.series], i)
		}
	}
	at := make([]uint32, l.held())            // their places in their series
	newest := make([]time.Time, len(l.names)) // good ones, from which prune counts
	for s, all := range series {
		slices.SortFunc(all, l.newestFirst)
		for n, i := range all {
			at[i] = uint32(n)
		}
		if n := slices.IndexFunc(all, func(i uint32) bool { return !l.row(int(i)).bad }); n >= 0 {
			newest[s] = time.Unix(l.row(int(all[n])).created, 0).UTC()
		}
	}
	for _, i := range l.order {
		b, n := l.at(int(i)), l.row(int(i))
		unread := b.has(Unreadable)
		if b.Findings = nil; !unread {
			permissions(&b)
		}
		all := series[n.series]
		if !n.known {
			l.find(int(i), b.Findings...)
			continue
		}
		if n.created > latest.Unix() {
			b.add(Finding{Severity: Warning, Code: Future, Message: "it is dated " + b.Created.Format(time.RFC3339) + ", in the future",
				Advice: "a clock was wrong when it was made; it counts for nothing until its time has come"})
		} else {
			j.age(r, &b, at[i] == 0, newest[n.series])
			if median, ok := l.medianSize(all[at[i]+1:]); ok && !n.increment && n.size < median/2 {
				b.add(Finding{Severity: Warning, Code: Small, Message: fmt.Sprintf("it has %d bytes, and half of those before it have %d or more", n.size, median),
					Advice: "look what is missing in the source"})
			}
		}
		l.find(int(i), b.Findings...)
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

func (l *List) medianSize(newest []uint32) (int64, bool) {
	var sizes []int64
	for _, i := range newest {
		if len(sizes) == enough {
			break
		}
		if n := l.row(int(i)); !n.bad && !n.increment {
			sizes = append(sizes, n.size)
		}
	}
	if len(sizes) < few {
		return 0, false
	}
	slices.Sort(sizes)
	return sizes[len(sizes)/2], true
}

func permissions(b *Backup) {
	if store.IsRemote(b.Path) {
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
