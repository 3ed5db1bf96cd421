package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// takumi is a command line of the program that is measured.
func (b *bench) takumi(args ...string) []string { return append([]string{b.builds[0].path}, args...) }

const programName = "takumi-backup"

// sealed seals input under that name, outside any clock, for what opens it.
func (b *bench) sealed(name, input string, flags ...string) (string, error) {
	path := filepath.Join(b.scratch, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	argv := append(b.takumi("seal", "--quiet", "-o", path), flags...)
	_, err := work{Stages: [][]string{argv}, Stdin: input}.run(b.env)
	return path, err
}

// workJobs measure our own work by its parts: where the bytes come from and go
// to, each codec and level, each corpus.
func (b *bench) workJobs(inputs map[string]string) ([]block, error) {
	sizes := make(map[string]int64)
	for corpus, path := range inputs {
		n, err := sizeOf(path)
		if err != nil {
			return nil, err
		}
		sizes[corpus] = n
	}
	plain := inputs["plain"]
	out := filepath.Join(b.scratch, "work.enc")
	opened := filepath.Join(b.scratch, "work.opened")
	sidecar := filepath.Join(b.scratch, "work.sha256")
	var blocks []block
	add := func(op, name, corpus string, s shape, w work, outputs ...string) {
		s.Open = op != "seal"
		j := job{key: key{Part: "work", Op: op, Name: name, Corpus: corpus}, bytes: sizes[corpus], shape: &s, work: w}
		if s.Codec == "" { // it is not ours
			j.shape = nil
		}
		if len(outputs) > 0 {
			j.prepare = clearAway(outputs...)
			j.after = takeAway(outputs...)
			if outputs[0] == sidecar { // its size says nothing of the backup
				j.after = nil
			}
		}
		blocks = append(blocks, block{j})
	}
	seal := func(flags ...string) []string { return b.takumi(append([]string{"seal", "--quiet"}, flags...)...) }
	cat := func(path string) []string { return b.stage("cat", path) }

	zstd := shape{Codec: "zstd", Level: "fastest"}
	none := shape{Codec: "none"}
	with := func(s shape, change func(*shape)) shape { change(&s); return s }
	stored := func(s *shape) { s.File, s.Hash = true, true }
	hashed := func(s *shape) { s.Hash = true }
	toFile := func(s *shape) { s.File = true }
	piped := func(s *shape) { s.Pipe = true }

	add("seal", "file to file", "plain", with(zstd, stored), work{Stages: [][]string{seal("-o", out)}, Stdin: plain}, out, out+".sha256")
	add("seal", "pipe to file", "plain", with(with(zstd, stored), piped), work{Stages: [][]string{cat(plain), seal("-o", out)}}, out, out+".sha256")
	add("seal", "file to nowhere", "plain", zstd, work{Stages: [][]string{seal("-o", "-")}, Stdin: plain})
	add("seal", "file to nowhere, sidecar", "plain", with(zstd, hashed), work{Stages: [][]string{seal("-o", "-", "--sidecar", sidecar)}, Stdin: plain}, sidecar)
	for _, s := range []shape{zstd, none} {
		inProcess := task{Kind: "seal", File: plain, Key: b.key, Codec: s.Codec, Level: s.Level}
		withHash := inProcess
		withHash.Hash = true
		add("seal", "in process to nowhere, "+s.Codec, "plain", s, work{Task: &inProcess})
		add("seal", "in process to nowhere, "+s.Codec+", SHA-256", "plain", with(s, hashed), work{Task: &withHash})
	}
	if b.has("age") {
		add("seal", ageNowhere, "plain", shape{}, work{Stages: [][]string{b.stage("age", "-r", b.ageRecipient)}, Stdin: plain})
	}
	for _, c := range codecs {
		name := "codec " + c.codec
		flags := []string{"-o", out, "--codec", c.codec}
		if c.level != "" {
			name += " " + c.level
			flags = append(flags, "--level", c.level)
		}
		s := shape{Codec: c.codec, Level: c.level}
		add("seal", name, "plain", with(s, stored), work{Stages: [][]string{seal(flags...)}, Stdin: plain}, out, out+".sha256")
		path, err := b.sealed("plain."+c.codec+c.level+".enc", plain, flags[2:]...)
		if err != nil {
			return nil, err
		}
		add("open", name, "plain", s, work{Stages: [][]string{b.takumi("open", "--quiet", path)}})
	}
	for _, c := range corpora {
		if c.name == "plain" {
			continue
		}
		input := inputs[c.name]
		add("seal", "file to file", c.name, with(zstd, stored), work{Stages: [][]string{seal("-o", out)}, Stdin: input}, out, out+".sha256")
		path, err := b.sealed(c.name+".enc", input)
		if err != nil {
			return nil, err
		}
		add("open", "file to nowhere", c.name, zstd, work{Stages: [][]string{b.takumi("open", "--quiet", path)}})
	}
	path, err := b.sealed("plain.enc", plain)
	if err != nil {
		return nil, err
	}
	nonePath, err := b.sealed("plain.none.enc", plain, "--codec", "none")
	if err != nil {
		return nil, err
	}
	open := func(flags ...string) []string { return b.takumi(append([]string{"open", "--quiet"}, flags...)...) }
	add("open", "file to nowhere", "plain", zstd, work{Stages: [][]string{open(path)}})
	add("open", "file to file", "plain", with(zstd, toFile), work{Stages: [][]string{open("-o", opened, path)}}, opened)
	add("open", "pipe to pipe", "plain", with(zstd, piped), work{Stages: [][]string{cat(path), open("-"), b.stage("cat")}})
	add("open", "in process to nowhere, zstd", "plain", zstd, work{Task: &task{Kind: "open", File: path, Key: b.key}})
	add("open", "in process to nowhere, none", "plain", none, work{Task: &task{Kind: "open", File: nonePath, Key: b.key}})
	// A build from before there was verify says so; any other failure shows when
	// it is measured.
	if _, err := b.output(b.takumi("verify", path)...); err == nil || !strings.Contains(err.Error(), "unknown command") {
		add("verify", "file", "plain", zstd, work{Stages: [][]string{b.takumi("verify", path)}})
	}
	return blocks, nil
}

// codecs are all ways to pack.
var codecs = []struct{ codec, level string }{
	{"none", ""},
	{"zstd", "fastest"}, {"zstd", "default"}, {"zstd", "better"}, {"zstd", "best"},
	{"gzip", "fastest"}, {"gzip", "default"}, {"gzip", "better"}, {"gzip", "best"},
}

// limitJobs measure the machine.
func (b *bench) limitJobs(inputs map[string]string, n int64) []block {
	var blocks []block
	add := func(name, corpus string, t task) {
		t.Key = b.key
		w := work{Task: &t, Cores: 1}
		if t.Many || t.Kind == "pipe" {
			w.Cores = 0
		}
		blocks = append(blocks, block{{key: key{Part: "limits", Op: "limit", Name: name, Corpus: corpus}, work: w}})
	}
	add("AES-256-GCM seal", "", task{Kind: "gcm seal"})
	add("AES-256-GCM seal, all cores", "", task{Kind: "gcm seal", Many: true})
	add("AES-256-GCM open", "", task{Kind: "gcm open"})
	add("SHA-256", "", task{Kind: "sha256"})
	add("memory copy", "", task{Kind: "copy"})
	add("pipe", "", task{Kind: "pipe"})
	add("file read, cached", "", task{Kind: "read file", File: inputs["plain"]})
	add("file write and sync", "", task{Kind: "write file", File: filepath.Join(b.scratch, "limit"), Size: n})
	for _, c := range codecs {
		if c.codec != string(pack.None) {
			add("pack "+c.codec+" "+c.level, "plain", task{Kind: "pack", File: inputs["plain"], Codec: c.codec, Level: c.level})
			add("unpack "+c.codec+" "+c.level, "plain", task{Kind: "unpack", File: inputs["plain"], Codec: c.codec, Level: c.level})
		}
	}
	for _, op := range []string{"pack", "unpack"} {
		add(op+" zstd fastest, all cores", "plain", task{Kind: op, File: inputs["plain"], Codec: "zstd", Level: "fastest", Many: true})
	}
	for _, c := range corpora {
		if c.name != "plain" {
			add("pack zstd fastest", c.name, task{Kind: "pack", File: inputs[c.name], Codec: "zstd", Level: "fastest"})
			add("unpack zstd fastest", c.name, task{Kind: "unpack", File: inputs[c.name], Codec: "zstd", Level: "fastest"})
		}
	}
	return blocks
}

// coreJobs seal and open on one core, then two, and so on to all.
func (b *bench) coreJobs(plain string) ([]block, error) {
	n, err := sizeOf(plain)
	if err != nil {
		return nil, err
	}
	path, err := b.sealed("cores.enc", plain)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(b.scratch, "cores.out.enc")
	var blocks []block
	for _, cores := range coreSteps(runtime.NumCPU()) {
		blocks = append(blocks, block{
			{
				key: key{Part: "cores", Op: "seal", Name: programName, Corpus: "plain", Cores: cores}, bytes: n,
				shape:   &shape{Codec: "zstd", Level: "fastest", Hash: true, File: true},
				work:    work{Stages: [][]string{b.takumi("seal", "--quiet", "-o", out)}, Stdin: plain, Cores: cores},
				prepare: clearAway(out, out+".sha256"), after: takeAway(out, out+".sha256"),
			},
			{
				key: key{Part: "cores", Op: "open", Name: programName, Corpus: "plain", Cores: cores}, bytes: n,
				shape: &shape{Open: true, Codec: "zstd", Level: "fastest"},
				work:  work{Stages: [][]string{b.takumi("open", "--quiet", path)}, Cores: cores},
			},
		})
	}
	return blocks, nil
}

// coreSteps are the powers of two up to all, and all.
func coreSteps(all int) (steps []int) {
	for n := 1; n < all; n *= 2 {
		steps = append(steps, n)
	}
	return append(steps, all)
}

// parallelJobs run 1 to 8 seals at once, each to a file of its own.
func (b *bench) parallelJobs(plain string) (blocks []block, err error) {
	n, err := sizeOf(plain)
	if err != nil {
		return nil, err
	}
	for _, copies := range []int{1, 2, 4, 8} {
		var outputs []string
		for i := range copies {
			out := filepath.Join(b.scratch, fmt.Sprintf("copy-%d.enc", i))
			outputs = append(outputs, out, out+".sha256")
		}
		blocks = append(blocks, block{{
			key: key{Part: "parallel", Op: "seal", Name: programName, Corpus: "plain", Copies: copies}, bytes: n * int64(copies),
			work:    work{Stages: [][]string{b.takumi("seal", "--quiet", "-o", filepath.Join(b.scratch, "copy-{}.enc"))}, Stdin: plain, Copies: copies},
			prepare: clearAway(outputs...), after: takeAway(outputs...),
		}})
	}
	return blocks, nil
}

// growthJobs seal and open more and more from a pipe: the plain dump again and
// again. Each block's frames are independent, so repeating changes nothing for
// the codec.
func (b *bench) growthJobs(largest int64) ([]block, error) {
	plain, err := corpusNamed("plain")
	if err != nil {
		return nil, err
	}
	const most = 1 << 30 // of one corpus file
	var blocks []block
	for n := int64(64 << 20); n <= largest; n *= 4 {
		file, err := plain.file(b.cache, min(n, most))
		if err != nil {
			return nil, err
		}
		one, err := sizeOf(file)
		if err != nil {
			return nil, err
		}
		argv := b.stage("cat")
		for range max(1, n/most) {
			argv = append(argv, file)
		}
		out := filepath.Join(b.scratch, "growth.enc")
		name := sizeText(n)
		total := one * int64(len(argv)-1)
		blocks = append(blocks, block{
			{
				key: key{Part: "growth", Op: "seal", Name: name, Corpus: "plain"}, bytes: total,
				work:    work{Stages: [][]string{argv, b.takumi("seal", "--quiet", "-o", out)}},
				prepare: clearAway(out, out+".sha256"), after: keepSize(out),
			},
			{
				key: key{Part: "growth", Op: "open", Name: name, Corpus: "plain"}, bytes: total,
				work:  work{Stages: [][]string{b.stage("cat", out), b.takumi("open", "--quiet", "-")}},
				after: takeAway(out, out+".sha256"),
			},
		})
	}
	return blocks, nil
}

// accessJobs measure what does not read a whole backup.
func (b *bench) accessJobs(plain string, huge int64) ([]block, error) {
	none, err := b.sealed("access.none.enc", plain, "--codec", "none")
	if err != nil {
		return nil, err
	}
	packed, err := b.sealed("access.enc", plain)
	if err != nil {
		return nil, err
	}
	sparse, err := b.hugeBackup(huge)
	if err != nil {
		return nil, err
	}
	one := func(op, name string, n int64, w work) block {
		return block{{key: key{Part: "access", Op: op, Name: name}, bytes: n, work: w}}
	}
	const count, size = 1000, 64 << 10
	return []block{
		one("random reads", fmt.Sprintf("%d ranges of %s", count, sizeText(size)), count*size,
			work{Task: &task{Kind: "random reads", File: none, Key: b.key, Count: count, Size: size}}),
		one("random reads", fmt.Sprintf("%d ranges of %s", count, sizeText(farSize)), count*farSize,
			work{Task: &task{Kind: "random reads", File: none, Key: b.key, Count: count, Size: farSize}}),
		one("first byte", "open", 0, work{Stages: [][]string{b.takumi("open", "--quiet", packed)}, FirstByte: true}),
		one("inspect", sizeText(huge), 0, work{Stages: [][]string{b.takumi("inspect", sparse)}}),
		one("far read", sizeText(farSize)+" of "+sizeText(huge), 0,
			work{Task: &task{Kind: "far read", File: sparse, Key: b.key, Size: farSize}}),
	}, nil
}
