package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// aged puts a backup into the store that was made so many days ago, with its
// sidecar, and returns its path. The file itself is new.
func (b *sandbox) aged(days int, digits string) string {
	b.Helper()
	return b.agedAs("database", ".sql", agedFrom().Add(-time.Duration(days)*values.Day-time.Hour), digits)
}

// agedDump is what the backups of aged hold: rows, since a dump without any never
// counts as the latest.
var agedDump = "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.t (id integer);\n\nCOPY public.t (id) FROM stdin;\n" +
	strings.Repeat("1\n", 100_000) + "\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n"

// agedFrom is one time for all, so that ages differ by whole days.
var agedFrom = sync.OnceValue(time.Now)

func (b *sandbox) agedAs(kind, ending string, created time.Time, digits string) string {
	b.Helper()
	material, err := hex.DecodeString(digits)
	if err != nil {
		b.Fatal(err)
	}
	key, err := kek.New(material)
	if err != nil {
		b.Fatal(err)
	}
	name := "takumi_db_" + created.UTC().Format("20060102_150405") + ending
	var content bytes.Buffer
	w, err := envelope.NewWriter(b.Context(), &content, envelope.Label{Created: created, Kind: kind, Name: name, Codec: "none"}, key)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.WriteString(w, agedDump); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	dir := b.path("store/database")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, name+".enc")
	writeFile(b, path, content.Bytes())
	writeFile(b, path+".sha256", []byte(store.FormatSidecar(sha256.Sum256(content.Bytes()), filepath.Base(path))))
	return path
}

// damage flips a bit of a file.
func damage(t *testing.T, path string, at int) {
	t.Helper()
	content := readFile(t, path)
	content[(at+len(content))%len(content)] ^= 4
	writeFile(t, path, content)
}

// TestPrune: which backups stay, by the days of their age; damage is to the
// middle, which only reading to the end finds, or to the last chunk.
func TestPrune(t *testing.T) {
	for name, tc := range map[string]struct {
		ages, foreign []int
		middle, last  []int
		cut           []int // without a sidecar
		args          []string
		env           string
		code          int
		stay          []int
	}{
		"a month":                  {ages: []int{0, 29, 30, 300}, stay: []int{0, 29}},
		"RETENTION_DAYS":           {ages: []int{0, 6, 7, 29}, env: "RETENTION_DAYS=7", stay: []int{0, 6}},
		"a job that stopped":       {ages: []int{150, 160, 179, 180}, stay: []int{150, 160, 179}},
		"monthly":                  {ages: []int{0, 31, 62, 93}, args: []string{"--keep-within", "1d", "--keep-monthly", "3"}, stay: []int{0, 31, 62}},
		"from the future":          {ages: []int{-300, 40, 80}, stay: []int{-300, 40}},
		"none but the future":      {ages: []int{-300, -301}, stay: []int{-300, -301}},
		"the newest is damaged":    {ages: []int{0, 40, 80}, middle: []int{0}, code: exitSome, stay: []int{0, 40}},
		"its last chunk is":        {ages: []int{0, 40, 80}, last: []int{0}, code: exitSome, stay: []int{0, 40}},
		"the newest two are":       {ages: []int{0, 1, 40, 80}, middle: []int{1}, last: []int{0}, code: exitSome, stay: []int{0, 1, 40}},
		"all are":                  {ages: []int{0, 40, 80}, middle: []int{0, 40, 80}, code: exitSome, stay: []int{0, 40, 80}},
		"all but the oldest are":   {ages: []int{0, 40, 80}, middle: []int{0, 40}, code: exitSome, stay: []int{0, 40, 80}},
		"another key's":            {ages: []int{40, 80}, foreign: []int{0, 60}, stay: []int{0, 40, 60}},
		"all another key's":        {foreign: []int{0, 60}, code: exitKey, stay: []int{0, 60}},
		"the newest is incomplete": {ages: []int{0, 40, 80}, cut: []int{0}, stay: []int{0, 40}},
		"an old one is":            {ages: []int{0, 40, 80}, cut: []int{40}, stay: []int{0}},
		"damage to what goes":      {ages: []int{0, 40, 80}, last: []int{80}, code: exitSome, stay: []int{0, 80}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSandbox(t)
			if tc.env != "" {
				b.env = append(b.env, tc.env)
			}
			paths := make(map[int]string)
			for _, age := range tc.ages {
				paths[age] = b.aged(age, mainKey)
			}
			for _, age := range tc.foreign {
				paths[age] = b.aged(age, otherKey)
			}
			for _, age := range tc.middle {
				damage(t, paths[age], 100_000)
			}
			for _, age := range tc.last {
				damage(t, paths[age], -1)
			}
			for _, age := range tc.cut {
				if err := os.Remove(paths[age] + ".sha256"); err != nil {
					t.Fatal(err)
				}
			}
			before := files(t, b.path("store"))
			b.run(tc.code, nil, append([]string{"prune"}, tc.args...)...)
			if got := files(t, b.path("store")); !slices.Equal(got, before) {
				t.Fatalf("a dry run left %q", got)
			}
			var want []string
			for _, age := range tc.stay {
				name := "store/database/" + filepath.Base(paths[age])
				if want = append(want, name); !slices.Contains(tc.cut, age) {
					want = append(want, name+".sha256")
				}
			}
			for range 2 {
				b.run(tc.code, nil, append([]string{"prune", "--apply"}, tc.args...)...)
				b.holds(want...)
			}
		})
	}
}

