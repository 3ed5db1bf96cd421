package terminal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// TestReadLine: a line is read and nothing behind it, for the next who asks.
func TestReadLine(t *testing.T) {
	broken := errors.New("broken")
	full := strings.Repeat("x", MaxLine+1)
	for name, tc := range map[string]struct {
		src        io.Reader
		line, rest string
		err        error
	}{
		"a line":                {strings.NewReader("one\ntwo\n"), "one\n", "two\n", nil},
		"an empty line":         {strings.NewReader("\ntwo"), "\n", "two", nil},
		"no end":                {strings.NewReader("one"), "one", "", nil},
		"nothing":               {strings.NewReader(""), "", "", io.ErrUnexpectedEOF},
		"too long":              {strings.NewReader(full + "yz"), full, "yz", nil},
		"data with the end":     {iotest.DataErrReader(strings.NewReader("one")), "one", "", nil},
		"a broken source":       {io.MultiReader(strings.NewReader("on"), iotest.ErrReader(broken)), "", "", broken},
		"broken behind a break": {io.MultiReader(strings.NewReader("one\n"), iotest.ErrReader(broken)), "one\n", "", nil},
	} {
		line, err := ReadLine(tc.src)
		if string(line) != tc.line || err != tc.err {
			t.Errorf("%s: %q, %v", name, line, err)
		}
		if rest, _ := io.ReadAll(tc.src); string(rest) != tc.rest {
			t.Errorf("%s: %q is left", name, rest)
		}
	}
}

// TestOnlyLine: what is refused is wiped.
func TestOnlyLine(t *testing.T) {
	most := strings.Repeat("x", MaxLine)
	for text, want := range map[string]string{
		"one": "one", "one\n": "one", "one\r\n": "one", " one ": " one ", "": "", most: most,
		"one\ntwo": "several lines", "one\n\n": "several lines", "one\rtwo": "several lines", most + "x": "more than 1024 bytes",
	} {
		given := []byte(text)
		line, err := OnlyLine(given)
		if err == nil && string(line) != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", text, line, err)
		}
		if err != nil && bytes.ContainsAny(given, "onetwx") {
			t.Errorf("%q is still there", text)
		}
	}
}

func pipe(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTypedLine(t *testing.T) {
	for text, want := range map[string]string{"secret\n": "secret", "ended by Ctrl-D": "ended by Ctrl-D", "": "nothing was typed"} {
		line, err := typedLine(int(pipe(t, text).Fd()))
		if err == nil && string(line) != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", text, line, err)
		}
	}
}

// TestQuestion: the answer comes without its blanks, the end of the input is none, and who
// stops the program does not wait for one.
func TestQuestion(t *testing.T) {
	defer func(stdin *os.File) { os.Stdin = stdin }(os.Stdin)
	for text, want := range map[string]string{" yes \nmore": "yes", "\n": "", "": "ended"} {
		os.Stdin = pipe(t, text)
		var asked bytes.Buffer
		got, err := Question(t.Context(), &asked, "Sure? ")
		if err != nil && text == "" && strings.Contains(err.Error(), "nothing was done") {
			got, err = "ended", nil
		}
		if got != want || err != nil || asked.String() != "Sure? " {
			t.Errorf("%q: %q, %v, asked %q", text, got, err, &asked)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdin = r
	ctx, stop := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	stop(stopped)
	if _, err := Question(ctx, io.Discard, "Sure? "); !errors.Is(err, stopped) {
		t.Error(err)
	}
	w.Close() // the read that waits ends with it
}

func TestNowhere(t *testing.T) {
	for name, tc := range map[string]struct {
		path string
		mode int
		want bool
	}{
		"as Go puts it":        {os.DevNull, os.O_RDWR, true},
		"a shell's redirect":   {os.DevNull, os.O_RDONLY, false},
		"a shell's, to write":  {os.DevNull, os.O_WRONLY, false},
		"another file of both": {"/dev/zero", os.O_RDWR, false},
	} {
		f, err := os.OpenFile(tc.path, tc.mode, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := Nowhere(f); got != tc.want || Is(f) {
			t.Errorf("%s: %v", name, got)
		}
		f.Close()
		if Nowhere(f) {
			t.Errorf("%s: though it is closed", name)
		}
	}
}
