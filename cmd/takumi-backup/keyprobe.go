package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// changedKeyFlags are the keys of a command that changes for which keys backups
// are sealed.
type changedKeyFlags struct {
	from keyFlags
	to   []string
}

func (c *changedKeyFlags) add(cmd *cobra.Command) {
	c.from.flag = "from"
	cmd.Flags().StringArrayVar(&c.to, "to", nil, "the key that is to open the backups from now on, as file:PATH, awssm:ID, vault:PATH, …; may be repeated")
	cmd.Flags().StringArrayVar(&c.from.uris, "from", nil, "open with this key; may be repeated (default $BACKUP_ENCRYPTION_KEY_FILE, or $SECRETS_BACKEND)")
	c.from.passphrase.add(cmd)
}

// targets returns the places of the keys of --to.
func (c *changedKeyFlags) targets() ([]keystore.Source, error) {
	if len(c.to) == 0 {
		return nil, usagef("--to is missing: which key is to open the backups from now on?")
	}
	var sources []keystore.Source
	for _, uri := range c.to {
		src, err := c.from.parseKey(uri)
		if errors.Is(err, keystore.ErrURI) {
			return nil, usagef("--to: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
		sources = append(sources, src)
	}
	return sources, nil
}

// provenKeys fetches the keys of --to, and proves before any backup is touched
// that what is sealed for them can be opened again: each is fetched twice from
// where it is kept, and what was sealed for the one is opened with the other.
// The caller wipes the keys.
func (c *changedKeyFlags) provenKeys(ctx context.Context) (keys []*kek.Key, err error) {
	sources, err := c.targets()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			wipeKeys(keys)
			keys = nil
		}
	}()
	for _, src := range sources {
		key, err := src.Load(ctx)
		if err != nil {
			return keys, fmt.Errorf("loading the new key: %w", err)
		}
		keys = append(keys, key)
	}
	for i, src := range sources {
		if err := readBack(ctx, src, keys[i]); err != nil {
			return keys, fmt.Errorf("reading the new key back, before anything is changed: %w", err)
		}
	}
	return keys, nil
}

// readBack fetches a key once more and opens with it what is sealed for the
// first one.
func readBack(ctx context.Context, src keystore.Source, first *kek.Key) error {
	again, err := src.Load(ctx)
	if err != nil {
		return err
	}
	defer again.Wipe()
	if again.ID() != first.ID() {
		return &keystore.Error{
			URI: src.String(), Kind: keystore.ErrConflict,
			Reason: fmt.Sprintf("it held key %s a moment ago and now holds key %s: somebody is changing it", first.ID(), again.ID()),
			Fix:    "try again when that is done",
		}
	}
	var trial bytes.Buffer
	w, err := envelope.NewWriter(ctx, &trial, envelope.Label{Created: time.Now(), Kind: "stream", Name: "trial", Codec: "none"}, first)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	r, err := envelope.Open(ctx, &trial, envelope.Options{}, again)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return fmt.Errorf("key %s: a trial seal does not open: %w", src, err)
	}
	return nil
}

func wipeKeys(keys []*kek.Key) {
	for _, k := range keys {
		k.Wipe()
	}
}
