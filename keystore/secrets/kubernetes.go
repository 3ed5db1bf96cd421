package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/kube"
)

// stateAnnotation keeps the rotation's state: in the data it would become a variable
// of every container that takes the whole Secret (envFrom).
const stateAnnotation = "takumi.dev/rotation-state"

func openKubernetes(place string, o Options) (Backend, error) {
	namespace, name, both := strings.Cut(place, "/")
	if !both {
		namespace, name = os.Getenv("KUBERNETES_NAMESPACE"), cmp.Or(place, "takumi-jwt-secrets")
	}
	if strings.Contains(name, "/") || name == "" {
		return nil, fail.Usagef("the secrets backend: a Secret is named kubernetes:NAMESPACE/NAME")
	}
	return &kubeSecret{namespace: namespace, name: name, production: o.production()}, nil
}

type kubeSecret struct {
	namespace, name string
	production      bool

	mu     sync.Mutex
	client *kube.Client
}

func (b *kubeSecret) String() string {
	return Kubernetes + ":" + cmp.Or(b.namespace, "default") + "/" + b.name
}

func (b *kubeSecret) Fetch(ctx context.Context, names []string) (map[string]string, error) {
	return fetchFrom(ctx, b, names)
}

func (b *kubeSecret) open() (*kube.Client, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client == nil {
		c, err := kube.New(b.production)
		if err != nil {
			return nil, "", err
		}
		b.client = c
	}
	return b.client, "/api/v1/namespaces/" + b.client.Namespace(b.namespace) + "/secrets", nil
}

// secretObject is a Secret as the API has it; what is not named here goes back as it
// came, by way of a merge patch.
type secretObject struct {
	APIVersion string            `json:"apiVersion,omitempty"`
	Kind       string            `json:"kind,omitempty"`
	Metadata   secretMeta        `json:"metadata"`
	Type       string            `json:"type,omitempty"`
	Data       map[string][]byte `json:"data"`
	Immutable  bool              `json:"immutable,omitempty"`
}

type secretMeta struct {
	Name            string            `json:"name,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations"`
}

type seenSecret struct {
	version string
	fields  []string
}

func (b *kubeSecret) Read(ctx context.Context) (*Document, error) {
	client, path, err := b.open()
	if err != nil {
		return nil, err
	}
	d := &Document{Fields: make(map[string]string), version: seenSecret{}}
	var obj secretObject
	err = client.Do(ctx, http.MethodGet, path+"/"+b.name, nil, &obj)
	switch {
	case errors.Is(err, kube.ErrNotFound):
		return d, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", b, err)
	case obj.Immutable:
		return nil, fail.As(fail.Key, "make it anew without immutable", fmt.Errorf("reading %s: the Secret is immutable, and cannot be rotated", b))
	}
	seen := seenSecret{version: obj.Metadata.ResourceVersion}
	for name, value := range obj.Data {
		d.Fields[name] = string(value)
		seen.fields = append(seen.fields, name)
	}
	d.State, d.version = obj.Metadata.Annotations[stateAnnotation], seen
	return d, nil
}

func (b *kubeSecret) Write(ctx context.Context, d *Document) error {
	client, path, err := b.open()
	if err != nil {
		return err
	}
	seen, ok := d.version.(seenSecret)
	if !ok {
		return errors.New("the document was not read from Kubernetes")
	}
	data := make(map[string]any)
	for _, name := range seen.fields {
		data[name] = nil // which takes it away, unless it is written below
	}
	for name, value := range d.Fields {
		data[name] = []byte(value)
	}
	annotations := map[string]any{stateAnnotation: emptyIsNil(d.State)}
	if seen.version == "" {
		obj := secretObject{APIVersion: "v1", Kind: "Secret", Type: "Opaque", Data: make(map[string][]byte)}
		obj.Metadata = secretMeta{Name: b.name, Annotations: map[string]string{stateAnnotation: d.State}}
		for name, value := range d.Fields {
			obj.Data[name] = []byte(value)
		}
		err = client.Do(ctx, http.MethodPost, path, obj, nil)
	} else {
		// A patch that names a resourceVersion is refused when that is no longer the
		// current one.
		err = client.Do(ctx, http.MethodPatch, path+"/"+b.name, map[string]any{
			"metadata": map[string]any{"resourceVersion": seen.version, "annotations": annotations}, "data": data,
		}, nil)
	}
	if errors.Is(err, kube.ErrConflict) {
		return fmt.Errorf("writing %s: %w", b, ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", b, err)
	}
	return nil
}

func emptyIsNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}
