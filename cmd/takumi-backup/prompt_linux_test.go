package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: the side of the person, and that of the
// program.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// TestPassphraseIsNotShown: the terminal does not echo while it is asked for,
// and does again afterwards, also when the program was stopped meanwhile.
func TestPassphraseIsNotShown(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	for _, stopped := range []bool{false, true} {
		person, tty := terminal(t)
		cmd := b.program("key", "export", "--passphrase", "-o", b.path(fmt.Sprint("locked-", stopped)))
		cmd.Env = append(cmd.Env, "BACKUP_ROOT="+t.TempDir())
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		screen := bufio.NewReader(person)
		shown := ""
		until := func(words string) {
			t.Helper()
			for !strings.HasSuffix(shown, words) {
				c, err := screen.ReadByte()
				if err != nil {
					t.Fatalf("%v after %q", err, shown)
				}
				shown += string(c)
			}
		}
		until("Passphrase for the new file: ")
		eventually(t, "the echo is off", func() bool { return !echoes(t, tty) })
		if stopped {
			cmd.Process.Signal(syscall.SIGTERM)
		} else {
			fmt.Fprintln(person, "battery staple correct horse")
			until("The same again: ")
			eventually(t, "the echo is off again", func() bool { return !echoes(t, tty) })
			fmt.Fprint(person, "battery staple correct horse\x04") // Ctrl-D ends it as Enter does
			until(keyID(t, mainKey))
		}
		cmd.Wait()
		if want := map[bool]int{false: exitOK, true: exitSignal}[stopped]; cmd.ProcessState.ExitCode() != want {
			t.Errorf("exit code %d, want %d: %s", cmd.ProcessState.ExitCode(), want, shown)
		}
		if !echoes(t, tty) {
			t.Error("the terminal is left without echo")
		}
		if strings.Contains(shown, "battery") {
			t.Errorf("the passphrase is shown: %q", shown)
		}
	}
}
