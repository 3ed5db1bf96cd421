package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// sidecar compares a backup with its sidecar, and returns Checksum when they fit. rewrapped
// means that an envelope is next to it. A new object in a bucket may have no sidecar yet.
func (c *Checker) sidecar(ctx context.Context, b *Backup, rewrapped bool, file *hashed) Level {
	line := file.fetch(ctx, b.Path+store.SidecarSuffix)
	text, err, changed := string(line.text), line.err, file.modified
	name := store.Base(b.Path)
	sum, named, ok := store.ParseSidecar(text)
	differs := func(format string, args ...any) Level {
		f := Finding{Severity: Error, Code: SidecarDiffers, Message: fmt.Sprintf(format, args...)}
		switch {
		case b.Worst() == Error:
			f.Advice = "see what else was found on this backup"
		case c.Level == Checksum:
			f.Advice = "verify --level auth says whether the backup or its sidecar is wrong"
		case rewrapped:
			f.Advice = "the content is authentic all the same: a rewrap was stopped, perhaps. Run it again, and it renews the sidecar"
		default:
			f.Advice = "the content is authentic all the same, so the sidecar is wrong, or the file was put back from elsewhere; when you know why, write it anew: " +
				writing(b.Path)
		}
		b.add(f)
		return None
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && store.IsRemote(b.Path) && time.Since(changed) < strayAge:
	case errors.Is(err, fs.ErrNotExist):
		b.add(Finding{Severity: Warning, Code: SidecarMissing, Message: "there is no sidecar " + printable(name+store.SidecarSuffix),
			Advice: "once the backup verifies, write it: " + writing(b.Path)})
	case err != nil:
		f := fault(err, 0)
		f.Message = "reading its sidecar: " + f.Message
		b.add(f)
	case !ok:
		return differs("its sidecar is not a line of sha256sum")
	case named != name && sum != b.SHA256:
		return differs("its sidecar is that of another file, %s", printable(named))
	case named != name:
		return differs("its sidecar has the right sum, and names another file, %s", printable(named))
	case sum != b.SHA256 && backup.Staged(ctx, c.Place, b.Path, b.SHA256):
		where := "the right one is next to it as " + printable(local.Partial(name+store.SidecarSuffix))
		if store.IsRemote(b.Path) {
			where = "the sum that it noted in the object is right"
		}
		b.add(Finding{Severity: Warning, Code: SideFile, Message: "its sidecar is that of the backup before it; a rewrap or reencrypt was killed, and " + where,
			Advice: "run the reencrypt again, or a rewrap, which puts the sidecar in its place; do not delete it"})
		return Checksum
	case sum != b.SHA256:
		b.sharpen()
		return differs("its SHA-256 begins with %.16s, and the sidecar says %.16s", b.SHA256, sum)
	default:
		return Checksum
	}
	return None
}

func writing(path string) string {
	name, line := store.Base(path), path+store.SidecarSuffix
	if store.IsRemote(path) {
		return "aws s3 cp " + printable(path) + " - | sha256sum | sed " + printable("s/ -$/ "+strings.NewReplacer(`\`, `\\`, "&", `\&`).Replace(name)+"/") + " | aws s3 cp - " + printable(line)
	}
	return "(cd " + printable(store.Dir(path)) + " && sha256sum " + printable(name) + " > " + printable(name+store.SidecarSuffix) + ")"
}

// sharpen refines a fault of a file that is not as written: an unknown version in its head
// is damage, and the named keys may be damaged too.
func (b *Backup) sharpen() {
	for i := range b.Findings {
		switch f := &b.Findings[i]; f.Code {
		case Newer:
			f.Code, f.Advice = Altered, adviceCopy
			f.Message = "its first line was changed since it was written: " + f.Message
		case NoKey:
			f.Message += "; it is not the file that was written, so its key slots may be damaged too"
		}
	}
}

// stamp is the time in generated names, with the number within a second.
var stamp = regexp.MustCompile(`_(\d{8}_\d{6})(-\d+)?`)

func stampOf(name string) string {
	all := stamp.FindAllStringSubmatch(name, -1)
	if all == nil {
		return ""
	}
	return all[len(all)-1][0]
}

// zones bounds the difference between local time and UTC.
const zones = 15 * time.Hour

// fitsName returns how sure it is that a backup was not made under its file name, "" if it
// may have been. Generated names hold the envelope's time, and without --name the envelope
// has the file name too. Names without a time fit. When only the file name has a time, a
// user may have chosen it, perhaps for an old dump, and only a backup that is older than it
// is an error.
func fitsName(file, name string, created time.Time) Severity {
	file = strings.TrimSuffix(file, backup.Suffix)
	name = strings.TrimSuffix(name, backup.Suffix)
	at := stampOf(file)
	switch {
	case file == name, at == "":
		return ""
	case stampOf(name) != "" && backup.Misnamed(file, name) == nil:
		return ""
	case stampOf(name) != "":
		return Error
	case !strings.HasPrefix(file, name+at):
		return ""
	}
	named, err := time.Parse("20060102_150405", stamp.FindStringSubmatch(at)[1])
	switch {
	case err != nil, named.Equal(created.Truncate(time.Second)):
		return ""
	case created.Before(named.Add(-zones)):
		return Error
	}
	return Warning
}

// misplaced is the finding that a backup does not fit its name.
func misplaced(b *Backup, doubt Severity) Finding {
	if doubt == Warning {
		return Finding{Severity: Warning, Code: Replaced,
			Message: fmt.Sprintf("it was made %s, which is not the time in its name", b.Created.Format(time.RFC3339)),
			Advice:  "if nobody has named it so (seal -o), find out who exchanged it"}
	}
	return Finding{Severity: Error, Code: Replaced,
		Message: fmt.Sprintf("another backup is under this name: %s, made %s", printable(b.Name), b.Created.Format(time.RFC3339)),
		Advice:  "find out who renamed or exchanged it; the backup that belongs here is missing"}
}

// printable quotes a name that could confuse a terminal or a shell.
func printable(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9._/:@%+,=][A-Za-z0-9._/:@%+,=-]*$`)

func anchored(name string) string {
	if store.IsRemote(name) {
		return "s3://" + path.Clean(strings.TrimPrefix(name, "s3://"))
	}
	abs, _ := filepath.Abs(name)
	return cmp.Or(abs, filepath.Clean(name))
}
