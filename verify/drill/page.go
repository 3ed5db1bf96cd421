package drill

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// newPage begins a page that is not there yet.
const newPage = "# Drills\n\nWritten by `takumi-backup drill`, the newest last.\n"

// Append adds the section of a report to the page at path, which is made when
// there is none. The page is replaced in one step and keeps its mode; what stands
// in it stays as it is. Errors are those of [local.Create], ErrBusy while another
// drill writes among them.
func Append(path string, r *Report) error {
	f, err := local.Create(path, store.Options{Replace: true, Parents: true})
	if err != nil {
		return err
	}
	defer f.Abort()
	// The name is ours from here on: nobody else appends meanwhile.
	page, err := os.ReadFile(path)
	mode := fs.FileMode(0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		page = []byte(newPage)
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, err)
	default:
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
	}
	text := strings.TrimRight(string(page), "\n") + "\n\n" + r.Section()
	if _, err := f.Write([]byte(text)); err != nil {
		return err
	}
	if _, err := f.Commit(); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// Section returns the report as a section of a page in Markdown.
func (r *Report) Section() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	how := "the newest"
	if r.Random {
		how = "drawn by lot"
	}
	line("## Drill of %s: %s\n", r.Time.UTC().Format("2006-01-02 15:04 UTC"), verdict(r.Passed))
	line("- by %s, with %s", code(r.Who), code(r.Program))
	line("- from %s, %s", code(r.Root), how)
	if r.PassedOver > 0 {
		line("- passed over: %d that are not authentic with this key, the first: %s", r.PassedOver, code(r.PassedOverWhy))
	}
	if r.Error != "" {
		line("- outcome: FAILED, nothing was rehearsed: %s", code(r.Error))
	}
	if len(r.Checkpoint) > 0 {
		line("- checkpoint of the audit log: %s", code(string(r.Checkpoint)))
	}
	for i := range r.Results {
		r.Results[i].section(line)
	}
	return b.String()
}

func verdict(passed bool) string {
	if passed {
		return "passed"
	}
	return "FAILED"
}

func (r *Result) section(line func(format string, args ...any)) {
	line("\n### %s, %s\n", r.Kind, verdict(r.Error == ""))
	line("- backup: %s, named %s, id %s", code(r.Path), code(r.Name), code(r.ID))
	line("- made %s, %s before the drill, %d bytes", r.Created.UTC().Format("2006-01-02 15:04:05 UTC"), Span(r.Age), r.Size)
	if r.KeyID != "" {
		line("- key: %s", code(r.KeyID))
	}
	if r.Error != "" {
		line("- outcome: FAILED: %s", code(r.Error))
	} else {
		line("- outcome: restored, and as it should be")
		line("- time to restore (RTO): %s%s", Span(r.RTO), target(r.RTO, r.RTOTarget))
	}
	line("- age of the newest backup of the series (RPO): %s%s", Span(r.RPO), target(r.RPO, r.RPOTarget))
	switch {
	case r.Tables > 0:
		line("- held: %d tables, %d rows", r.Tables, r.Rows)
	case r.Files > 0:
		line("- held: %d files, %d bytes", r.Files, r.Bytes)
	}
	for _, what := range r.Compared {
		line("- compared: %s", plain(what))
	}
	for _, note := range r.Notes {
		line("- note: %s", plain(note))
	}
}

func target(got, want float64) string {
	switch {
	case want <= 0:
		return ""
	case got > want:
		return fmt.Sprintf(", MISSED the target of %s", Span(want))
	}
	return fmt.Sprintf(", within the target of %s", Span(want))
}

// Span writes seconds for people, to three digits or so.
func Span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}

// oneLine quotes what would not stay on its line, or not be readable.
func oneLine(text string) string {
	text = strings.ReplaceAll(text, "\n", "; ")
	quoted := strconv.Quote(text)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
}

func code(text string) string { return "`" + strings.ReplaceAll(oneLine(text), "`", "'") + "`" }

func plain(text string) string {
	return strings.NewReplacer("<", "&lt;", "&", "&amp;", "`", "'", "[", `\[`, "]", `\]`, "|", `\|`, "*", `\*`).Replace(oneLine(text))
}
