package agekey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// pluginMain serves identities that are those of X25519 in other clothes.
func pluginMain(name string) int {
	switch name {
	case "silent":
		os.WriteFile(os.Getenv("PLUGIN_RECORD"), []byte(strconv.Itoa(os.Getpid())), 0o600)
		signal.Ignore(os.Interrupt)
		select {}
	case "nonsense":
		fmt.Println("hello")
		time.Sleep(time.Hour)
	case "endless":
		for {
			if _, err := fmt.Println("-> msg" + strings.Repeat(" x", 1000) + "\n"); err != nil {
				return 1
			}
		}
	case "ending":
		return 7
	case "recording":
		record, err := os.Create(os.Getenv("PLUGIN_RECORD"))
		if err != nil {
			return 1
		}
		fmt.Fprintln(record, os.Args, os.Environ())
		r, w, err := os.Pipe()
		if err != nil {
			return 1
		}
		stdin := os.Stdin
		go func() { io.Copy(io.MultiWriter(record, w), stdin); w.Close() }()
		os.Stdin = r
	}
	p, err := plugin.New(name)
	if err != nil {
		return 1
	}
	p.RegisterFlags(nil)
	p.HandleRecipient(func(data []byte) (age.Recipient, error) { return age.ParseX25519Recipient(string(data)) })
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		if name == "failing" {
			return nil, errors.New("the token is not there\x1b[2J")
		}
		i, err := age.ParseX25519Identity(string(data))
		if name == "retrying" {
			return retrying{i, p}, err
		}
		if name == "asking" {
			return asking{i, p}, err
		}
		return i, err
	})
	return p.Main()
}

// asking is a plugin's identity that talks before it opens.
type asking struct {
	age.Identity
	p *plugin.Plugin
}

func (a asking) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if err := a.p.DisplayMessage("touch your token\x1b[2J"); err != nil {
		return nil, err
	}
	secret, err := a.p.RequestValue("PIN", true)
	if err != nil {
		return nil, err
	}
	slot, err := a.p.RequestValue("slot", false)
	if err != nil {
		return nil, err
	}
	one, err := a.p.Confirm("is it you", "yes, it is", "no")
	if err != nil {
		return nil, err
	}
	two, err := a.p.Confirm("go on", "yes", "")
	if err != nil {
		return nil, err
	}
	if secret != strings.Repeat("4321", 100) || slot != "9a" || !one || !two {
		return nil, fmt.Errorf("%q, %q, %v, %v", secret, slot, one, two)
	}
	return a.Identity.Unwrap(stanzas)
}

// retrying is a plugin's identity that asks for a PIN until it is right, three times.
type retrying struct {
	age.Identity
	p *plugin.Plugin
}

func (r retrying) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for range 3 {
		if pin, err := r.p.RequestValue("PIN", true); err != nil || pin == "4321" {
			return r.Identity.Unwrap(stanzas)
		}
	}
	return nil, errors.New("three wrong PINs")
}

// TestPluginRemembers: what opened is not asked for again, and what did not is: within a
// run and in the next one.
func TestPluginRemembers(t *testing.T) {
	withPlugins(t, "retrying")
	p := plugged(t, "retrying")
	asked, answers := 0, []string{"1", "4321"}
	o := agekey.Options{Ask: func(context.Context, string, bool) ([]byte, error) {
		asked++
		return []byte(answers[min(asked, len(answers))-1]), nil
	}}
	i, sealed := identity(t, p.identity, o), seal(t, recipient(t, p.recipient, o))
	for range 3 {
		if _, _, err := open(sealed, i); err != nil {
			t.Error(err)
		}
	}
	if asked != 2 {
		t.Errorf("for three backups it is asked %d times, want a wrong answer and a right one", asked)
	}
	asked, answers = 0, []string{"0"}
	if _, _, err := open(sealed, identity(t, p.identity, o)); err == nil || asked != 3 {
		t.Errorf("wrong answers: %v after %d", err, asked)
	}
	other := identity(t, p.identity, o)
	asked, answers = 0, []string{"0", "0", "0", "4321"}
	open(sealed, other)
	if _, _, err := open(sealed, other); err != nil || asked != 4 {
		t.Errorf("after three wrong answers: %v, asked %d times, want 4", err, asked)
	}
}

