package rekey

import (
	"context"
	"errors"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// shaky is a place of keys that gives one after the other.
type shaky struct{ keys *[]*kek.Key }

func (s shaky) String() string { return "test:shaky" }

func (s shaky) Load(context.Context) (*kek.Key, error) {
	if len(*s.keys) == 0 {
		return nil, &keystore.Error{URI: s.String(), Kind: keystore.ErrUnreachable, Reason: "no answer"}
	}
	key := (*s.keys)[0]
	*s.keys = (*s.keys)[1:]
	return kek.New(key.Bytes())
}

// TestReadBack: a new key counts only when its place gives it again.
func TestReadBack(t *testing.T) {
	t.Parallel()
	first, other := kek.Generate(), kek.Generate()
	for name, tc := range map[string]struct {
		gives []*kek.Key
		want  error
	}{
		"the same":    {[]*kek.Key{first}, nil},
		"another one": {[]*kek.Key{other}, keystore.ErrConflict},
		"none":        {nil, keystore.ErrUnreachable},
	} {
		if err := proveKey(t.Context(), shaky{&tc.gives}, first); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}
