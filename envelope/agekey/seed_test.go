package agekey_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
)

// TestSeed: what is made is what age takes, what age makes is taken, and the 32 bytes
// with the hint give the same again.
func TestSeed(t *testing.T) {
	for _, postQuantum := range []bool{true, false} {
		made := agekey.GenerateSeed(postQuantum)
		var recipient string
		if postQuantum {
			i, err := age.ParseHybridIdentity(made.Line())
			if err != nil {
				t.Fatal(err)
			}
			recipient = i.Recipient().String()
		} else {
			i, err := age.ParseX25519Identity(made.Line())
			if err != nil {
				t.Fatal(err)
			}
			recipient = i.Recipient().String()
		}
		if got := made.Recipient().String(); got != recipient || made.PostQuantum() != postQuantum || string(made.ID()) != agekey.Hint(recipient) {
			t.Errorf("the recipient is %s, and age says %s", got, recipient)
		}
		again, err := agekey.ParseSeed(made.Text(time.Now()))
		if err != nil || !bytes.Equal(again.Bytes(), made.Bytes()) || again.ID() != made.ID() {
			t.Errorf("read back: %v", err)
		}
		if of, err := agekey.SeedOf(made.Bytes(), string(made.ID())); err != nil || of.Line() != made.Line() {
			t.Errorf("of its bytes: %v", err)
		}
		if _, err := agekey.SeedOf(made.Bytes(), "0123456789abcdef"); !errors.Is(err, agekey.ErrNoSeed) {
			t.Errorf("of another hint: %v", err)
		}
		if text := fmt.Sprintf("%v %+v %#v %s %x", made, made, made, made, made); strings.Contains(text, "SECRET") || !strings.Contains(text, "[redacted]") {
			t.Errorf("printed: %s", text)
		}
		made.Wipe()
		if !bytes.Equal(made.Bytes(), make([]byte, agekey.SeedSize)) {
			t.Error("it is not wiped")
		}
	}
	theirs, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := agekey.ParseSeed([]byte(theirs.String() + "\n")); err != nil || s.Recipient().String() != theirs.Recipient().String() {
		t.Errorf("of age: %v", err)
	}
}

func TestNoSeed(t *testing.T) {
	line := agekey.GenerateSeed(false).Line()
	other := "Q"
	if line[20:21] == other {
		other = "P"
	}
	for name, text := range map[string]string{
		"nothing":             "# none\n",
		"two":                 line + "\n" + agekey.GenerateSeed(true).Line() + "\n",
		"an ssh key":          ed25519Key(t, "").identity,
		"a plugin's":          plugged(t, "good").identity,
		"a changed letter":    line[:20] + other + line[21:],
		"a letter left out":   line[:20] + line[21:],
		"in small letters":    strings.ToLower(line),
		"cut":                 line[:len(line)-1],
		"without a checksum":  line[:len(line)-6],
		"the prefix":          "AGE-SECRET-KEY-1",
		"of the other kind":   strings.Replace(line, "KEY-1", "KEY-PQ-1", 1),
		"a public recipient":  agekey.GenerateSeed(true).Recipient().String(),
		"locked":              lock(t, line, "sesame", true),
		"with a blank before": " " + line,
	} {
		if s, err := agekey.ParseSeed([]byte(text)); !errors.Is(err, agekey.ErrNoSeed) || err != agekey.ErrNoSeed {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}
