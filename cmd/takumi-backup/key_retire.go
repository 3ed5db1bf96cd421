package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

var keyIDForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// maxNamed is how many of the backups that need a key are named.
const maxNamed = 5

// errNeeded is why a key is not retired.
var errNeeded = errors.New("it must not be destroyed")

func newKeyRetire() *cobra.Command {
	var state stateFlags
	var keys keyFlags
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "retire KEYID",
		Short: "Say whether a former key may be destroyed, and how",
		Long: `Look whether a former key may be destroyed: it is current nowhere, its grace period
is over, and every backup under the root opens without it. What the slots of a backup
claim does not count: all other keys that are in use by the history are fetched, and
one of them has to open the backup. A key that cannot be fetched, or a backup that
none of them opens, is a refusal. Then that is recorded, and the command is printed
that destroys the key where it is kept. This program destroys no key. Otherwise it
says who needs it, and the exit code is 1.

A key that the history does not know is refused too: key history --add makes it known.

Destroying a key takes nothing back. Whoever has another copy of it, and a copy of a
backup from before it was rewrapped, can read that backup; and a backup that was
rewrapped with --detached still has its old slots. It keeps you from opening what no
other key opens, so look at copies of backups elsewhere first: on other disks, with
another --root, off-site. Paper, shares and exported copies of the key are to be
destroyed too.`,
		Example: `  takumi-backup key history
  takumi-backup key retire 0123456789abcdef`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := kek.ID(args[0])
			if !keyIDForm.MatchString(args[0]) {
				return usagef("KEYID is the 16 hex digits that key history shows; what was given is not repeated here, it may be secret")
			}
			if err := state.resolve(cmd); err != nil {
				return err
			}
			h, err := state.history(dryRun)
			if err != nil {
				return err
			}
			defer h.Close()
			recordOf(cmd).KeyIDs = audit.IDs(id)
			backups, err := state.backups(cmd.Context())
			if err != nil {
				return fmt.Errorf("looking through the backups: %w", err)
			}
			r, err := judgeKey(h, id, backups)
			if err != nil {
				return err
			}
			if err := keys.proveOpen(cmd.Context(), h, id, backups); err != nil {
				return err
			}
			if !dryRun {
				if err := h.Clear(id, time.Now()); err != nil {
					return fmt.Errorf("recording that key %s may be destroyed: %w", id, err)
				}
			}
			for _, at := range r.providers {
				r.Places = append(r.Places, keys.whereToDestroy(cmd.Context(), at, id))
			}
			return r.tell(cmd, asJSON)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&dryRun, "dry-run", false, "say whether it may be destroyed, and record nothing")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	keys.passphrase.add(cmd)
	state.add(cmd)
	return audited(cmd, "key retire", changes)
}

// retired is a key that may be destroyed.
type retired struct {
	ID         kek.ID        `json:"id"`
	Opens      int           `json:"opens"`       // backups that it opens, and another key too
	OnlyBeside int           `json:"only_beside"` // see history.Judgement
	Places     []destruction `json:"places"`

	providers []string
}

// destruction is a place of a key, and how to destroy it there.
type destruction struct {
	Provider string `json:"provider"`
	Command  string `json:"command,omitempty"`
	Reason   string `json:"reason,omitempty"` // why there is no command
}

// judgeKey fails unless every record of a key says that it may be destroyed.
func judgeKey(h *history.History, id kek.ID, backups []history.Backup) (*retired, error) {
	var r *retired
	for _, j := range h.Judge(backups, time.Now()) {
		if j.ID != id {
			continue
		}
		why := j.WhyNot
		if j.Live() {
			why = "it is the current key of " + where(j.Record)
		}
		if why != "" {
			var names []string
			needing := h.Needing(id, backups)
			for _, b := range needing[:min(len(needing), maxNamed)] {
				names = append(names, printable(b.Path))
			}
			if len(names) > 0 {
				why += ": " + strings.Join(names, ", ")
			}
			if more := len(needing) - len(names); more > 0 {
				why += fmt.Sprintf(" and %d more", more)
			}
			return nil, fmt.Errorf("key %s: %w: %s", id, errNeeded, why)
		}
		if r == nil {
			r = &retired{ID: id, Opens: j.Opens, OnlyBeside: j.OnlyBeside}
		}
		r.providers = append(r.providers, j.Provider)
	}
	if r == nil {
		return nil, fmt.Errorf("key %s: %w: the key history does not know it, so nobody can tell whether it is in use; "+
			"takumi-backup key history --add --key URI makes it known, where URI is the place that keeps it beside the key that came after it, or with --retired it alone", id, errNeeded)
	}
	return r, nil
}

