package rotation

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/kube"
)

// RolloutConfig says how components get new values: by a rolling restart of
// deployments, or by a command; none of both is not a rollout.
type RolloutConfig struct {
	Namespace   string   `json:"namespace"`
	Deployments []string `json:"deployments"`
	// Command restarts, and returns when all is up: docker compose up -d --no-deps
	// --force-recreate --wait backend. TAKUMI_ROTATION_ID names the rotation.
	Command []string `json:"command"`
	Timeout Duration `json:"timeout"`
}

func (c RolloutConfig) refuse(no func(string, ...any) error) error {
	if len(c.Deployments) > 0 && len(c.Command) > 0 {
		return no("rollout has deployments and a command")
	}
	return nil
}

// String says what is restarted.
func (c RolloutConfig) String() string {
	if len(c.Deployments) > 0 {
		return "deployments " + strings.Join(c.Deployments, ", ")
	}
	return strings.Join(c.Command, " ")
}

func newRoller(s *Set, production bool) (Roller, error) {
	switch c := s.Rollout; {
	case len(c.Deployments) > 0:
		return &kubeRoller{config: c, production: production, poll: time.Second}, nil
	case len(c.Command) > 0:
		return commandRoller{c}, nil
	}
	return nil, nil
}

type commandRoller struct{ config RolloutConfig }

func (r commandRoller) Check(context.Context) error {
	_, err := exec.LookPath(r.config.Command[0])
	return fail.As(fail.Usage, "", err)
}

func (r commandRoller) Roll(ctx context.Context, id string) error {
	_, err := runHook(ctx, r.config.Command, time.Duration(r.config.Timeout), nil, "TAKUMI_ROTATION_ID="+id)
	return err
}

// rolledFor is the annotation of the pods' template whose change restarts them. That it
// names the rotation keeps a run that goes on from restarting them once more.
const rolledFor = "takumi.dev/rotation"

type kubeRoller struct {
	config     RolloutConfig
	production bool
	poll       time.Duration

	once   sync.Once
	client *kube.Client
	err    error
}

// deployment is what is read of one (Deployment apps/v1).
type deployment struct {
	Metadata struct {
		Generation int64 `json:"generation"`
	} `json:"metadata"`
	Spec struct {
		Replicas *int32 `json:"replicas"`
		Template struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		Observed   int64 `json:"observedGeneration"`
		Replicas   int32 `json:"replicas"`
		Updated    int32 `json:"updatedReplicas"`
		Available  int32 `json:"availableReplicas"`
		Conditions []struct{ Type, Status, Reason string }
	} `json:"status"`
}

func (d *deployment) done() bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	return s.Observed >= d.Metadata.Generation && s.Updated == want && s.Replicas == want && s.Available >= want
}

func (d *deployment) stuck() bool {
	for _, c := range d.Status.Conditions {
		if c.Type == "Progressing" && c.Reason == "ProgressDeadlineExceeded" && d.Status.Observed >= d.Metadata.Generation {
			return true
		}
	}
	return false
}

func (r *kubeRoller) ask(ctx context.Context, method, name string, in any) (*deployment, error) {
	r.once.Do(func() { r.client, r.err = kube.New(r.production) })
	if r.err != nil {
		return nil, r.err
	}
	d := new(deployment)
	path := "/apis/apps/v1/namespaces/" + r.client.Namespace(r.config.Namespace) + "/deployments/" + name
	return d, r.client.Do(ctx, method, path, in, d)
}

func (r *kubeRoller) Check(ctx context.Context) error {
	for _, name := range r.config.Deployments {
		d, err := r.ask(ctx, http.MethodGet, name, nil)
		if err != nil {
			return fmt.Errorf("the deployment %s: %w", name, err)
		}
		if !d.done() {
			return fail.As(fail.Failed, "kubectl rollout status deployment/"+name, fmt.Errorf("the deployment %s is not settled: another rollout is under way, or pods are down", name))
		}
	}
	return nil
}

// Roll restarts all deployments at once, and waits for them.
func (r *kubeRoller) Roll(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(r.config.Timeout), fmt.Errorf("it was not done within %s", r.config.Timeout))
	defer cancel()
	for _, name := range r.config.Deployments {
		d, err := r.ask(ctx, http.MethodGet, name, nil)
		if err == nil && d.Spec.Template.Metadata.Annotations[rolledFor] != id {
			_, err = r.ask(ctx, http.MethodPatch, name, map[string]any{"spec": map[string]any{"template": map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{rolledFor: id}}}}})
		}
		if err != nil {
			return fmt.Errorf("restarting the deployment %s: %w", name, err)
		}
	}
	for _, name := range r.config.Deployments {
		if err := r.wait(ctx, name); err != nil {
			return fmt.Errorf("the deployment %s: %w", name, err)
		}
	}
	return nil
}

func (r *kubeRoller) wait(ctx context.Context, name string) error {
	for {
		d, err := r.ask(ctx, http.MethodGet, name, nil)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for its pods: %w", context.Cause(ctx))
		case err != nil:
			return err
		case d.done():
			return nil
		case d.stuck():
			return fail.As(fail.Failed, "kubectl describe deployment "+name, fmt.Errorf("its pods do not come up"))
		}
		select {
		case <-ctx.Done():
		case <-time.After(r.poll):
		}
	}
}
