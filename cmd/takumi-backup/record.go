package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// effect is what a command does to backups and keys, and so what becomes of it
// when it cannot be recorded.
type effect int

const (
	reads   effect = iota // it goes on, with a warning
	changes               // it does not begin, or does not go on with the next backup
)

// addAuditFlags adds what every command has.
func addAuditFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.String("audit", "on", "record in the audit log what is done: on or off")
	f.String("audit-dir", "", "folder of the audit log (default $TAKUMI_AUDIT_DIR, or audit in $BACKUP_ROOT if that exists, or in the state folder)")
}

// audited makes a command leave records of what it does under the name of an
// operation: one when it ends, and when it changes something, or opens a backup,
// also one before it begins.
func audited(cmd *cobra.Command, operation string, e effect) *cobra.Command {
	return auditedBy(cmd, operation, func([]string) effect { return e })
}

// auditedBy is audited for a command whose flags and arguments say what it does.
func auditedBy(cmd *cobra.Command, operation string, what func(args []string) effect) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = make(map[string]string)
	}
	cmd.Annotations[auditedAs] = operation
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := newRecording(cmd, operation, what(args))
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancelCause(context.WithValue(cmd.Context(), recordingKey{}, r))
		defer stop(nil)
		r.stop = stop
		cmd.SetContext(ctx)
		if err := r.begin(cmd, args); err != nil {
			return err
		}
		err = ending(ctx, run(cmd, args))
		if cause := context.Cause(ctx); errors.Is(cause, errUnrecorded) {
			err = cause
		}
		r.end(cmd, err)
		return err
	}
	return cmd
}

// auditedAs is the annotation of commands that leave records.
const auditedAs = "audited as"

type recordingKey struct{}

// recording is what one run of a command leaves in the audit log.
type recording struct {
	log    *audit.Log // nil: nothing
	effect effect
	common audit.Record // what all records of the run say
	record audit.Record // what the last one says more
	syslog string       // the socket of a copy, or ""
	stop   context.CancelCauseFunc

	warning, unsent sync.Once
}

func newRecording(cmd *cobra.Command, operation string, e effect) (*recording, error) {
	r := &recording{effect: e}
	switch on := flagText(cmd, "audit"); on {
	case "off":
		return r, nil
	case "on", "":
	default:
		return nil, usagef("--audit is %q, neither on nor off", on)
	}
	dir, err := auditDir(cmd)
	if err != nil {
		return nil, err
	}
	if r.syslog, err = checkSyslog(); err != nil {
		return nil, err
	}
	var run [8]byte
	rand.Read(run[:])
	version, _, _ := strings.Cut(buildInfo(), ",")
	r.log = audit.New(dir)
	r.common = audit.Record{
		Run: hex.EncodeToString(run[:]), PID: os.Getpid(), Operation: operation, DryRun: isDryRun(cmd),
		User: userName(), SudoUser: os.Getenv("SUDO_USER"), Host: audit.Host(), Version: version, Keys: providers(cmd),
	}
	if r.common.DryRun {
		r.effect = reads
	}
	return r, nil
}

// begin records what a command is about to change, or which backup to open: what
// is killed leaves no other record.
func (r *recording) begin(cmd *cobra.Command, args []string) error {
	opens := r.common.Operation == "open" || strings.HasPrefix(r.common.Operation, "restore ")
	if r.log == nil || r.effect == reads && !opens {
		return nil
	}
	begun := r.common
	begun.Outcome = audit.Begun
	switch paths := aboutToTouch(cmd, begun.Operation, args); {
	case len(paths) == 1:
		begun.Path = paths[0]
	case len(paths) > 1:
		begun.Paths = paths
	case flagText(cmd, "latest") == "true":
		begun.Detail = "the latest backup"
	}
	err := r.write(cmd, begun)
	switch {
	case err == nil:
		return nil
	case context.Cause(cmd.Context()) != nil:
		return err
	case r.effect == reads:
		r.warn(cmd, err)
		return nil
	}
	return r.refusal(err)
}

