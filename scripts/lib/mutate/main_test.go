package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = `package sample

func f(n int) (err error) {
	defer close()
	if err := g(); err != nil {
		return err
	}
	if n < 3 && n != 1 {
		n++
	}
	call(n)
	err = g()
	return err
}

func unreached() { call(1) }
`

// TestMutants: each kind of change is found, on lines that tests reach and no
// others, and each is one edit of the file.
func TestMutants(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sample.go")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := mutants(path, []span{{3, 27, 14, 2}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all {
		line := strings.Split(string(m.text()), "\n")[m.line-1]
		got = append(got, m.kind+":"+strings.TrimSpace(line))
	}
	want := []string{
		"skipped defer:",
		"dropped error:if err := g(); err != nil && false {",
		"dropped error:return nil",
		"condition:if !(n < 3 && n != 1) {",
		"half of a condition:if (n < 3) {",
		"half of a condition:if (n != 1) {",
		"boundary:if n <= 3 && n != 1 {",
		"boundary:if n < 3 && n == 1 {",
		"removed statement:",
		"skipped call:",
		"removed statement:",
		"dropped error:_ = g()",
		"dropped error:return nil",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

// TestProfile: blocks that no test reaches are left out.
func TestProfile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "profile")
	text := "mode: set\nm/a.go:1.2,3.4 5 1\nm/a.go:5.1,6.1 1 0\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	covered, err := readProfile(path)
	if err != nil || len(covered) != 1 || !slices.Equal(covered["m/a.go"], []span{{1, 2, 3, 4}}) {
		t.Errorf("%v, %v", covered, err)
	}
}

// TestEquivalents: what is judged is found by its text, wherever its line is, and
// every entry has its reason.
func TestEquivalents(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sample.go")
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := mutants(path, []span{{3, 27, 14, 2}})
	if err != nil {
		t.Fatal(err)
	}
	listed, err := readEquivalents("# a comment\nsample.go f: boundary: < -> <=\nif n < 3 && n != 1 {\nwhy\n")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range all {
		if listed[m.name("sample.go")] == "why" {
			found = append(found, m.with)
		}
	}
	if !slices.Equal(found, []string{"<="}) {
		t.Errorf("found %q", found)
	}
	if _, err := readEquivalents("one\ntwo\n"); err == nil {
		t.Error("an entry without a reason passes")
	}
	if _, err := readEquivalents(equivalent); err != nil {
		t.Error(err)
	}
}
