// Testcount reads the events of `go test -json` and prints what `go test`
// alone would print, with the reasons of skipped tests, and a count of tests
// as its last line. It exits with 1 unless everything passed. With -v it prints what tests
// that passed say too.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is what `go doc test2json` describes.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

func main() {
	ok, err := count(os.Stdin, os.Stdout, len(os.Args) > 1 && os.Args[1] == "-v")
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// count reports whether every package passed, and at least one test with them.
func count(events io.Reader, out io.Writer, verbose bool) (ok bool, err error) {
	var passed, failed, skipped, brokenPackages int
	held := map[string][]string{} // output of tests that have not ended
	lines := bufio.NewReader(events)
	for {
		line, readErr := lines.ReadString('\n')
		if readErr != nil && readErr != io.EOF {
			return false, fmt.Errorf("read test events: %w", readErr)
		}
		if line == "" {
			break
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			// The go command itself had something to say.
			fmt.Fprint(out, line)
			continue
		}
		test := e.Package + " " + e.Test
		switch {
		case e.Action == "build-output":
			fmt.Fprint(out, e.Output)
		case e.Action == "output" && e.Test == "":
			// A package without -v says PASS only in its last line.
			if e.Output != "PASS\n" {
				fmt.Fprint(out, e.Output)
			}
		case e.Action == "output":
			if !strings.HasPrefix(e.Output, "=== ") {
				held[test] = append(held[test], e.Output)
			}
		case e.Action == "pass" && e.Test != "":
			passed++
			if verbose {
				fmt.Fprint(out, strings.Join(held[test], ""))
			}
			delete(held, test)
		case e.Action == "skip" && e.Test != "", e.Action == "fail" && e.Test != "":
			if e.Action == "skip" {
				skipped++
			} else {
				failed++
			}
			fmt.Fprint(out, strings.Join(held[test], ""))
			delete(held, test)
		case e.Action == "fail":
			brokenPackages++
			// A test that was cut off, by a panic or the timeout, never ends.
			for test, output := range held {
				if strings.HasPrefix(test, e.Package+" ") {
					fmt.Fprint(out, strings.Join(output, ""))
					delete(held, test)
				}
			}
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped", passed, failed, skipped)
	if brokenPackages > 0 {
		fmt.Fprintf(out, "; packages that failed: %d", brokenPackages)
	}
	fmt.Fprintln(out)
	return brokenPackages == 0 && failed == 0 && passed > 0, nil
}
