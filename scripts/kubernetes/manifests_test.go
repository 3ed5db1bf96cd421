// Package kubernetes holds manifests; this test keeps them true.
package kubernetes

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// decode returns the objects of all manifests. A field that its type does not
// know is an error.
func decode(t *testing.T) (objects map[string]any) {
	t.Helper()
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	texts := make(map[string][]byte)
	for _, file := range files {
		if texts[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return decodeAll(t, texts)
}

// decodeAll returns the objects of manifests, by where they are.
func decodeAll(t *testing.T, texts map[string][]byte) (objects map[string]any) {
	t.Helper()
	objects = make(map[string]any)
	for file, text := range texts {
		for i, document := range bytes.Split(text, []byte("\n---\n")) {
			var kind metav1.TypeMeta
			if err := yaml.Unmarshal(document, &kind); err != nil {
				t.Fatalf("%s, document %d: %v", file, i, err)
			}
			object := map[string]any{
				"v1/Namespace": &corev1.Namespace{}, "v1/ServiceAccount": &corev1.ServiceAccount{}, "v1/ConfigMap": &corev1.ConfigMap{},
				"v1/PersistentVolumeClaim": &corev1.PersistentVolumeClaim{}, "batch/v1/CronJob": &batchv1.CronJob{}, "batch/v1/Job": &batchv1.Job{},
			}[kind.APIVersion+"/"+kind.Kind]
			if object == nil {
				t.Fatalf("%s, document %d: what is %+v?", file, i, kind)
			}
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				t.Fatalf("%s, document %d: %v", file, i, err)
			}
			name := object.(metav1.Object).GetName()
			if objects[kind.Kind+"/"+name] != nil || name == "" {
				t.Errorf("%s: %s %q is there twice", file, kind.Kind, name)
			}
			objects[kind.Kind+"/"+name] = object
		}
	}
	return objects
}

func TestManifests(t *testing.T) {
	t.Parallel()
	objects := decode(t)
	jobs := 0
	for name, object := range objects {
		if meta := object.(metav1.Object); meta.GetNamespace() != "backup" && !strings.HasPrefix(name, "Namespace/") {
			t.Errorf("%s is in namespace %q", name, meta.GetNamespace())
		}
		switch o := object.(type) {
		case *batchv1.CronJob:
			if o.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent || len(strings.Fields(o.Spec.Schedule)) != 5 {
				t.Errorf("%s: %+v", name, o.Spec)
			}
			checkJob(t, name, o.Spec.JobTemplate.Spec, objects)
		case *batchv1.Job:
			checkJob(t, name, o.Spec, objects)
		default:
			continue
		}
		jobs++
	}
	// Somebody is told: by the weekly job, and by the one that joins the reports of shards.
	for _, job := range []batchv1.JobSpec{
		objects["CronJob/takumi-backup-verify"].(*batchv1.CronJob).Spec.JobTemplate.Spec, objects["Job/takumi-backup-fleet-merge"].(*batchv1.Job).Spec,
	} {
		if args := job.Template.Spec.Containers[0].Args; !slices.Contains(args, "--notify") {
			t.Errorf("nobody is told by %q", args)
		}
	}
	if jobs != 7 {
		t.Errorf("there are %d jobs", jobs)
	}
}

// TestChart: Helm takes the chart, and what it makes of it says the same as the manifests.
func TestChart(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1, as scripts/test --long does, to run this test")
	}
	helm := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "helm.sh/helm/v3/cmd/helm@v3.19.4"}, args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("helm %q: %v\n%s%s", args, err, out, &stderr)
		}
		return out
	}
	helm("lint", "--strict", "chart")
	text := helm("template", "takumi-backup", "chart", "--namespace", "backup")
	made := decodeAll(t, map[string][]byte{"chart": bytes.TrimPrefix(bytes.TrimSpace(text), []byte("---\n"))})
	written := decode(t)
	for _, name := range []string{"ServiceAccount/takumi-backup", "ConfigMap/takumi-backup", "CronJob/takumi-backup-verify", "CronJob/takumi-backup-drill"} {
		if !equality.Semantic.DeepEqual(made[name], written[name]) {
			t.Errorf("%s:\n%+v\nand in the manifests\n%+v", name, made[name], written[name])
		}
	}
	backup, night := made["CronJob/takumi-backup-backup"].(*batchv1.CronJob), written["CronJob/takumi-backup"].(*batchv1.CronJob)
	if !equality.Semantic.DeepEqual(backup.Spec, night.Spec) {
		t.Errorf("the night:\n%+v\nand in the manifests\n%+v", backup.Spec, night.Spec)
	}
	if len(made) != 7 {
		t.Errorf("the chart makes %d objects", len(made))
	}
}

func checkJob(t *testing.T, name string, job batchv1.JobSpec, objects map[string]any) {
	t.Helper()
	bad := func(what string, value any) { t.Errorf("%s: %s: %+v", name, what, value) }
	pod := job.Template.Spec
	if s := pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		bad("the pod is not confined", s)
	}
	if pod.RestartPolicy != corev1.RestartPolicyNever || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		bad("the pod restarts, or has a token", pod.RestartPolicy)
	}
	if len(pod.Containers) != 1 {
		t.Fatalf("%s has %d containers", name, len(pod.Containers))
	}
	c := pod.Containers[0]
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
		s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || s.Capabilities.Add != nil {
		bad("the container is not confined", s)
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		bad("no resources", c.Resources)
	}
	volumes := make(map[string]corev1.Volume)
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
		switch claim := v.PersistentVolumeClaim; {
		case v.Secret != nil && (v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440):
			bad("the mode of a key", v.Name)
		case claim != nil && objects["PersistentVolumeClaim/"+claim.ClaimName] == nil:
			bad("no such claim", claim.ClaimName)
		}
	}
	for _, m := range c.VolumeMounts {
		if _, ok := volumes[m.Name]; !ok {
			bad("no such volume", m.Name)
		}
		delete(volumes, m.Name)
	}
	if len(volumes) > 0 {
		bad("not mounted", volumes)
	}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil && objects["ConfigMap/"+from.ConfigMapRef.Name] == nil {
			bad("no such settings", from.ConfigMapRef.Name)
		}
	}
	if job.CompletionMode == nil {
		return
	}
	// Shards: as many as the program is told, each with a state of its own.
	env := make(map[string]corev1.EnvVar)
	for _, e := range c.Env {
		env[e.Name] = e
	}
	index := env["JOB_COMPLETION_INDEX"].ValueFrom
	if *job.CompletionMode != batchv1.IndexedCompletion || job.Completions == nil || env["JOB_COMPLETIONS"].Value != strconv.Itoa(int(*job.Completions)) ||
		index == nil || index.FieldRef.FieldPath != fmt.Sprintf("metadata.annotations['%s']", batchv1.JobCompletionIndexAnnotation) {
		bad("the shards", c.Env)
	}
	for _, flag := range []string{"--state-dir=", "--audit-dir="} {
		if !slices.ContainsFunc(c.Args, func(arg string) bool {
			return strings.HasPrefix(arg, flag) && strings.Contains(arg, "$(JOB_COMPLETION_INDEX)")
		}) {
			bad("shards share what "+flag+" names", c.Args)
		}
	}
}
