package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestFolderChoose: a flag wins over the settings, one that is false too; what does not go
// together is a mistake.
func TestFolderChoose(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "patterns")
	if err := os.WriteFile(file, []byte("# these\n*.log\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	zstd := pack.Options{Codec: pack.Zstd}
	for name, tc := range map[string]struct {
		flags   backup.Folder
		changed string
		job     backup.Job
		environ []string
		want    string // of the error
		strict  bool
		every   time.Duration // 0: not incremental
	}{
		"nothing":             {job: backup.Job{Pack: zstd}},
		"settings":            {job: backup.Job{Pack: zstd}, environ: []string{"UPLOADS_STRICT=true", "UPLOADS_INCREMENTAL=true", "UPLOADS_FULL_EVERY=3d"}, strict: true, every: 72 * time.Hour},
		"default interval":    {job: backup.Job{Pack: zstd}, environ: []string{"UPLOADS_INCREMENTAL=true"}, every: 168 * time.Hour},
		"a flag is false":     {changed: "strict incremental", job: backup.Job{Pack: zstd}, environ: []string{"UPLOADS_STRICT=true", "UPLOADS_INCREMENTAL=true"}},
		"into a file":         {job: backup.Job{Pack: zstd, To: backup.Dest{Path: "/x"}}, environ: []string{"UPLOADS_INCREMENTAL=true"}},
		"a file by flags":     {flags: backup.Folder{Incremental: true}, changed: "incremental", job: backup.Job{Pack: zstd, To: backup.Dest{Path: "/x"}}, want: "--incremental makes"},
		"gzip":                {flags: backup.Folder{Incremental: true}, changed: "incremental", job: backup.Job{Pack: pack.Options{Codec: pack.Gzip}}, want: "--incremental makes"},
		"plain":               {flags: backup.Folder{Incremental: true}, changed: "incremental", job: backup.Job{Pack: zstd, Plain: true}, want: "--incremental makes"},
		"interval alone":      {changed: "full-every", job: backup.Job{Pack: zstd}, want: "go with --incremental"},
		"no interval":         {flags: backup.Folder{Incremental: true}, changed: "incremental full-every", job: backup.Job{Pack: zstd}, want: "--full-every is 0s"},
		"bad interval":        {environ: []string{"UPLOADS_FULL_EVERY=often"}, want: "UPLOADS_FULL_EVERY: "},
		"not a truth":         {environ: []string{"UPLOADS_STRICT=maybe"}, want: "UPLOADS_STRICT"},
		"no such file":        {flags: backup.Folder{ExcludeFrom: []string{file + "2"}}, want: "--exclude-from: "},
		"bad pattern":         {flags: backup.Folder{Exclude: []string{"["}}, want: "--exclude: "},
		"patterns everywhere": {flags: backup.Folder{Exclude: []string{"/cache"}}, job: backup.Job{Pack: zstd}, environ: []string{"UPLOADS_EXCLUDE=*.tmp", "UPLOADS_EXCLUDE_FROM=" + file}},
	} {
		f := tc.flags
		changed := func(flag string) bool { return strings.Contains(" "+tc.changed+" ", " "+flag+" ") }
		err := f.Choose(config.Environment(tc.environ), changed, &tc.job)
		if class, _ := fail.Of(err); tc.want != "" {
			if err == nil || class != fail.Usage || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || f.Strict != tc.strict || f.Incremental != (tc.every > 0) || f.Incremental && f.FullEvery != tc.every {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		if name == "patterns everywhere" {
			for path, out := range map[string]bool{"a/b.tmp": true, "cache": true, "x.log": true, "a/cache": false} {
				if f.Tree.Exclude.Match(path, false) != out {
					t.Errorf("%s is left out: %v", path, !out)
				}
			}
		}
	}
}

// TestFolderBackup: what is not in the backup is a failure, which is made all the same; a
// pattern that matches nothing is reported; and backups do not go into what is backed up.
func TestFolderBackup(t *testing.T) {
	t.Parallel()
	dir, root := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said []string
	f := backup.Folder{Exclude: []string{"nothing"}, Warn: func(format string, _ ...any) { said = append(said, format) }}
	job := backup.Job{Pack: pack.Options{Codec: pack.Zstd}}
	if err := f.Choose(config.Environment(nil), func(string) bool { return false }, &job); err != nil {
		t.Fatal(err)
	}
	stats := backup.TreeStats{}
	run := func(context.Context, backup.Job) (*backup.Made, error) { return &backup.Made{Tree: &stats}, nil }
	for _, tc := range []struct {
		stats         backup.TreeStats
		strict, quiet bool
		want          error
		said          int
	}{
		{said: 1},
		{stats: backup.TreeStats{Problems: 1, Changed: 1}, said: 2},
		{stats: backup.TreeStats{Problems: 1, Changed: 1}, quiet: true, said: 1},
		{stats: backup.TreeStats{Problems: 1, Changed: 1}, strict: true, want: fail.ErrSome, said: 2},
		{stats: backup.TreeStats{Problems: 1, Unread: 1}, quiet: true, want: fail.ErrSome, said: 2},
	} {
		said, stats, f.Strict, f.Quiet = nil, tc.stats, tc.strict, tc.quiet
		if err := f.Backup(t.Context(), job, run, dir); !errors.Is(err, tc.want) || len(said) != tc.said {
			t.Errorf("%+v: %v, %q", tc, err, said)
		}
	}
	f.Warn = nil // who does not listen
	if err := f.Backup(t.Context(), job, run, dir); !errors.Is(err, fail.ErrSome) {
		t.Error(err)
	}
	if err := backup.CheckApart(dir, "s3://a/b", root); err != nil {
		t.Error(err)
	}
	if err := backup.CheckApart(dir, root, filepath.Join(dir, "later")); err == nil {
		t.Error("backups may go into what is backed up")
	}
}
