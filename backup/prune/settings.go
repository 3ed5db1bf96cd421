package prune

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// Kinds are those whose backups replace older ones. Contract snapshots are a history, and
// only their maker knows about other kinds.
var Kinds = []string{backup.KindDatabase, backup.KindUploads, backup.KindManifest}

// FromSettings returns the rules of the settings, by default 30 days. The kinds of ByKind
// are pruned.
func FromSettings(s *config.Settings) (Policy, error) {
	within, err := s.RetentionDays()
	if err != nil {
		return Policy{}, err
	}
	base := Policy{Within: cmp.Or(within, 30*values.Day)}
	if s.File == nil {
		return base, nil
	}
	of := func(r config.Rules, base Policy) (Policy, error) {
		for _, n := range []int{r.Days, r.Last, r.Daily, r.Weekly, r.Monthly, r.Yearly} {
			if n < 0 || n > 36500 {
				return base, fail.Usagef("%s: a number of retention is not from 0 to 36500", s.Path)
			}
		}
		base.Last, base.Daily, base.Weekly, base.Monthly, base.Yearly = r.Last, r.Daily, r.Weekly, r.Monthly, r.Yearly
		return base, nil
	}
	if base, err = of(s.File.Retention.Rules, base); err != nil {
		return base, err
	}
	for kind, r := range s.File.Retention.Kind {
		if err := envelope.CheckKind(kind); err != nil {
			return base, fail.Usagef("%s: retention.kind: %w", s.Path, err)
		}
		own, err := of(r, Policy{Within: cmp.Or(time.Duration(r.Days)*values.Day, base.Within)})
		if err != nil {
			return base, err
		}
		if base.ByKind == nil {
			base.ByKind = make(map[string]Policy)
		}
		base.ByKind[kind] = own
	}
	return base, nil
}

// Retained is the longest time for which the settings keep a kind, at least RETENTION_DAYS;
// 0 without settings.
func Retained(s *config.Settings) (time.Duration, error) {
	longest, err := s.RetentionDays()
	if err != nil || s.File == nil {
		return longest, err
	}
	rules, err := FromSettings(s)
	for _, own := range rules.ByKind {
		longest = max(longest, own.Within)
	}
	return longest, err
}

// Chosen combines the rules of the flags in p with the settings; given reports whether a
// flag is set. Without contracts, snapshots of them stay.
func (p Policy) Chosen(s *config.Settings, contracts bool, given func(flag string) bool) (Policy, error) {
	kept, err := s.RetentionDays()
	if err != nil {
		return p, err
	}
	if kept > 0 && !given("keep-within") {
		p.Within = kept
	}
	for _, kind := range p.Kinds {
		if err := envelope.CheckKind(kind); err != nil {
			return p, fail.Usagef("--kind: %w", err)
		}
	}
	if contracts {
		p.Kinds = append(slices.Clone(p.Kinds), backup.KindContracts)
	}
	if !slices.ContainsFunc([]string{"keep-within", "keep-last", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"}, given) {
		rules, err := FromSettings(s)
		if err != nil {
			return p, err
		}
		if rules.Kinds = p.Kinds; !given("kind") {
			kinds := append(slices.Clone(p.Kinds), slices.Sorted(maps.Keys(rules.ByKind))...)
			slices.Sort(kinds)
			rules.Kinds = slices.Compact(kinds)
		}
		p = rules
	}
	if p.Within == 0 && p.Last+p.Daily+p.Weekly+p.Monthly+p.Yearly == 0 {
		return p, fail.Usagef("no rule keeps anything: if only the newest of each name is to stay, say --keep-last 1")
	}
	return p, nil
}
