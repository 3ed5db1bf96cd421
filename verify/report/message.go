package report

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/verify"
)

// maxTold is how many findings a message has. The others are in the report.
const maxTold = 20

// message is what is told of a run of verify, or of another job. All of it is redacted, and its
// JSON is what the webhook gets.
type message struct {
	Schema   int             `json:"schema"`
	Event    string          `json:"event"`
	Status   State           `json:"status"` // good, warned or failed
	Host     string          `json:"host"`
	Subject  string          `json:"subject"`
	Error    string          `json:"error,omitempty"`
	Started  time.Time       `json:"started,omitzero"`
	Finished time.Time       `json:"finished,omitzero"`
	Roots    []string        `json:"roots,omitempty"`
	Level    string          `json:"level,omitempty"`
	Summary  *verify.Summary `json:"summary,omitempty"`
	Parts    []toldPart      `json:"parts,omitempty"`
	Findings []toldFinding   `json:"findings,omitempty"`
	Omitted  int             `json:"findings_omitted,omitempty"`
}

type toldPart struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
}

type toldFinding struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Path     string `json:"path,omitempty"`
	Message  string `json:"message"`
	Advice   string `json:"advice,omitempty"`
}

func line(text string) string { return redact.Line(text, 400) }

// newMessage says how verify ended. r or fault may be nil.
func newMessage(r *verify.Report, fault error) *message {
	m := &message{Schema: 1, Event: "verify", Status: good}
	text := "failed"
	if r == nil {
		m.Host, _ = os.Hostname()
	} else {
		m.Status, text = Verdict(r)
		m.add(r)
	}
	if fault != nil {
		m.Error = line(fault.Error())
		if m.Status != failed && r != nil {
			text = "failed: " + text
		}
		m.Status = failed
	}
	switch {
	case r != nil && r.Interrupted:
		m.Status = failed // what was not looked at may be anything
	case m.Status == unproven:
		m.Status = warned
	}
	m.Host = line(cmp.Or(m.Host, "an unknown host"))
	m.Subject = "takumi-backup verify on " + m.Host + ": " + text
	return m
}

func (m *message) add(r *verify.Report) {
	s := r.Summary()
	m.Host, m.Started, m.Finished, m.Level, m.Summary = r.Host, r.Started, r.Finished, r.Level.String(), &s
	for _, root := range r.Roots[:min(len(r.Roots), maxTold)] {
		m.Roots = append(m.Roots, line(root))
	}
	for _, severity := range []verify.Severity{verify.Error, verify.Warning} {
		add := func(path string, list []verify.Finding) {
			for _, f := range list {
				if f.Severity != severity {
					continue
				}
				if len(m.Findings) == maxTold {
					m.Omitted++
					continue
				}
				m.Findings = append(m.Findings, toldFinding{line(string(f.Severity)), line(string(f.Code)), line(cmp.Or(f.Path, path)), line(f.Message), line(f.Advice)})
			}
		}
		for _, b := range r.Backups.Found() {
			add(b.Path, b.Findings)
		}
		add("", r.Findings)
	}
}

func (m *message) text() string {
	var b strings.Builder
	if m.Error != "" {
		fmt.Fprintf(&b, "%s\n\n", m.Error)
	}
	if m.Summary != nil {
		fmt.Fprintf(&b, "%s in %s, %d of them read (level %s), %s to %s.\n", page.CountText(m.Summary.Backups, "backup"), strings.Join(m.Roots, ", "),
			m.Summary.Checked, m.Level, page.TimeText(m.Started), page.TimeText(m.Finished))
	}
	for _, p := range m.Parts {
		fmt.Fprintf(&b, "%s: %s\n", p.Name, cmp.Or(p.Error, "done"))
	}
	for _, f := range m.Findings {
		fmt.Fprintf(&b, "\n%s: %s", strings.ToUpper(f.Severity), f.Code)
		if f.Path != "" {
			fmt.Fprintf(&b, ": %s", f.Path)
		}
		fmt.Fprintf(&b, "\n  %s\n", f.Message)
		if f.Advice != "" {
			fmt.Fprintf(&b, "  What to do: %s\n", f.Advice)
		}
	}
	if m.Omitted > 0 {
		fmt.Fprintf(&b, "\nAnd %d more, in the report.\n", m.Omitted)
	}
	return b.String()
}
