package local_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// reencrypted re-encrypts the backup at path. It may find it done, in a run that
// keeps account.
func reencrypted(t testing.TB, state, path string, from, to *kek.Key, keeps bool) error {
	ring, readBack := keystore.NewRing(held{from}), keystore.NewRing(held{to})
	defer ring.Close()
	defer readBack.Close()
	var account *rekey.State
	if keeps {
		var err error
		if account, err = rekey.Begin(filepath.Join(state, "account"), []string{string(to.ID())}); err != nil {
			t.Fatal(err)
		}
		defer account.End(false)
	}
	_, err := rekey.Reencrypt(t.Context(), path, rekey.ReencryptOptions{ReadBack: readBack, State: account, Options: rekey.Options{
		Store: local.Folder{}, StateDir: state, From: ring, To: slot.Recipients(to), Meter: new(backup.Meter),
	}})
	return err
}

// TestReencryptAtEveryPoint lets each system call of a re-encryption fail in turn,
// or the program die before it, or in the middle of it. The next run finds the
// account of the one before, or there is none.
func TestReencryptAtEveryPoint(t *testing.T) {
	good := func(string) local.Fate { return local.Proceed }
	fate := good
	local.Interpose(t, func(op string) local.Fate { return fate(op) })
	for _, start := range []struct {
		name    string
		account bool
		beside  bool // an envelope is next to it
		points  int  // calls, so that none goes missing unseen
	}{
		{"with an account, and an envelope next to it", true, true, 24}, {"without", false, false, 16},
	} {
		between := 0 // how often the sidecar was not that of the file
		for _, mode := range []struct {
			name        string
			fate, after local.Fate
		}{
			{"fails", local.Tear, local.Proceed}, {"dies before", local.Refuse, local.Refuse}, {"dies within", local.Tear, local.Refuse},
		} {
			for point := 0; ; point++ {
				path, state := begin(t), t.TempDir()
				before, err := os.ReadFile(path)
				if err == nil && start.beside {
					err = os.WriteFile(path+envelope.DetachedSuffix, before[:envelope.Unit], 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				count, op := 0, ""
				fate = func(call string) local.Fate {
					count++
					switch {
					case count-1 < point:
						return local.Proceed
					case count-1 == point:
						op = call
						return mode.fate
					}
					return mode.after
				}
				err = reencrypted(t, state, path, oldKey, newKey, start.account)
				fate = good
				what := fmt.Sprintf("%s, %s call %d, %s", start.name, mode.name, point, op)
				if op == "" {
					if err != nil || point != start.points {
						t.Errorf("%s: %d calls, want %d; error %v", what, point, start.points, err)
					}
					break
				}
				opens := opensWith(t, path, oldKey, newKey)
				if len(opens) == 0 {
					t.Fatalf("%s: no key opens it", what)
				}
				swapped := opens[0] == newKey.ID()
				if now, _ := os.ReadFile(path); !swapped && !bytes.Equal(now, before) {
					t.Errorf("%s: the old backup has changed", what)
				}
				if !sidecarHolds(t, path) {
					between++
				}
				// The next run finishes, whatever there is.
				from := oldKey
				if !start.account && swapped {
					from = newKey
				}
				if err := reencrypted(t, state, path, from, newKey, start.account); err != nil {
					t.Errorf("%s: the next run: %v", what, err)
				}
				var names []string
				entries, _ := os.ReadDir(filepath.Dir(path))
				for _, e := range entries {
					names = append(names, e.Name())
				}
				if len(opensWith(t, path, newKey)) != 1 || !sidecarHolds(t, path) || !slices.Equal(names, []string{"x.enc", "x.enc.sha256"}) {
					t.Errorf("%s: after the next run: sidecar %v, files %q", what, sidecarHolds(t, path), names)
				}
			}
		}
		if between == 0 {
			t.Errorf("%s: nothing fell between the two renames", start.name)
		}
	}
}
