package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope"
)

// prunedKinds are those of which a newer backup takes the place of an older
// one. Contract snapshots are a history, and what other kinds are only their
// maker knows.
var prunedKinds = []string{backup.KindDatabase, backup.KindUploads, backup.KindManifest}

func (p *pruneCommand) addRules(f *pflag.FlagSet) {
	rules := &p.policy
	f.Var((*withinFlag)(&rules.Within), "keep-within", "keep what is younger, as 30d, 8w or 36h; 0 for no such rule (default $RETENTION_DAYS, or 30d)")
	f.Lookup("keep-within").DefValue = "" // the words say more
	f.Var((*countFlag)(&rules.Last), "keep-last", "keep the newest `N`")
	f.Var((*countFlag)(&rules.Daily), "keep-daily", "keep the newest of each of the last `N` days that have one")
	f.Var((*countFlag)(&rules.Weekly), "keep-weekly", "the same for `N` weeks")
	f.Var((*countFlag)(&rules.Monthly), "keep-monthly", "the same for `N` months")
	f.Var((*countFlag)(&rules.Yearly), "keep-yearly", "the same for `N` years")
	f.StringSliceVar(&rules.Kinds, "kind", prunedKinds, "prune backups of this kind and of no other that is not named; may be repeated")
	f.BoolVar(&p.contracts, "contracts", false, "prune contract snapshots too")
}

// withinFlag is an age, or 0.
type withinFlag time.Duration

func (w *withinFlag) Set(text string) error {
	if text == "0" {
		*w = 0
		return nil
	}
	return (*ageFlag)(w).Set(text)
}
func (w *withinFlag) String() string { return (*ageFlag)(w).String() }
func (*withinFlag) Type() string     { return "time" }

// countFlag is a number of backups.
type countFlag int

func (c *countFlag) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("want a whole number, up to 65535")
	}
	*c = countFlag(n)
	return nil
}
func (c *countFlag) String() string { return strconv.Itoa(int(*c)) }
func (*countFlag) Type() string     { return "N" }

// check completes the policy from the environment.
func (p *pruneCommand) check(cmd *cobra.Command) error {
	kept, err := retentionDays()
	if err != nil {
		return err
	}
	if kept > 0 && !cmd.Flags().Changed("keep-within") {
		p.policy.Within = kept
	}
	for _, kind := range p.policy.Kinds {
		if err := envelope.CheckKind(kind); err != nil {
			return usagef("--kind: %w", err)
		}
	}
	if p.contracts {
		p.policy.Kinds = append(slices.Clone(p.policy.Kinds), backup.KindContracts)
	}
	if rules := p.policy; rules.Within == 0 && rules.Last+rules.Daily+rules.Weekly+rules.Monthly+rules.Yearly == 0 {
		return usagef("no rule keeps anything: if only the newest of each name is to stay, say --keep-last 1")
	}
	return nil
}

// withManifests lets every manifest share the fate of the backup that it
// belongs to: one in its folder, made at the same time, of the same name up to
// the ending. Two backups may share a manifest's name; it goes with the last.
func withManifests(items []prune.Item, decisions []prune.Decision) {
	type moment struct {
		folder string
		second int64
	}
	backups := make(map[moment][]int)
	for i, it := range items {
		if it.Kind == backup.KindDatabase {
			at := moment{it.Folder, it.Created.Unix()}
			backups[at] = append(backups[at], i)
		}
	}
	for i, it := range items {
		end := strings.LastIndex(it.Path, ".manifest")
		if it.Kind != backup.KindManifest || it.State != prune.Good || end < 0 {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(backups[moment{it.Folder, it.Created.Unix()}]), func(j int) bool {
			return !strings.HasPrefix(items[j].Path, it.Path[:end]+".")
		})
		for n, j := range mine {
			if n == 0 || decisions[j].Action != prune.Delete {
				decisions[i] = prune.Decision{Action: prune.Keep, Reason: "belongs to " + filepath.Base(items[j].Path)}
				if decisions[j].Action == prune.Delete {
					decisions[i].Action = prune.Delete
				}
			}
		}
	}
}

// retentionDays reads RETENTION_DAYS; 0 when it is not set.
func retentionDays() (time.Duration, error) {
	text := os.Getenv("RETENTION_DAYS")
	if text == "" {
		return 0, nil
	}
	days, err := strconv.ParseUint(text, 10, 32)
	if err != nil || days == 0 || days > 100*365 {
		return 0, usagef("RETENTION_DAYS is %q, not a number of days from 1 to 36500", text)
	}
	return time.Duration(days) * day, nil
}
