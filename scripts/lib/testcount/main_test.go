package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	const passing = `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: chatter\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}`
	for name, tc := range map[string]struct {
		events, want string
		ok           bool
	}{
		"pass":    {passing, "ok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n", true},
		"verbose": {passing, "    a_test.go:1: chatter\n--- PASS: TestA (0.00s)\nok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n", true},
		"skip": {passing + `
{"Action":"output","Package":"q","Test":"TestB","Output":"    b_test.go:1: no database\n"}
{"Action":"output","Package":"q","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"q","Test":"TestB"}
{"Action":"pass","Package":"q"}`,
			"ok  \tp\t0.1s\n    b_test.go:1: no database\n--- SKIP: TestB (0.00s)\n1 passed, 0 failed, 1 skipped\n", true},
		"fail": {passing + `
{"Action":"output","Package":"q","Test":"TestB","Output":"    b_test.go:1: wrong\n"}
{"Action":"output","Package":"q","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}`,
			"ok  \tp\t0.1s\n    b_test.go:1: wrong\n--- FAIL: TestB (0.00s)\nFAIL\tq\t0.1s\n1 passed, 1 failed, 0 skipped; packages that failed: 1\n", false},
		"panic": {`{"Action":"output","Package":"q","Test":"TestB","Output":"panic: oops\n"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}`,
			"FAIL\tq\t0.1s\npanic: oops\n0 passed, 0 failed, 0 skipped; packages that failed: 1\n", false},
		"build": {`{"Action":"build-output","ImportPath":"q","Output":"q.go:1: syntax error\n"}
{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}
{"Action":"fail","Package":"q"}`,
			"q.go:1: syntax error\nFAIL\tq [build failed]\n0 passed, 0 failed, 0 skipped; packages that failed: 1\n", false},
		"no tests": {"", "0 passed, 0 failed, 0 skipped\n", false},
		"no JSON":  {"go: no such module", "go: no such module0 passed, 0 failed, 0 skipped\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			ok, err := count(strings.NewReader(strings.TrimPrefix(tc.events, "\n")), &out, name == "verbose")
			if err != nil || ok != tc.ok || out.String() != tc.want {
				t.Errorf("got %v, %v and:\n%s\nwant %v and:\n%s", ok, err, &out, tc.ok, tc.want)
			}
		})
	}
}