// TestPluginTalks: what a plugin says reaches who is there, and what they answer the
// plugin.
func TestPluginTalks(t *testing.T) {
	withPlugins(t, "asking")
	p := plugged(t, "asking")
	var heard []string
	answers := map[string]string{"PIN": strings.Repeat("4321", 100), "slot": "9a", "is it you": "1", "go on": ""}
	o := agekey.Options{
		Tell: func(message string) { heard = append(heard, message) },
		Ask: func(_ context.Context, prompt string, secret bool) ([]byte, error) {
			heard = append(heard, prompt)
			for words, answer := range answers {
				if strings.Contains(prompt, words) {
					if secret != (words == "PIN") {
						t.Errorf("%q: secret is %v", prompt, secret)
					}
					return []byte(answer), nil
				}
			}
			return nil, fmt.Errorf("%q was not expected", prompt)
		},
	}
	sealed := seal(t, recipient(t, p.recipient, o))
	if got, _, err := open(sealed, identity(t, p.identity, o)); err != nil || got != "message" {
		t.Errorf("%q, %v", got, err)
	}
	want := `age-plugin-asking: touch your token [2J
age-plugin-asking: PIN: 
age-plugin-asking: slot: 
age-plugin-asking: is it you (1 for "yes, it is", 2 for "no") 
age-plugin-asking: go on (Enter for "yes") `
	if got := strings.Join(heard, "\n"); got != want {
		t.Errorf("heard:\n%s", got)
	}
	answers["is it you"] = "3"
	if _, _, err := open(sealed, identity(t, p.identity, o)); err == nil || !strings.Contains(err.Error(), "neither 1 nor 2") {
		t.Errorf("an answer that was not offered: %v", err)
	}

	// Without a terminal it is that, and not what the plugin makes of it.
	o.Ask = func(context.Context, string, bool) ([]byte, error) { return nil, errors.New("there is no terminal") }
	_, _, err := open(sealed, identity(t, p.identity, o))
	if err == nil || !strings.Contains(err.Error(), `asking the plugin age-plugin-asking: it wants to know "age-plugin-asking: PIN:": there is no terminal`) {
		t.Errorf("without a terminal: %v", err)
	}
	if class, hint := fail.Of(err); class != fail.Key || hint == "" {
		t.Errorf("class %v, hint %q", class, hint)
	}
}

// TestPluginSeesLittle: no secrets of the environment, and of a backup neither its
// bytes nor its data key.
func TestPluginSeesLittle(t *testing.T) {
	withPlugins(t, "recording")
	secrets := []string{"BACKUP_ENCRYPTION_KEY", "DB_PASSWORD", "PGPASSWORD", "VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "RPC_URL_MAINNET"}
	for _, name := range secrets {
		t.Setenv(name, "canary-"+name)
	}
	t.Setenv("PKCS11_PIN_FILE", "/path/of/pin")
	p, id, dataKey := plugged(t, "recording"), slot.ID{1}, bytes.Repeat([]byte{7}, slot.DataKeySize)
	seen := func() string {
		text, err := os.ReadFile(os.Getenv("PLUGIN_RECORD"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Setenv("PLUGIN_RECORD", filepath.Join(t.TempDir(), "record"))
	made, err := recipient(t, p.recipient, agekey.Options{}).Wrap(t.Context(), id, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	all := seen()
	if _, err := identity(t, p.identity, agekey.Options{}).Unwrap(t.Context(), id, made); err != nil {
		t.Fatal(err)
	}
	all += seen()
	if !strings.Contains(all, "--age-plugin=recipient-v1") || !strings.Contains(all, "-> add-identity") || !strings.Contains(all, "PKCS11_PIN_FILE=/path/of/pin") {
		t.Fatalf("the plugin's record is not whole:\n%s", all)
	}
	if strings.Contains(all, "canary-") || strings.Contains(all, "BwcHBwcH") || len(all) > 64<<10 {
		t.Errorf("the plugin sees:\n%s", all)
	}
}

// TestPluginIsEnded: one that takes too long, or whose work was given up, is gone
// afterwards, also when it does not heed an interrupt.
func TestPluginIsEnded(t *testing.T) {
	withPlugins(t, "silent")
	p := plugged(t, "silent")
	gone := func() {
		t.Helper()
		text, err := os.ReadFile(os.Getenv("PLUGIN_RECORD"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
	t.Setenv("PLUGIN_RECORD", filepath.Join(t.TempDir(), "pid"))
	withdrawn, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		for withdrawn.Err() == nil {
			if text, err := os.ReadFile(os.Getenv("PLUGIN_RECORD")); err == nil && len(text) > 0 {
				stop(enough)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, err := recipient(t, p.recipient, agekey.Options{}).Wrap(withdrawn, slot.ID{}, make([]byte, slot.DataKeySize))
	if !errors.Is(err, enough) {
		t.Errorf("given up: %v", err)
	}
	gone()
}

func TestPluginAnswersWrongly(t *testing.T) {
	withPlugins(t, "nonsense", "endless", "ending", "failing")
	sealed := seal(t, recipient(t, x25519(t).recipient, agekey.Options{}), kek.Generate())
	for name, want := range map[string]string{
		"nonsense": "not of age's plugin protocol",
		"endless":  "ended without an answer",
		"ending":   "ended without an answer: exit status 7",
		"failing":  "the token is not there [2J",
		"absent":   "executable file not found",
	} {
		_, _, err := open(sealed, identity(t, plugged(t, name).identity, agekey.Options{}))
		if err == nil || !strings.Contains(err.Error(), "asking the plugin age-plugin-"+name+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if class, hint := fail.Of(err); class != fail.Key || !strings.Contains(hint, "age-plugin-"+name) {
			t.Errorf("%s: class %v, hint %q", name, class, hint)
		}
	}
}
