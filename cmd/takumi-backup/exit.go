package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// The exit codes. 2 is left alone: it is what a crashed Go program returns.
const (
	exitOK      = 0
	exitFailed  = 1
	exitSource  = 3
	exitKey     = 4
	exitDamaged = 5
	exitSome    = 6
	exitStore   = 7
	exitUsage   = 64
	exitSignal  = 130
)

const exitCodesHelp = `Exit codes: 0 done; 1 failed; 3 source failed or incomplete, as a command that died or empty
input; 4 key missing, refused or wrong; 5 backup damaged, truncated or altered; 6 some of
several failed; 7 store unreachable, denied, read-only or full; 64 usage; 130 stopped by INT,
TERM or HUP.`

var codes = [...]int{
	fail.Failed: exitFailed, fail.Source: exitSource, fail.Key: exitKey, fail.Damaged: exitDamaged,
	fail.Some: exitSome, fail.Store: exitStore, fail.Usage: exitUsage, fail.Stopped: exitSignal,
}

func verdict(err error) (code int, hint string) {
	if err == nil {
		return exitOK, ""
	}
	class, hint := fail.Of(err)
	return codes[class], hint
}

func usagef(format string, args ...any) error { return fail.Usagef(format, args...) }

// usage makes err a mistake on the command line or in the environment.
func usage(err error) error { return fail.Usagef("%w", err) }

func is(err error, class fail.Class) bool {
	got, _ := fail.Of(err)
	return err != nil && got == class
}

// errSome is returned when some of several paths failed; each has been reported
// by then.
var errSome = fail.ErrSome

func report(w io.Writer, err error) int {
	code, hint := verdict(err)
	if err == nil || errors.Is(err, errSome) {
		return code
	}
	text := err.Error()
	// A key that was pasted where something else belongs must not go on to a log.
	if redact.HasKey(text) {
		text = redact.Keys(text)
		hint = "make a new key: what was redacted looks like one, and others may have seen it"
	}
	fmt.Fprintf(w, "takumi-backup: %s\n", text)
	if hint != "" {
		fmt.Fprintf(w, "  %s\n", hint)
	}
	return code
}
