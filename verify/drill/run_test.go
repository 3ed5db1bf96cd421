package drill

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
)

// held is a store with two archives of uploads, the drill of it, and what it said.
func held(t *testing.T) (Options, Observer, *[]string) {
	t.Helper()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := keystore.WriteFile(keyFile, kek.Generate()); err != nil {
		t.Fatal(err)
	}
	keys := keystore.NewRing(keystore.File{Path: keyFile})
	t.Cleanup(func() { keys.Close() })
	to, err := keys.Recipients(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "store")
	place, err := store.Open(root, store.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./a", Mode: 0o600, Size: 1}))
		_, err2 := w.Write([]byte("x"))
		if err := errors.Join(err, err2, w.Close()); err != nil {
			t.Fatal(err)
		}
		job := backup.Job{
			Source: backup.From(&archive), Created: time.Now().Add(time.Duration(n-2) * time.Hour), Recipients: to, Store: place,
			Kind: backup.KindUploads, To: backup.Dest{Root: root},
		}
		if _, err := job.Run(t.Context(), backup.Observer{}); err != nil {
			t.Fatal(err)
		}
	}
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	stage := rehearse.New(rehearse.Options{Place: place, Keys: keys, ScratchDir: scratch})
	t.Cleanup(func() {
		if left, err := os.ReadDir(scratch); stage.Close() != nil || err != nil || len(left) > 0 {
			t.Errorf("in the scratch folder: %v, %v", left, err)
		}
	})
	said := new([]string)
	obs := Observer{
		Warn:       func(format string, _ ...any) { *said = append(*said, "warning: "+format) },
		Rehearsing: func(Picked, *backup.Meter) func() { return func() {} },
		Rehearsed: func(_ Picked, r *Result, m *backup.Meter) {
			*said = append(*said, "rehearsed "+r.Kind)
			if m.In() == 0 {
				t.Error("nothing was read")
			}
		},
		Checkpoint: func() (json.RawMessage, error) {
			*said = append(*said, "checkpoint")
			return json.RawMessage(`{"signed":1}`), nil
		},
	}
	return Options{Store: place, Root: root, Latest: true, Keys: keys, Stage: stage, Page: filepath.Join(dir, "page.md")}, obs, said
}

// TestHeld: a drill restores the newest, is written down with the checkpoint of what it
// recorded, and leaves nothing in the scratch folder.
func TestHeld(t *testing.T) {
	t.Parallel()
	o, obs, said := held(t)
	r, err := o.Run(t.Context(), obs)
	if err != nil || !r.Passed || len(r.Results) != 1 || r.Results[0].Files != 1 || r.Results[0].RPO > 2*3600 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := strings.Join(*said, ", "); got != "rehearsed uploads, checkpoint" {
		t.Errorf("it said %q", got)
	}
	if text, err := os.ReadFile(o.Page); err != nil || !strings.Contains(string(text), ": passed\n") || !strings.Contains(string(text), `"signed"`) {
		t.Errorf("%v, %s", err, text)
	}
	// A newer one that cannot be opened: the newest was not restored.
	damaged := filepath.Join(filepath.Dir(r.Results[0].Path), "uploads_29991231_235959.tar.zst.enc")
	newest, err := os.ReadFile(r.Results[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, newest[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	*said = nil
	if r, err = o.Run(t.Context(), obs); err != nil || r.Passed || len(r.Faults()) != 1 || r.PassedOver != 1 || !strings.Contains(r.Results[0].Error, "is not the newest") {
		t.Errorf("%+v, %v", r, err)
	}
	if len(*said) != 3 || !strings.HasPrefix((*said)[0], "warning: ") {
		t.Errorf("it said %q", *said)
	}
}

// TestNotHeld: a drill that cannot begin is written down as one that failed, but for a
// mistake on the command line, and for one that was stopped.
func TestNotHeld(t *testing.T) {
	t.Parallel()
	o, obs, _ := held(t)
	without := o
	without.Stage = rehearse.New(rehearse.Options{Place: o.Store, Keys: o.Keys})
	missing := o
	missing.Kinds = []string{backup.KindDatabase}
	noKey := o
	noKey.Fault = errors.New("the key is gone")
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no key":   {noKey, "the key is gone"},
		"no place": {without, rehearse.ErrNoPlace.Error()},
		"no kind":  {missing, ErrNone.Error()},
	} {
		c.o.Page = filepath.Join(t.TempDir(), "page.md")
		r, err := c.o.Run(t.Context(), obs)
		if err == nil || r == nil || r.Passed || !strings.Contains(r.Error, c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if text, err := os.ReadFile(c.o.Page); err != nil || !strings.Contains(string(text), ": FAILED\n") || !strings.Contains(string(text), c.want) {
			t.Errorf("%s: %v, %s", name, err, text)
		}
	}
	mistake := o
	mistake.Fault = fail.Usagef("a flag is wrong")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		ctx context.Context
		o   Options
	}{{t.Context(), mistake}, {stopped, o}} {
		if r, err := c.o.Run(c.ctx, obs); r != nil || err == nil {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if _, err := os.Stat(o.Page); err == nil {
		t.Error("it was written down")
	}
	unwritable := o
	unwritable.Page = filepath.Dir(o.Page)
	if r, err := unwritable.Run(t.Context(), obs); r != nil || err == nil || !strings.Contains(err.Error(), "writing the drill down") {
		t.Errorf("%+v, %v", r, err)
	}
}