// currentOnly hides the former keys of a source.
type currentOnly struct{ keystore.Source }

// proveOpen fails unless each backup opens with a key other than id that is in use,
// as it is fetched now: who can write a slot can write any id into it.
func (k *keyFlags) proveOpen(ctx context.Context, h *history.History, id kek.ID, backups []history.Backup) error {
	var sources []keystore.Source
	var live []history.Record
	for _, r := range h.Records() {
		if !r.Live() || r.ID == id {
			continue
		}
		src, err := k.parseKey(r.Provider)
		if err != nil {
			return fmt.Errorf("key %s: %w: key %s in %s, which is in use, cannot be fetched: %v", id, errNeeded, r.ID, where(r), err)
		}
		sources, live = append(sources, currentOnly{src}), append(live, r)
	}
	if len(live) == 0 {
		return fmt.Errorf("key %s: %w: the key history knows no other key that is in use", id, errNeeded)
	}
	ring := keystore.NewRing(sources...)
	defer ring.Close()
	keys, err := ring.Current(ctx)
	if err != nil {
		return fmt.Errorf("key %s: %w: a key that is in use cannot be fetched: %v", id, errNeeded, err)
	}
	for i, key := range keys {
		if got := key.ID(); got != live[i].ID {
			return fmt.Errorf("key %s: %w: %s holds key %s, and %s by the key history", id, errNeeded, where(live[i]), got, live[i].ID)
		}
	}
	place := newPlace()
	var closed error // the first backup that does not open
	err = parallel.Each(ctx, provers, len(backups), func(ctx context.Context, i int) error {
		seen, err := backup.Look(ctx, place, backups[i].Path, backup.Options{Keys: ring})
		switch {
		case err != nil:
			return err
		case seen.Err != nil:
			return seen.Err
		}
		return nil
	}, func(i int, fault error) {
		if fault != nil && closed == nil {
			closed = fmt.Errorf("key %s: %w: no other key that is in use opens %s: %v", id, errNeeded, printable(backups[i].Path), fault)
		}
	})
	return cmp.Or(err, closed)
}

// provers is how many backups are opened at once.
const provers = 4

// whereToDestroy looks for a key where it was once kept.
func (k *keyFlags) whereToDestroy(ctx context.Context, provider string, id kek.ID) destruction {
	d := destruction{Provider: provider}
	src, err := k.parseKey(provider)
	if err != nil {
		d.Reason = err.Error()
		return d
	}
	keeper, ok := src.(keystore.Keeper)
	if !ok {
		d.Reason = "nobody can tell how"
		return d
	}
	versions, err := keeper.Versions(ctx)
	if err != nil {
		d.Reason = err.Error()
		return d
	}
	for _, v := range versions {
		key, err := v.Source.Load(ctx)
		if err != nil {
			d.Reason = err.Error()
			continue
		}
		same := key.ID() == id
		key.Wipe()
		if destroyable, ok := v.Source.(keystore.Destroyable); same && ok && !v.Current {
			d.Provider, d.Command, d.Reason = v.Source.String(), destroyable.DestroyCommand(id), ""
			return d
		}
		if same && v.Current {
			d.Reason = "it is the current key there"
		}
	}
	if d.Reason == "" {
		d.Reason = "it is not there any more"
	}
	return d
}

func (r *retired) tell(cmd *cobra.Command, asJSON bool) error {
	if r.OnlyBeside > 0 {
		warn(cmd, "%d backups are opened by a current key only through the envelope beside them (FILE.envelope): when one of those gets lost, this key is what opens the backup", r.OnlyBeside)
	}
	if r.Opens > 0 {
		warn(cmd, "%d backups still have a slot for it, beside that of another key: who has a copy of the key can read them", r.Opens)
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), r)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "key %s may be destroyed: no backup under the root needs it; copies of backups elsewhere, on paper and in safes are up to you\n", r.ID)
	for _, p := range r.Places {
		line := p.Command
		if line == "" {
			line = "# " + p.Provider + ": " + p.Reason
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
			return stdoutError(err)
		}
	}
	return nil
}
