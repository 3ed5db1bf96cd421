package verify

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/chain"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// FromState loads the state folder dir into the job: proofs, damaged chains, and the
// history of keys. Unreadable parts are left out, with a warning.
func (j *Job) FromState(dir string, warn func(format string, args ...any)) {
	var err error
	if j.Memory, err = OpenMemory(dir); err != nil {
		j.Memory = nil
		warn("%v; nothing is remembered, so that everything is checked. When it is damaged, delete it", err)
	}
	j.Saved = func(err error) { warn("what was proved is not remembered: %v", err) }
	j.Lost = func(id string) {
		if err := chain.MarkBad(dir, id); err != nil {
			warn("%v", err)
		}
	}
	if j.Doubt, err = DoubtFunc(dir, j.Memory); err != nil {
		warn("which keys were rotated out is not known: %v", err)
	}
	past, err := history.Read(dir)
	if err != nil {
		warn("how old the keys are is not known: %v", err)
		return
	}
	for _, r := range past.Records() {
		if !r.Live() {
			continue
		}
		k := Key{ID: string(r.ID), Provider: r.Provider, Activated: r.Since()}
		if !k.Activated.IsZero() {
			k.NextRotation = k.Activated.Add(history.DefaultMaxAge)
			k.Overdue = time.Now().After(k.NextRotation)
		}
		j.KnownKeys = append(j.KnownKeys, k)
	}
}

// Accept forgets what was at the paths, as [Memory.Accept] does.
func (j *Job) Accept(paths []string, warn func(format string, args ...any)) error {
	for _, path := range paths {
		if j.Memory == nil {
			return errors.New("--accept: nothing is remembered")
		}
		known, err := j.Memory.Accept(path)
		if err != nil {
			return fmt.Errorf("--accept: %w", err)
		}
		if !known {
			warn("--accept: nothing is known of %s; give the path as verify says it", store.Printable(path))
		}
	}
	return nil
}

// MaxAges reads AGE and KIND=AGE, or without words those of the settings, for
// [Job.MaxAge].
func MaxAges(conf *config.Settings, words []string) (map[string]time.Duration, error) {
	if len(words) == 0 {
		words = strings.Fields(conf.Get("TAKUMI_MAX_AGE"))
	}
	ages := make(map[string]time.Duration)
	for _, word := range words {
		kind, text, found := strings.Cut(word, "=")
		if !found {
			kind, text = "", word
		} else if err := envelope.CheckKind(kind); err != nil {
			return nil, fail.Usagef("--max-age: %w", err)
		}
		var age values.Age
		if err := age.Set(text); err != nil {
			return nil, fail.Usagef("--max-age %s: %w", word, err)
		}
		ages[kind] = time.Duration(age)
	}
	return ages, nil
}

// ParseSample reads a part in percent, for [Job.Sample]; "" is 0.
func ParseSample(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !strings.HasSuffix(text, "%") || !(percent > 0 && percent <= 100) {
		return 0, fail.Usagef("--sample is %q, not a part such as 10%%", text)
	}
	return percent / 100, nil
}

// Outcome is the error of a run, nil when all is well. failed is why the report is not
// whole, one the only backup asked for, or nil. When some of several failed it is
// [fail.ErrSome], and each is in the report.
func (r *Report) Outcome(failed error, one *Backup, strict bool) error {
	sum := r.Summary()
	switch {
	case failed != nil:
		return failed
	case one != nil && one.Err() != nil:
		return fmt.Errorf("verifying %w", one.Err())
	case sum.Failed > 0 || sum.Errors > 0:
		return fail.ErrSome
	case r.Backups.Len() == 0 && r.Shard == "":
		return fmt.Errorf("verifying: there are no backups in %s", strings.Join(r.Roots, ", "))
	case strict && sum.Warnings > 0:
		return errors.New("verifying: there are warnings, and --strict is given")
	}
	return nil
}
