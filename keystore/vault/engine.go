package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/takumi-backup/takumi-backup/keystore"
)

type engine struct {
	Type    string `json:"type"` // "" when Vault does not say
	Path    string `json:"path"` // with a slash at its end
	Options struct {
		Version string `json:"version"`
	} `json:"options"`
}

// engine asks for the mount, as Vault's own command line does; any token that
// may do something below the mount may ask. Where there is no answer the zero
// engine comes back: it is asked for only to say more about a failure.
func (s Secret) engine(ctx context.Context) engine {
	status, body, err := s.get(ctx, "sys/internal/ui/mounts/"+s.mount+"/"+s.path, nil)
	if err != nil || status != http.StatusOK {
		return engine{}
	}
	var answer struct {
		Data engine `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return engine{}
	}
	return answer.Data
}

// mustBeVersioned refuses a mount of which it is known that it is no KV v2. A
// KV v1 would take the write, and keep no former key.
func (s Secret) mustBeVersioned(ctx context.Context) error {
	e := s.engine(ctx)
	switch {
	case e.Type == "":
		return nil
	case e.Path != s.mount+"/" || e.Type != "kv" && e.Type != "generic":
		return s.absentFrom(e)
	case e.Options.Version != "2":
		return s.notVersioned()
	}
	return nil
}

func (s Secret) absent(ctx context.Context) error { return s.absentFrom(s.engine(ctx)) }

func (s Secret) absentFrom(e engine) error {
	fault := s.fail(keystore.ErrNotFound, "")
	mounted := strings.TrimSuffix(clean(e.Path), "/")
	below, isBelow := strings.CutPrefix(s.mount+"/"+s.path, mounted+"/")
	_, dataFirst := strings.CutPrefix(s.path, "data/")
	switch {
	case e.Type == "":
		fault.Reason = fmt.Sprintf("there is no secret %s in %s, and perhaps no such mount", s.path, s.mount)
		fault.Fix = "compare the mount with `vault secrets list`; " + s.putHint()
	case e.Type != "kv" && e.Type != "generic":
		fault.Kind = keystore.ErrRefused
		fault.Reason = fmt.Sprintf("what is mounted at %s is not a KV secrets engine but %s", mounted, clean(e.Type))
	case mounted != s.mount && isBelow:
		fault.Reason = fmt.Sprintf("the mount is called %s", mounted)
		fault.Fix = "write vault:" + mounted + "//" + below
	case e.Options.Version != "2":
		return s.notVersioned()
	case s.version > 0:
		fault.Reason = fmt.Sprintf("there is no version %d of it", s.version)
		fault.Fix = s.showVersions()
	case dataFirst:
		fault.Reason = fmt.Sprintf("there is no secret %s in %s", s.path, s.mount)
		fault.Fix = "leave out data/, which belongs to the HTTP API only"
	default:
		fault.Reason = fmt.Sprintf("there is no secret %s in %s", s.path, s.mount)
		fault.Fix = s.putHint()
	}
	return fault
}

func (s Secret) putHint() string {
	return fmt.Sprintf("put a key there with takumi-backup key store, or vault kv put -mount=%s %s %s=@KEYFILE",
		shellWord(s.mount), shellWord(s.path), shellWord(s.field))
}

func (s Secret) showVersions() string {
	return fmt.Sprintf("vault kv metadata get -mount=%s %s shows which there are", shellWord(s.mount), shellWord(s.path))
}

func (s Secret) undelete(version int) string {
	return fmt.Sprintf("vault kv undelete -mount=%s -versions=%d %s", shellWord(s.mount), version, shellWord(s.path))
}

func (s Secret) goneError(c content) error {
	e := s.fail(keystore.ErrNotFound, fmt.Sprintf("version %d %s", c.number, c.gone))
	if strings.Contains(c.gone, "destroyed") {
		e.Fix = "use another copy of the key, or another version: " + s.showVersions()
	} else {
		e.Fix = s.undelete(c.number)
	}
	return e
}

func (s Secret) notVersioned() error {
	e := s.fail(keystore.ErrRefused, fmt.Sprintf("what is mounted at %s is not version 2 of the KV secrets engine, which keys need: version 1 keeps no former key", s.mount))
	e.Fix = fmt.Sprintf("vault kv enable-versioning %s, or use another mount", shellWord(s.mount))
	return e
}
