package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/postgres/scratch"
)

const (
	piped     = "pg_dump | takumi-backup"
	pipedAge  = "pg_dump | zstd -1 | age"
	backByAge = "age | zstd | psql"
	databases = "databases"
)

// The stages that a dump goes through, each with those before it.
const (
	stageDump   = "pg_dump"
	stageSeal   = "guard, seal"
	stagePack   = "guard, pack, seal"
	stageProved = "guard, pack, prove, seal"
)

func jobsNamed(n int) string { return fmt.Sprintf("%s --jobs %d", ours, n) }

// databaseJobs fills a server of its own, in the system's folder for temporary files,
// with a database of scripts/lib/takumi.sql that has the size of the corpora.
func (b *bench) databaseJobs() ([]*job, error) {
	server, err := scratch.Start(context.Background(), os.TempDir(), "max_wal_size=2GB")
	if err != nil {
		return nil, err
	}
	b.undo = append(b.undo, func() { _ = server.Stop() }) // its folder is removed by the next one at the latest
	pid, err := os.ReadFile(filepath.Join(server.Dir(), "data", "postmaster.pid"))
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(string(pid), "\n")
	const name = "takumi"
	b.env = append(b.env, "PGHOST="+server.Dir(), "PGPORT="+scratch.Port, "PGUSER="+scratch.User, "PGDATABASE="+name, "PATH="+server.Bin()+":"+os.Getenv("PATH"))
	psql := func(args ...string) []string {
		return append([]string{filepath.Join(server.Bin(), "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"}, args...)
	}
	dump := []string{filepath.Join(server.Bin(), "pg_dump")}
	progress("making a database, %s", sizeText(int64(b.size)))
	scale := strconv.FormatInt(max(1, int64(b.size)>>20/takumiScale), 10)
	plain, sealed, aged := b.out("database.sql"), b.out("database.enc"), b.out("database.age")
	packed := b.program("zstd", "-1", "-T0", "-q", "-c")
	locked := b.program("age", "-r", b.recipient)
	for _, argv := range [][]string{
		psql("-d", "postgres", "-c", "CREATE DATABASE "+name),
		psql("-f", "scripts/lib/takumi.sql", "-v", "scale="+scale),
		with(dump, "-f", plain),
		b.takumi("backup", "database", "--quiet", "--jobs", "4", "-o", sealed),
	} {
		if _, err := b.output(argv...); err != nil {
			return nil, err
		}
	}
	if _, err := (&job{stages: [][]string{packed, locked}, stdin: plain, stdout: aged}).run(b.env); err != nil {
		return nil, err
	}
	n, err := sizeOf(plain)
	if err != nil {
		return nil, err
	}
	var jobs []*job
	add := func(j job) {
		j.bytes, j.server, j.before = n, first, psql("-d", "postgres", "-c", "DROP DATABASE IF EXISTS back", "-c", "CHECKPOINT")
		jobs = append(jobs, &j)
	}
	path := b.out("database-dump.enc")
	manifest := b.out("database-dump.manifest.json.zst.enc")
	made := []string{path, path + ".sha256", manifest, manifest + ".sha256"}
	for _, n := range []int{1, 2, 4} {
		add(job{op: "dump", name: jobsNamed(n), makes: made, stages: [][]string{b.takumi("backup", "database", "--quiet", "--jobs", strconv.Itoa(n), "-o", path)}})
	}
	add(job{op: "dump", name: piped, makes: made, stages: [][]string{dump, b.takumi("seal", "--quiet", "-o", path)}})
	add(job{op: "dump", name: pipedAge, makes: made, sync: true, stdout: path, stages: [][]string{dump, packed, locked}})
	add(job{op: "restore", name: jobsNamed(4), stages: [][]string{b.takumi("restore", "database", "--quiet", "--yes", "--jobs", "4", "--into", "back", sealed)}})
	add(job{op: "restore", name: backByAge, stdin: aged, stages: [][]string{b.program("age", "-d", "-i", b.key("age")), b.program("zstd", "-d", "-q", "-c"), psql("-d", "back")}})
	back := jobs[len(jobs)-1]
	back.before = with(back.before, "-c", "CREATE DATABASE back TEMPLATE template0")
	add(job{op: "stage", name: stageDump, stages: [][]string{dump}})
	for name, how := range map[string]string{stageSeal: "--codec=none", stagePack: "--prove=off", stageProved: "--prove=on"} {
		add(job{op: "stage", name: name, stdin: plain, makes: made, stages: [][]string{b.takumi("seal", "--quiet", how, "-o", path)}})
	}
	return jobs, nil
}

// takumiScale is how many MiB of database one scale of takumi.sql is.
const takumiScale = 30

// serverSeconds is the CPU time of a server so far: its own, that of its processes, and
// of those that have ended.
func serverSeconds(pid string) (sum float64) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat") // none: nothing is counted
	for _, path := range all {
		stat, _ := os.ReadFile(path) // it may have ended
		text := string(stat)
		field := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(field) < 15 || pid != field[1] && path != "/proc/"+pid+"/stat" {
			continue
		}
		for _, ticks := range field[11:15] { // user and system, and of children that were waited for
			n, _ := strconv.ParseFloat(ticks, 64)
			sum += n / 100
		}
	}
	return sum
}

