package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"golang.org/x/sys/unix"
)

// onTerminal opens a pseudo-terminal: the side of the person, and that of the
// program.
func onTerminal(t *testing.T) (person, program *os.File) {
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
		person, tty := onTerminal(t)
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

// talkative is a plugin that wants to be touched, and to know a PIN.
const talkative = `#!/bin/sh
while read -r line; do [ "$line" = "-> done" ] && break; done
read -r empty
printf '%s\n' '-> msg' dG91Y2ggeW91ciB0b2tlbg
read -r ok; read -r empty
printf '%s\n' '-> request-secret' UElO
read -r ok; read -r value
if [ "$ok" = "-> ok" ] && [ "$value" = NDMyMQ ]; then text=dGhlIFBJTiB3YXMgcmlnaHQ; else text=d2hhdA; fi
printf '%s\n' '-> error internal' $text
read -r ok
`

// TestPluginAsksOnTerminal: a plugin's message and its question reach the terminal,
// what is typed is not shown, and a stop leaves the terminal as it was. Without a
// terminal that is what is wrong.
func TestPluginAsksOnTerminal(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "age-plugin-talks"), []byte(talkative), 0o700); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "PATH="+bin+":"+os.Getenv("PATH"), "BACKUP_ENCRYPTION_KEY_FILE=")
	if err := os.WriteFile(b.path("identity.txt"), []byte(plugin.EncodeIdentity("talks", []byte{1})+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.run(exitOK, strings.NewReader("content"), "seal", "-r", x.Recipient().String(), "-o", b.path("sealed.enc"))
	for _, stopped := range []bool{false, true} {
		person, tty := onTerminal(t)
		cmd := b.program("open", "-i", b.path("identity.txt"), b.path("sealed.enc"))
		cmd.Stdin, cmd.Stderr = tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		shown := readUntil(t, person, "age-plugin-talks: PIN: ")
		if !strings.Contains(shown, "age-plugin-talks: touch your token") {
			t.Errorf("the terminal shows %q", shown)
		}
		eventually(t, "the echo is off", func() bool { return !echoes(t, tty) })
		want := exitKey
		if stopped {
			want = exitSignal
			cmd.Process.Signal(syscall.SIGTERM)
		} else {
			fmt.Fprintln(person, "4321")
			if shown := readUntil(t, person, "the PIN was right"); strings.Contains(shown, "4321") {
				t.Errorf("the PIN is shown: %q", shown)
			}
		}
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("exit code %d, want %d", got, want)
		}
		if !echoes(t, tty) {
			t.Error("the terminal is left without echo")
		}
	}
	cmd := b.program("open", "-i", b.path("identity.txt"), b.path("sealed.enc"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitKey || !strings.Contains(string(out), "there is no terminal to ask on") {
		t.Errorf("without a terminal: %v: %s", err, out)
	}
}

// readUntil returns what the terminal shows up to these words.
func readUntil(t *testing.T, person *os.File, words string) string {
	t.Helper()
	shown := ""
	for b := make([]byte, 1); !strings.HasSuffix(shown, words); shown += string(b) {
		if _, err := person.Read(b); err != nil {
			t.Fatalf("%v after %q", err, shown)
		}
	}
	return shown
}
