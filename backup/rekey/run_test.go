package rekey_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestRun: all are told in order, whatever becomes of each, until somebody says stop.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const n = 6
	var names []string
	for i := range n {
		names = append(names, filepath.Join(dir, fmt.Sprint(i, ".enc")))
		write(t, names[i], 10, keyA)
	}
	enough, broken := errors.New("enough"), errors.New("broken")
	for name, tc := range map[string]struct {
		ready, told int // which call ends the batch, or -1
		shard       backup.Shard
		want        rekey.Tally
		err         error
	}{
		"all":           {-1, -1, backup.Shard{}, rekey.Tally{Found: n, Changed: 4, Skipped: 1, Failed: names[2:3], Last: broken}, nil},
		"not ready":     {0, -1, backup.Shard{}, rekey.Tally{Found: n}, enough},
		"told once":     {-1, 0, backup.Shard{}, rekey.Tally{Found: n, Changed: 1}, enough},
		"another shard": {-1, -1, backup.Shard{Index: 1, Count: 1}, rekey.Tally{Found: n, Changed: 4, Skipped: 1, Failed: names[2:3], Last: broken}, nil},
	} {
		var ready, done atomic.Int64
		var told []string
		found := 0
		c := rekey.Batch{Store: local.Folder{}, Paths: []string{dir}, Shard: tc.shard, Workers: 1, One: func(_ context.Context, path string) (rekey.Result, error) {
			switch path {
			case names[2]:
				return rekey.Result{}, broken
			case names[3]:
				return rekey.Result{Skipped: "nothing to do"}, nil
			}
			return rekey.Result{}, nil
		}}
		got, err := c.Run(t.Context(), rekey.Observer{
			Found: func(all []backup.Backup) { found = len(all) },
			Ready: func() error {
				if ready.Add(1)-1 == int64(tc.ready) {
					return enough
				}
				return nil
			},
			Done: func(context.Context, string, rekey.Result, error) { done.Add(1) },
			Result: func(path string, _ rekey.Result, _ error) error {
				if told = append(told, path); len(told)-1 == tc.told {
					return enough
				}
				return nil
			},
		})
		if !errors.Is(err, tc.err) || found != n || !slices.IsSorted(told) || int(done.Load()) < len(told) {
			t.Errorf("%s: %v, found %d, done %d, told %q", name, err, found, done.Load(), told)
		}
		if tc.told >= 0 { // what was under way may be through
			got.Changed, got.Failed, got.Last, got.Skipped = min(got.Changed, tc.want.Changed), nil, nil, 0
		}
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
	if _, err := (rekey.Batch{Store: local.Folder{}, Paths: []string{filepath.Join(dir, "none")}}).Run(t.Context(), rekey.Observer{}); err == nil {
		t.Error("a path of nothing is not an error")
	}
}

// TestApart: new keys and state are not kept with the backups.
func TestApart(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "x.enc")
	write(t, file, 10, keyA)
	inside := []keystore.Source{keystore.File{Path: filepath.Join(dir, "new.key")}}
	for name, tc := range map[string]struct {
		path      string
		keys      []keystore.Source
		stateDir  string
		given     bool
		stateFile string
		refused   bool
	}{
		"apart":                    {dir, nil, elsewhere, true, "", false},
		"a key with the backups":   {file, inside, elsewhere, false, "", true},
		"locks with a folder":      {dir, nil, dir, false, "", true},
		"locks with a file, usual": {file, nil, dir, false, "", false},
		"locks with a file, given": {file, nil, dir, true, "", true},
		"state with the backups":   {file, nil, elsewhere, false, filepath.Join(dir, "state"), true},
		"a bucket":                 {"s3://bucket/x", inside, dir, true, filepath.Join(dir, "state"), false},
	} {
		_, err := rekey.CheckOutside(tc.path, tc.keys, tc.stateDir, tc.given, tc.stateFile)
		if (err != nil) != tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		if class, _ := fail.Of(err); err != nil && tc.keys == nil && class != fail.Usage {
			t.Errorf("%s: class %v", name, class)
		}
	}
}