// databaseStages are the CPU seconds of each stage, and what they say about machines with more
// cores.
func databaseStages(r *results) string {
	of := func(op, name string, what func(sample) float64) float64 {
		if j := r.get(databases, op, name); j != nil {
			return median(j.values(what))
		}
		return math.NaN()
	}
	server := func(s sample) float64 { return s.server }
	program := func(n int) func(sample) float64 { return func(s sample) float64 { return s.programs[n] } }
	var b strings.Builder
	b.WriteString("CPU seconds of each stage. What a stage adds is the difference of two rows of the table above; the guard and sealing are `--codec=none`.\n\n" +
		"| | server | client | guard, sealing | packing | proof |\n|---|--:|--:|--:|--:|--:|\n")
	seal, pack, proved := of("stage", stageSeal, cpu), of("stage", stagePack, cpu), of("stage", stageProved, cpu)
	row := func(name string, server, client float64) {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %.2f | %.2f |\n", cell(name), server, client, seal, pack-seal, proved-pack)
	}
	row(piped, of("dump", piped, server), of("dump", piped, program(0)))
	for _, n := range []int{2, 4} {
		row(jobsNamed(n), of("dump", jobsNamed(n), server), of("dump", jobsNamed(n), program(0))-proved)
	}
	restored, byAge := jobsNamed(4), of("restore", backByAge, server)
	fmt.Fprintf(&b, "\nThe restore with `--jobs 4` takes %.2f s in the server and %.2f in takumi-backup; `%s` %.2f in the server and %.2f + %.2f + %.2f.\n",
		of("restore", restored, server), of("restore", restored, program(0)), backByAge, byAge,
		of("restore", backByAge, program(0)), of("restore", backByAge, program(1)), of("restore", backByAge, program(2)))
	b.WriteString("\nBy these figures, at best, as many times as fast with `--jobs` of all cores as through one connection. Through one connection the server works on one core at most; " +
		"with several all work is shared evenly, and the guard with sealing is done by one core at a time.\n\n| cores | dump | restore |\n|--:|--:|--:|\n")
	for _, c := range []float64{2, 4, 8, 16} {
		one := max(of("dump", piped, cpu)/c, of("dump", piped, server))
		oneBack := max(of("restore", backByAge, cpu)/c, byAge)
		fmt.Fprintf(&b, "| %.0f | %.2f | %.2f |\n", c, one/max(of("dump", jobsNamed(4), cpu)/c, seal), oneBack/(of("restore", restored, cpu)/c))
	}
	if strings.Contains(b.String(), "NaN") {
		return "" // not all was measured
	}
	return b.String()
}

func cpuThan(name, peer string) func(*results) float64 {
	return func(r *results) float64 {
		return faster(r.get(databases, "dump", peer), r.get(databases, "dump", name), cpu)
	}
}