// refusal is why a command does not begin, or not go on.
func (r *recording) refusal(err error) error {
	return &store.Error{Op: "record in", Path: r.log.Dir(), Err: fmt.Errorf("%w; %w", err, errUnrecorded)}
}

func (r *recording) warn(cmd *cobra.Command, err error) {
	r.warning.Do(func() { warn(cmd, "what was done is not recorded: %v", err) })
}

// errUnrecorded is why a command did not begin, or stopped.
var errUnrecorded = errors.New("what cannot be recorded is not done, unless with --audit=off")

// end records how a command ended.
func (r *recording) end(cmd *cobra.Command, fault error) {
	r.record.Fault = fault
	// What was done was done: a failure is no more than a warning.
	if err := r.append(cmd, r.record); err != nil {
		r.warn(cmd, err)
	}
}

// append completes a record and appends it.
func (r *recording) append(cmd *cobra.Command, rec audit.Record) error {
	if r.log == nil {
		return nil
	}
	c := r.common
	rec.Run, rec.PID, rec.Operation, rec.DryRun = c.Run, c.PID, c.Operation, c.DryRun
	rec.User, rec.SudoUser, rec.Host, rec.Version = c.User, c.SudoUser, c.Host, c.Version
	if rec.Keys == nil {
		rec.Keys = c.Keys
	}
	code, _ := verdict(rec.Fault)
	rec.ExitCode = &code
	switch {
	case code == exitSignal:
		rec.Outcome = audit.Stopped
	case rec.Fault != nil:
		rec.Outcome = audit.Failed
	case rec.Outcome == "":
		rec.Outcome = audit.Done
	}
	if rec.Fault != nil {
		rec.Error = rec.Fault.Error()
	}
	if rec.Meter != nil {
		rec.BytesIn, rec.BytesOut = rec.Meter.In(), rec.Meter.Out()
	}
	rec.Path = absolute(rec.Path)
	return r.write(cmd, rec)
}

// write appends a record, also when the command was stopped, and copies it to
// syslog.
func (r *recording) write(cmd *cobra.Command, rec audit.Record) error {
	ctx := cmd.Context()
	if rec.Outcome != audit.Begun {
		ctx = context.WithoutCancel(ctx)
	}
	err := r.log.Append(ctx, rec)
	if r.syslog == "" {
		return err
	}
	if err := toSyslog(r.syslog, rec.Clean()); err != nil {
		r.unsent.Do(func() { warn(cmd, "the record was not copied to syslog: %v", err) })
	}
	return err
}

// recordOf returns the record that the command leaves at its end, for the
// command to fill in. That of a command that leaves none is written nowhere. It
// is not safe for concurrent use.
func recordOf(cmd *cobra.Command) *audit.Record {
	if r, ok := cmd.Context().Value(recordingKey{}).(*recording); ok {
		return &r.record
	}
	return new(audit.Record)
}

// recordKey says in the record which key was written, and where.
func recordKey(cmd *cobra.Command, path string, id kek.ID) {
	rec := recordOf(cmd)
	rec.Path, rec.KeyIDs = path, []kek.ID{id}
}

// recordBackup appends a record of one of several backups that a command works
// on; its Fault says how that went. When that fails, a command that changes
// backups is stopped: its context ends. It is safe for concurrent use.
func recordBackup(cmd *cobra.Command, rec audit.Record) {
	r, ok := cmd.Context().Value(recordingKey{}).(*recording)
	if !ok {
		return
	}
	err := r.append(cmd, rec)
	switch {
	case err == nil:
	case r.effect == changes:
		r.stop(r.refusal(fmt.Errorf("what became of %s, the last backup that was worked on: %w", printable(rec.Path), err)))
	default:
		r.warn(cmd, err)
	}
}
