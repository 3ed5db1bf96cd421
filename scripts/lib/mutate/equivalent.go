package main

import (
	_ "embed"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// equivalent lists mutants that were judged to change nothing that anybody can see.
// Each has three lines: the file, the function and the change, then the line of the
// source, then the reason. A "#" begins a comment.
//
//go:embed equivalent.txt
var equivalent string

// readEquivalents returns the reasons by [mutant.name].
func readEquivalents(text string) (map[string]string, error) {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(lines)%3 != 0 {
		return nil, fmt.Errorf("equivalent.txt has %d lines, not three for each mutant", len(lines))
	}
	why := make(map[string]string)
	for entry := range slices.Chunk(lines, 3) {
		why[entry[0]+"\n"+entry[1]] = entry[2]
	}
	return why, nil
}

// equivalents returns the reasons for those of the mutants that are listed, by their
// String, and names what is listed of their files and is a mutant no more.
func equivalents(module string, all []mutant) (map[string]string, error) {
	listed, err := readEquivalents(equivalent)
	if err != nil {
		return nil, err
	}
	why := make(map[string]string)
	files, met := make(map[string]bool), make(map[string]bool)
	for _, m := range all {
		file, err := filepath.Rel(module, m.file)
		if err != nil {
			return nil, err
		}
		name := m.name(file)
		files[file], met[name] = true, true
		if reason := listed[name]; reason != "" {
			why[m.String()] = reason
		}
	}
	for name := range listed {
		if file, _, _ := strings.Cut(name, " "); files[file] && !met[name] {
			fmt.Printf("no mutant any more: %s\n", strings.ReplaceAll(name, "\n", ": "))
		}
	}
	return why, nil
}
