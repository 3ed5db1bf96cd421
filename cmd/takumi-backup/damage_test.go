package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestDamage takes a sample of what package envelope tries wholesale through
// the program: every sort of damage has its exit code, and never leaves a file.
func TestDamage(t *testing.T) {
	for slots, args := range map[string][]string{
		"one slot":  {"--key", "file:" + keyFile(t, mainKey)},
		"two slots": {"--key", "file:" + keyFile(t, otherKey), "--key", "file:" + keyFile(t, mainKey)},
	} {
		t.Run(slots, func(t *testing.T) {
			t.Parallel()
			b := newSandbox(t)
			b.seal(bytes.Repeat([]byte("a row of a table\n"), 40), append(args, "-o", "good.enc", "--codec", "none")...)
			good := readFile(t, b.path("good.enc"))

			damaged := make(map[string][]byte)
			for i := range 30 {
				at := i * (len(good) - 1) / 29
				damaged[fmt.Sprintf("cut to %d", at)] = good[:at]
				damaged[fmt.Sprintf("byte %d changed", at)] = flip(good, at, 0x20)
			}
			// Where a byte means most, and the change is to what may be there.
			text := string(good[:600])
			for _, line := range []string{"id ", "created ", "kind ", "name ", "codec ", "slot key ", "pad ", "auth ", "v1\n"} {
				at := strings.Index(text, line)
				for _, delta := range []int{0, len(line)} {
					if at >= 0 {
						damaged[fmt.Sprintf("byte %d changed a little", at+delta)] = flip(good, at+delta, 1)
					}
				}
			}
			damaged["a byte appended"] = append(bytes.Clone(good), 0)
			damaged["itself appended"] = append(bytes.Clone(good), good...)

			version := strings.Index(text, "v1\n") + 1
			var batch sync.WaitGroup
			limit := make(chan struct{}, 4)
			for name, content := range damaged {
				batch.Go(func() {
					limit <- struct{}{}
					defer func() { <-limit }()
					want := exitDamaged
					if strings.HasPrefix(name, fmt.Sprintf("byte %d ", version)) && bytes.HasPrefix(content, []byte("takumi-backup/v0\n")) {
						want = exitFailed // a version that there is not
					}
					file := strings.ReplaceAll(name, " ", "-")
					writeFile(t, b.path(file+".enc"), content)
					b.run(want, nil, "open", file+".enc", "-o", file+".out")
					if exists(b.path(file + ".out")) {
						t.Errorf("%s: a file was left", name)
					}
				})
			}
			batch.Wait()
			for _, name := range files(t, b.dir) {
				if strings.Contains(name, ".out") {
					t.Errorf("%s was left", name)
				}
			}
			b.opens("good.enc", bytes.Repeat([]byte("a row of a table\n"), 40))
		})
	}
}

// TestWrongKey: a slot that is no longer one for a key is not damage that could
// be told from a backup that was made for others.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	b.seal([]byte("content"), "-o", "good.enc")
	good := readFile(t, b.path("good.enc"))
	at := bytes.Index(good, []byte("slot key ")) + len("slot ")
	writeFile(t, b.path("bad.enc"), flip(good, at, 1))
	b.run(exitKey, nil, "open", "bad.enc", "-o", "out").says("wrong key: the backup wants jey ")

	b.run(exitKey, nil, "open", "good.enc", "-o", "out", "--key", "file:"+keyFile(t, otherKey)).says("wrong key")
	b.holds("good.enc", "good.enc.sha256", "bad.enc")
}

func flip(content []byte, at int, mask byte) []byte {
	changed := bytes.Clone(content)
	changed[at] ^= mask
	return changed
}
