// Package secrets_test holds what is in this folder against the program.
package secrets_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/takumi-backup/takumi-backup/keystore/secrets/checklist"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/rotation"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSets(t *testing.T) {
	c, err := rotation.ParseConfig([]byte(read(t, "sets.yaml")))
	if err != nil || len(c.Sets) != 4 || c.Sets["jwt"].Rollout.Timeout != rotation.DefaultTimeout {
		t.Errorf("%+v, %v", c, err)
	}
}

// The policies allow what the handbook does, and the checklist takes them.
func TestPolicies(t *testing.T) {
	found, err := checklist.Run(t.Context(), checklist.Options{Root: "."})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Errorf("%s: %s", f.Place(), f.Message)
	}
	for _, path := range []string{"iam-read.json", "iam-rotate.json"} {
		if !json.Valid([]byte(read(t, path))) {
			t.Errorf("%s is not JSON", path)
		}
	}
	read := read(t, "iam-read.json")
	for _, action := range regexp.MustCompile(`secretsmanager:\w+`).FindAllString(read, -1) {
		if action != "secretsmanager:GetSecretValue" && action != "secretsmanager:DescribeSecret" && action != "secretsmanager:REGION" {
			t.Errorf("a component may %s", action)
		}
	}
}

func TestWorkflow(t *testing.T) {
	var w struct {
		On struct {
			Schedule []struct{ Cron string }
			Dispatch struct {
				Inputs map[string]struct{ Type string }
			} `json:"workflow_dispatch"`
		}
		Permissions map[string]string
		Jobs        map[string]any
	}
	text := read(t, "rotate-jwt-secrets.yml")
	if err := yaml.Unmarshal([]byte(strings.Replace(text, "\non:", "\n\"on\":", 1)), &w); err != nil {
		t.Fatal(err)
	}
	in := w.On.Dispatch.Inputs
	if len(in) != 3 || in["environment"].Type != "choice" || in["force"].Type != "boolean" || in["dry_run"].Type != "boolean" || w.On.Schedule[0].Cron != "0 2 * * 0" || w.Permissions["contents"] != "read" {
		t.Errorf("%+v", w)
	}
	if strings.Contains(text, "secrets.AWS") || !strings.Contains(text, "retention-days: 90") {
		t.Error("it has long-lived credentials, or keeps no artifacts")
	}
	// What somebody types never becomes a part of the script.
	for _, m := range regexp.MustCompile(`(?m)^\s+run: (.*)$`).FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "${{") {
			t.Errorf("an expression is pasted into a script: %s", m[1])
		}
	}
}

func TestManifests(t *testing.T) {
	kinds := make(map[string]int)
	for document := range strings.SplitSeq(read(t, "kubernetes.yaml"), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
			Rules    []struct {
				Resources, ResourceNames, Verbs []string
			}
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		kinds[o.Kind]++
		if o.Metadata.Namespace != "takumi" {
			t.Errorf("%s is in %q", o.Metadata.Name, o.Metadata.Namespace)
		}
		for _, r := range o.Rules {
			if len(r.ResourceNames) != 1 || len(r.Verbs) != 2 {
				t.Errorf("the role is wide: %+v", r)
			}
		}
	}
	if kinds["CronJob"] != 2 || kinds["Role"] != 1 {
		t.Errorf("%v", kinds)
	}
}

// Each rule uses metrics that are written, and is whole.
func TestAlerts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.prom")
	if err := rotation.WriteMetrics(path, []*rotation.Status{{Set: "jwt", Environment: "production"}}); err != nil {
		t.Fatal(err)
	}
	metrics := read(t, path)
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				For                 string
				Labels, Annotations map[string]string
			}
		}
	}
	rules := "../monitoring/takumi-secrets.rules.yml"
	if err := yaml.UnmarshalStrict([]byte(strings.Replace(read(t, rules), "  - name: takumi-secrets\n    rules:", "  - rules:", 1)), &file); err != nil {
		t.Fatal(err)
	}
	for _, r := range file.Groups[0].Rules {
		if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s is not whole", r.Alert)
		}
		for _, name := range regexp.MustCompile(`takumi_\w+`).FindAllString(r.Expr, -1) {
			if !strings.Contains(metrics, "\n"+name+"{") {
				t.Errorf("%s uses %s, which nobody writes", r.Alert, name)
			}
		}
	}
	if tool, err := exec.LookPath("promtool"); err == nil {
		if out, err := exec.Command(tool, "check", "rules", rules).CombinedOutput(); err != nil {
			t.Errorf("promtool: %s", out)
		}
	}
}

// TestUnits: each timer has its service, which is confined and runs what there is.
func TestUnits(t *testing.T) {
	for _, name := range []string{"takumi-secrets-rotate", "takumi-secrets-finish"} {
		timer, unit := read(t, name+".timer"), read(t, name+".service")
		if !strings.Contains(timer, "Persistent=yes") || !strings.Contains(timer, "WantedBy=timers.target") {
			t.Errorf("%s.timer is not whole", name)
		}
		for _, line := range []string{"User=takumi-secrets", "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "LimitCORE=0", "UMask=0077"} {
			if !strings.Contains(unit, "\n"+line+"\n") {
				t.Errorf("%s lacks %s", name, line)
			}
		}
		if tool, err := exec.LookPath("systemd-analyze"); err == nil {
			out, _ := exec.Command(tool, "calendar", regexp.MustCompile(`OnCalendar=(.*)`).FindStringSubmatch(timer)[1]).CombinedOutput()
			if !strings.Contains(string(out), "Next elapse") {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}