// TestPruneManifests: a manifest stays as long as its backup, and goes with it.
func TestPruneManifests(t *testing.T) {
	b := newSandbox(t)
	dumps, manifests := make(map[int]string), make(map[int]string)
	hour := time.Now().Truncate(time.Hour)
	at := func(age int) time.Time { return hour.Add(-time.Duration(age) * values.Day) }
	for age := range 5 {
		dumps[age] = b.agedAs("database", ".sql", at(age), mainKey)
		manifests[age] = b.agedAs("manifest", ".manifest.json", at(age), mainKey)
	}
	custom := b.agedAs("database", ".dump", at(4), mainKey) // shares the manifest, and is the newest of its own name
	orphan := b.agedAs("manifest", ".manifest.json", at(9), mainKey)
	damage(t, dumps[0], -1)
	b.run(exitSome, nil, "prune", "--keep-within", "0", "--keep-last", "2", "--apply")
	for age := range 5 {
		want := age < 3 // the damaged one, and two
		if got, with := exists(dumps[age]), exists(manifests[age]); got != want || with != (want || age == 4) || with != exists(manifests[age]+".sha256") {
			t.Errorf("%d days: backup %v, manifest %v, want %v", age, got, with, want)
		}
	}
	if !exists(custom) {
		t.Error("the only one of its name is gone")
	}
	if exists(orphan) {
		t.Error("a manifest without its backup, which no rule keeps, is still there")
	}
}

// TestPruneLocked: a second prune does not start.
func TestPruneLocked(t *testing.T) {
	b := newSandbox(t)
	b.aged(40, mainKey)
	b.aged(80, mainKey)
	before := files(t, b.dir)
	lock, err := fsutil.LockFolder(b.path("store"))
	if err != nil || lock == nil {
		t.Fatalf("%v, %v", lock, err)
	}
	b.run(exitFailed, nil, "prune", "--apply").says("another run holds the lock")
	b.holds(before...)
	b.run(exitOK, nil, "prune") // looking is free
	lock.Release()
	b.run(exitOK, nil, "prune", "--apply")
	if got := files(t, b.dir); len(got) != 2 {
		t.Errorf("left: %q", got)
	}
}

// TestPruneUntold: what cannot be told is not done.
func TestPruneUntold(t *testing.T) {
	b := newSandbox(t)
	b.aged(40, mainKey)
	b.aged(80, mainKey)
	before := files(t, b.dir)
	cmd := b.program("prune", "--apply")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd.Stdout = w
	run := b.start(cmd)
	w.Close()
	run.exits(exitFailed)
	b.holds(before...)
}

// TestPruneRefused: a store that lets nothing go is exit 7, a folder of it
// exit 6.
func TestPruneRefused(t *testing.T) {
	needIntegration(t)
	b := newSandbox(t)
	b.aged(40, mainKey)
	b.aged(80, mainKey)
	before := files(t, b.dir)
	mount := func(args ...string) {
		t.Helper()
		if out, err := b.command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	store := b.path("store")
	mount("--bind", store, store)
	t.Cleanup(func() { exec.Command("umount", store).Run() })
	mount("-o", "remount,bind,ro", store)
	refused := b.run(exitStore, nil, "prune", "--apply").says("no backup could be deleted")
	if !strings.Contains(refused.stdout.String(), "FAILED") {
		t.Errorf("standard output: %s", refused.stdout.Bytes())
	}
	b.holds(before...)
	b.run(exitOK, nil, "prune").says("1 to delete")
}

// TestPruneFullDisk: deleting is what makes room, and must not need any.
func TestPruneFullDisk(t *testing.T) {
	needIntegration(t)
	b := newSandbox(t)
	store := b.path("store")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=8", "tmpfs", store).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", store).Run() })
	b.aged(40, mainKey)
	b.aged(80, mainKey)
	var err error
	for n := 0; err == nil; n++ { // until neither a block nor an inode is left
		err = os.WriteFile(filepath.Join(store, "filler"+strconv.Itoa(n)), make([]byte, 1<<20), 0o600)
	}
	for n := 0; n < 8; n++ {
		err = os.WriteFile(filepath.Join(store, "empty"+strconv.Itoa(n)), nil, 0o600)
	}
	if err == nil {
		t.Fatal("the disk is not full")
	}
	b.run(exitOK, nil, "prune", "--apply").says("1 deleted")
}

// TestPruneMany: a hundred nights.
func TestPruneMany(t *testing.T) {
	b := newSandbox(t)
	for age := range 100 {
		b.aged(age, mainKey)
	}
	b.run(exitOK, nil, "prune", "--keep-within", "7d", "--keep-weekly", "8", "--apply").says(" deleted (")
	list := b.run(exitOK, nil, "list", "-l").stdout.String()
	if n := strings.Count(list, "\n") - 1; n < 7+6 || n > 7+8 {
		t.Errorf("%d are left:\n%s", n, list)
	}
}
