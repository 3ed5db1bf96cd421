// Package agekey makes age recipients and identities holders of backups: slots of
// type "age" (docs/FORMAT.md, "slot age"). A host that knows a recipient can seal
// and cannot open.
//
// [ParseRecipients] and [ParseIdentities] take the files that age takes: X25519,
// the hybrid post-quantum age1pq1…, ssh-ed25519 and ssh-rsa, and plugins, with the
// tagged recipients of hardware keys (age1tag1…, age1tagpq1…) that need no plugin
// to seal. The cryptography is that of filippo.io/age.
//
// Whoever knows a recipient can make a slot for it, so such a slot proves no
// origin. A plugin is a program of its own, age-plugin-NAME of the PATH, without the
// secrets of this one's environment. It sees the head of a slot and age's key to
// the 48 bytes in it, and nothing of a backup.
package agekey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"filippo.io/age/tag"
	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

const (
	// SlotType is the type of the slots.
	SlotType = "age"

	hintLabel = "takumi-backup/v1 slot " + SlotType + "\x00"
	hintSize  = 8

	// DefaultPluginTimeout is how long a plugin may take: somebody has to find
	// and touch a token.
	DefaultPluginTimeout = 2 * time.Minute
)

// Options say how to talk to people and plugins. The zero value asks nobody: a
// plugin that wants to know something fails.
type Options struct {
	// Tell shows a message of a plugin, one line, to whoever has the token. It may be
	// called from another goroutine while Ask or a plugin is waited for.
	Tell func(message string)
	// Ask asks a plugin's question, and returns the line that was typed, of a secret
	// without showing it. It returns when ctx ends.
	Ask func(ctx context.Context, prompt string, secret bool) ([]byte, error)
	// Passphrase asks for the passphrase of an identity that is locked, once. What
	// it returns is wiped. Nil: such an identity does not open anything.
	Passphrase func(ctx context.Context, what string) ([]byte, error)
	// PluginTimeout bounds each use of a plugin; 0 means DefaultPluginTimeout. One
	// that takes longer, or whose work was given up, is asked to end, and then ended.
	PluginTimeout time.Duration
}

// Hint names the slots of a recipient: the first 8 bytes of SHA-256 over a label
// and the recipient's text, as 16 lower-case hex digits.
func Hint(recipient string) string {
	sum := sha256.Sum256([]byte(hintLabel + recipient))
	return hex.EncodeToString(sum[:hintSize])
}

// ErrRecipient is returned for what is not a recipient. The text is not repeated: it
// may be a secret that was put in the wrong place.
var ErrRecipient = errors.New("it is not an age recipient (age1…, ssh-ed25519 or ssh-rsa)")

// ErrSecret is returned for a secret identity where a public recipient belongs.
var ErrSecret = errors.New("it is a secret identity, and a public recipient is wanted: age-keygen -y makes one of it")

// ParseRecipient reads one recipient, as age's -r takes it.
func ParseRecipient(text string, o Options) (*Recipient, error) {
	r := &Recipient{text: text}
	var err error
	switch {
	case strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-"), strings.HasPrefix(strings.ToUpper(text), "AGE-PLUGIN-"), strings.HasPrefix(text, "-----BEGIN"):
		return nil, ErrSecret
	case strings.HasPrefix(text, "age1tag1"), strings.HasPrefix(text, "age1tagpq1"):
		r.age, err = tag.ParseRecipient(text)
	case strings.HasPrefix(text, "age1pq1"):
		r.age, err = age.ParseHybridRecipient(text)
	case strings.HasPrefix(text, "age1") && strings.Count(text, "1") > 1:
		var name string
		name, _, err = plugin.ParseRecipient(text)
		r.age = plugged{name: name, text: text, o: o}
	case strings.HasPrefix(text, "age1"):
		r.age, err = age.ParseX25519Recipient(text)
	case strings.HasPrefix(text, "ssh-"):
		return parseSSHRecipient(text)
	default:
		return nil, ErrRecipient
	}
	if err != nil {
		return nil, ErrRecipient
	}
	return r, nil
}

func parseSSHRecipient(text string) (*Recipient, error) {
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, ErrRecipient
	}
	r, err := agessh.ParseRecipient(text)
	if err != nil {
		return nil, fmt.Errorf("%w: age takes ssh-ed25519, and ssh-rsa of 2048 bits or more", ErrRecipient)
	}
	return &Recipient{age: r, text: sshText(public)}, nil
}

// sshText is a public key as recipients are named: without a comment.
func sshText(public ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func holder(recipient string) slot.Holder {
	return slot.Holder{Type: SlotType, Name: Hint(recipient)}
}
