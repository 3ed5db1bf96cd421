package audit

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Filter selects records; zero fields are ignored.
type Filter struct {
	Since, Until time.Time
	Operation    string // a command, or what groups of them begin with
	Backup       string // id, name, or part of the path
	Key          string // its id, or a part of its URI
	Outcome      string
}

// Wants reports whether a record fits.
func (s *Filter) Wants(r *Record) bool {
	switch {
	case !s.Since.IsZero() && r.Time.Before(s.Since),
		!s.Until.IsZero() && !r.Time.Before(s.Until),
		s.Operation != "" && r.Operation != s.Operation && !strings.HasPrefix(r.Operation, s.Operation+" "),
		s.Outcome != "" && string(r.Outcome) != s.Outcome,
		s.Backup != "" && r.BackupID != s.Backup && r.Name != s.Backup && !strings.Contains(r.Path, s.Backup) &&
			!slices.ContainsFunc(r.Paths, func(path string) bool { return strings.Contains(path, s.Backup) }):
		return false
	}
	return s.Key == "" || slices.Contains(r.KeyIDs, s.Key) || slices.Contains(r.OldIDs, s.Key) ||
		slices.ContainsFunc(r.Keys, func(uri string) bool { return strings.Contains(uri, s.Key) })
}

// Line is a record for people: one printable line, in the form of Takumi's logs.
func (r *Record) Line() string {
	level := "INFO"
	switch r.Outcome {
	case Failed:
		level = "ERROR"
	case Stopped, Mended:
		level = "WARN"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] [%s] %s %s", r.Time.UTC().Format(time.RFC3339), level, store.Printable(r.Operation), store.Printable(string(r.Outcome)))
	if r.DryRun {
		b.WriteString(" (dry run)")
	}
	add := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, ", %s %s", name, store.Printable(value))
		}
	}
	if r.ExitCode != nil && *r.ExitCode != 0 {
		fmt.Fprintf(&b, ", exit code %d", *r.ExitCode)
	}
	add("path", r.Path)
	add("paths", strings.Join(r.Paths, " "))
	add("kind", r.Kind)
	add("name", r.Name)
	add("id", r.BackupID)
	add("key", strings.Join(r.KeyIDs, ", "))
	add("former key", strings.Join(r.OldIDs, ", "))
	add("from", strings.Join(r.Keys, " "))
	if r.BytesIn > 0 || r.BytesOut > 0 {
		fmt.Fprintf(&b, ", %d bytes in, %d out", r.BytesIn, r.BytesOut)
	}
	if r.Backups > 0 {
		fmt.Fprintf(&b, ", %d backups, %d failures", r.Backups, r.Failures)
	}
	add("detail", r.Detail)
	add("error", r.Error)
	who := r.User
	if r.SudoUser != "" {
		who += " (" + r.SudoUser + ")"
	}
	add("by", who)
	add("on", r.Host)
	add("run", r.Run)
	b.WriteByte('\n')
	return b.String()
}

// Words say what a whole log holds.
func (s *State) Words() string {
	span := ""
	if s.Lines > 0 {
		span = fmt.Sprintf(", from %s to %s", s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339))
	}
	return fmt.Sprintf("whole: %d records in %d files%s, %d of them torn and mended", s.Lines, s.Files, span, s.Mended)
}

// WriteProof says what proves a whole log, and what does not.
func (j *Judged) WriteProof(w io.Writer) {
	switch at := j.Checkpoint; {
	case at == nil:
		fmt.Fprintln(w, "without a checkpoint nobody can tell whether the newest records were cut off: audit checkpoint makes one")
	case !j.Trusted:
		fmt.Fprintf(w, "the checkpoint of %s is signed for %s; --public-key proves that this is the right one\n", at.Time.Format(time.RFC3339), at.PublicKey)
	default:
		fmt.Fprintf(w, "the log holds all that the checkpoint of %s saw\n", at.Time.Format(time.RFC3339))
	}
	j.writeMACs(w)
}

func (s *State) writeMACs(w io.Writer) {
	proved := 0
	for i, e := range s.Epochs {
		if e.Proved {
			proved += e.Records
		}
		if i > 0 && !e.Handed {
			fmt.Fprintf(w, "warning: from %s, line %d, on, MACs have a new first key, %s, which the former one does not vouch for: find out whether you began them anew\n", e.File, e.Line, e.KeyID)
		}
	}
	switch {
	case len(s.Epochs) == 0:
		fmt.Fprintln(w, "the log is proved against accidents, and not against who can write it: takumi-backup audit init begins MACs")
	case proved == 0:
		fmt.Fprintf(w, "the log is proved against accidents, and not against who can write it: --first-key proves the MACs of %d records\n", s.Lines-s.Plain)
	default:
		fmt.Fprintf(w, "%d records are as they were written, and the %d before them as they were when MACs began\n", proved, s.Plain)
	}
}

// ToSyslog sends a record to the socket, in the form of RFC 3164. It waits at most a
// second, unlike package log/syslog, which would wait for a hanging daemon.
func ToSyslog(socket string, r Record) error {
	conn, err := net.DialTimeout("unixgram", socket, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	const authpriv = 10 << 3
	severity := map[Outcome]int{Failed: 3, Stopped: 4}[r.Outcome]
	if severity == 0 {
		severity = 6
	}
	_, words, _ := strings.Cut(r.Line(), "] [") // syslog has its own time
	_, err = fmt.Fprintf(conn, "<%d>%s takumi-backup[%d]: [%s", authpriv|severity, time.Now().Format(time.Stamp), r.PID, strings.TrimSuffix(words, "\n"))
	return err
}
