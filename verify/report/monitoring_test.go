package report

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/takumi-backup/takumi-backup/verify"
)

var metricName = regexp.MustCompile(`takumi_backup_\w+`)

// metricNames are those of a report that has something of everything.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	r := sample()
	backups := held(r)
	backups[0].Findings = []verify.Finding{{Severity: verify.Warning, Code: verify.Small}}
	r.Backups = verify.ListOf(backups...)
	names := make(map[string]bool)
	for name := range families(t, r) {
		names[name] = true
	}
	h := healthy()
	for task := range h.memory.Tasks {
		for name := range parsed(t, taskPage(task, h.memory, noon)) {
			names[name] = true
		}
	}
	return names
}

// checkExpression: an expression names metrics, all of which there are.
func checkExpression(t *testing.T, where, expr string, names map[string]bool) {
	t.Helper()
	used := metricName.FindAllString(expr, -1)
	if len(used) == 0 {
		t.Errorf("%s: %q names no metric", where, expr)
	}
	for _, name := range used {
		if !names[name] {
			t.Errorf("%s: there is no %s", where, name)
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(expr, pair[:1]) != strings.Count(expr, pair[1:]) {
			t.Errorf("%s: %q is not closed", where, expr)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../scripts/monitoring/takumi-backup.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	names, seen := metricNames(t), make(map[string]bool)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			checkExpression(t, rule.Alert, rule.Expr, names)
			if rule.Alert == "" || seen[rule.Alert] || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%+v is not whole, or not the only one", rule)
			}
			seen[rule.Alert] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("there are only %d rules", len(seen))
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../scripts/monitoring/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID, Title string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, RefID string }
		}
		Templating struct {
			List []struct{ Name, Query string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	names, ids := metricNames(t), make(map[int]bool)
	for _, p := range board.Panels {
		if p.Title == "" || ids[p.ID] || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("panel %d, %s: not whole, or not the only one of its number", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			checkExpression(t, p.Title, target.Expr, names)
		}
	}
	for _, v := range board.Templating.List {
		if v.Query != "prometheus" {
			checkExpression(t, v.Name, v.Query, names)
		}
	}
	if len(ids) < 8 || board.UID == "" {
		t.Errorf("there are only %d panels", len(ids))
	}
}

// TestDocumented: docs/REPORTS.md names every metric, every field of the JSON and
// every variable, and no metric that there is not.
func TestDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/REPORTS.md")
	if err != nil {
		t.Fatal(err)
	}
	page, names := string(text), metricNames(t)
	for name := range names {
		if !strings.Contains(page, "`"+strings.TrimPrefix(name, "takumi_backup_")) {
			t.Errorf("not documented: %s", name)
		}
	}
	for _, name := range metricName.FindAllString(page, -1) {
		if !names[name] {
			t.Errorf("documented, but there is no %s", name)
		}
	}
	for _, file := range []string{"channels.go", "notify.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`"(?:ALERT|SLACK|HEALTHCHECK)_\w+"`).FindAllString(string(source), -1) {
			if !strings.Contains(page, strings.Trim(name, `"`)) {
				t.Errorf("not documented: %s", name)
			}
		}
	}
	source, err := os.ReadFile("../result.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`Code += "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
		if !strings.Contains(page, "| `"+m[1]+"` |") {
			t.Errorf("not documented: the code %s", m[1])
		}
	}
}

// TestSchema: docs/report.schema.json has the fields of a report, requires those
// that are always there, and docs/REPORTS.md names each.
func TestSchema(t *testing.T) {
	t.Parallel()
	type object struct {
		Required   []string
		Properties map[string]json.RawMessage
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	text, err := os.ReadFile("../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/REPORTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		typ reflect.Type
		object
	}{
		"report":  {reflect.TypeFor[verify.Report](), schema.object},
		"backup":  {reflect.TypeFor[verify.Backup](), schema.Defs["backup"]},
		"finding": {reflect.TypeFor[verify.Finding](), schema.Defs["finding"]},
		"key":     {reflect.TypeFor[verify.Key](), schema.Defs["key"]},
	} {
		fields := 0
		for f := range c.typ.Fields() {
			tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || tag == "-" {
				continue
			}
			fields++
			if c.Properties[tag] == nil || slices.Contains(c.Required, tag) != (options == "") || !strings.Contains(string(page), "`"+tag+"`") {
				t.Errorf("%s: %s is not in the schema and the documents as it is in the program", name, tag)
			}
		}
		if fields != len(c.Properties) {
			t.Errorf("%s: the schema has %d fields, and not %d", name, len(c.Properties), fields)
		}
	}
}
