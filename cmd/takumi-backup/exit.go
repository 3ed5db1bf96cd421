package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/scratch"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/keystore"
	pgrestore "github.com/takumi-backup/takumi-backup/restore/database"
	"github.com/takumi-backup/takumi-backup/restore/tree"
	"github.com/takumi-backup/takumi-backup/stream"
	"github.com/takumi-backup/takumi-backup/stream/pack"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
)

// The exit codes. 2 is left alone: it is what a crashed Go program returns.
const (
	exitOK      = 0
	exitFailed  = 1
	exitSource  = 3
	exitKey     = 4
	exitDamaged = 5
	exitSome    = 6
	exitStore   = 7
	exitUsage   = 64
	exitSignal  = 130
)

const exitCodesHelp = `Exit codes:
  0    done
  1    failed
  3    source failed or incomplete: the command died, empty or truncated input
  4    key missing, refused or wrong
  5    backup damaged, truncated or altered
  6    some of several failed
  7    store unreachable, denied, read-only or full
  64   usage
  130  stopped by INT, TERM or HUP`

// usageError is a mistake on the command line or in the environment.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// sourceError is a failure to read what was to be sealed. It comes apart from
// the store's, which may have the same errno.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

var (
	// errSome is returned when some of several paths failed; each has been
	// reported by then.
	errSome = errors.New("some failed")
	// errStdout marks the failure of standard output, which is not a store.
	errStdout = errors.New("writing standard output")
)

// storeErrnos are what a full, read-only or denied store answers, wherever the
// system call was made.
var storeErrnos = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// verdict is the one place that maps an error to its exit code and to a hint
// of what to do next. Library errors say what is wrong, and no more.
func verdict(err error) (code int, hint string) {
	var (
		incomplete *guard.IncompleteError
		exited     *source.ExitError
		started    *source.StartError
		keyFault   *keystore.Error
		wrong      *envelope.WrongKeyError
		newer      *envelope.VersionError
		chunk      *stream.ChunkError
		unpack     *pack.Error
		refused    *s3store.Fault
		found      *verify.Fault
	)
	switch {
	case err == nil:
		return exitOK, ""
	case errors.As(err, new(*signalError)):
		return exitSignal, "nothing unfinished was kept"
	case errors.Is(err, audit.ErrUnrecorded):
		return exitStore, "look at the folder of the audit log, its owner and its disk; nothing further was done"
	case errors.As(err, new(usageError)):
		return exitUsage, "takumi-backup --help, or COMMAND --help, shows how"

	case errors.Is(err, guard.ErrUnsupported):
		return exitSource, "if the input is known to be whole, seal --guard=off seals it unchecked"
	case errors.As(err, &incomplete):
		return exitSource, "look why the source stopped early; nothing was kept, and nothing was changed. (seal --guard=off seals it as it is)"
	case errors.Is(err, guard.ErrEmpty):
		return exitSource, "look why the source gave nothing; nothing was kept. (seal --allow-empty seals it all the same)"
	case errors.As(err, &exited):
		return exitSource, "nothing was kept; what the command says of it stands above"
	case errors.As(err, &started):
		return exitSource, "check the name, the path and the permissions of the command; nothing was kept"
	case errors.As(err, new(sourceError)):
		return exitSource, "nothing was kept"

	case errors.Is(err, keystore.ErrNone):
		return exitKey, "give --key file:PATH, or set BACKUP_ENCRYPTION_KEY_FILE or SECRETS_BACKEND; `takumi-backup key generate -o PATH` makes a key"
	case errors.As(err, &wrong):
		return exitKey, "find the key with one of the ids that the backup wants (takumi-backup key id --key URI), and give it with --key"
	case errors.As(err, &keyFault):
		return exitKey, "" // it says itself what to do
	case errors.Is(err, envelope.ErrSameKey), errors.Is(err, envelope.ErrTooLarge):
		return exitUsage, "give every key once, and no more than 32"

	case errors.Is(err, replicate.ErrIncomplete):
		return exitFailed, "takumi-backup verify says whether it is whole; --without-sidecar copies it as it is"
	case errors.Is(err, replicate.ErrRotten):
		return exitDamaged, "use another copy of this backup, or an older one"
	case errors.Is(err, replicate.ErrOther):
		return exitFailed, "find out why two backups have one name; --replace-others lets this one take its place"
	case errors.Is(err, rekey.ErrForeign), errors.Is(err, rekey.ErrLinked):
		return exitFailed, "" // they say themselves what to do
	case errors.As(err, &newer):
		return exitFailed, "upgrade takumi-backup"
	case errors.Is(err, envelope.ErrNotSealed):
		return exitDamaged, "takumi-backup seal makes files that begin with \"takumi-backup/v1\""
	case errors.Is(err, audit.ErrFirstKey):
		return exitKey, "give the first key of each part with --first-key"
	case errors.As(err, new(*audit.BrokenError)), errors.Is(err, audit.ErrCut), errors.Is(err, audit.ErrSignature):
		return exitDamaged, "keep the log as it is, and find out who could write it; audit show shows what is proved"
	case errors.Is(err, rekey.ErrRot):
		return exitDamaged, "use another copy of this backup; if a reencrypt of it was interrupted, run that again"
	case errors.Is(err, rekey.ErrBeside):
		return exitFailed, "name with --from the key that opens it"
	case errors.Is(err, envelope.ErrNoRoom):
		return exitFailed, "give --detached, or fewer keys"
	case errors.As(err, new(*rekey.ReadBackError)):
		return exitStore, "the old backup stands as it was; check the disk"
	case errors.As(err, new(*rekey.LegacyDamageError)):
		return exitDamaged, "use another copy of this file, or an older one"
	case errors.Is(err, rekey.ErrOtherSlots):
		return exitFailed, "--drop-other gives up the slots that this program cannot make anew"
	case errors.Is(err, rekey.ErrNotLegacy):
		return exitFailed, "takumi-backup inspect FILE says whether it is a sealed backup"
	case errors.Is(err, envelope.ErrAltered):
		return exitDamaged, "find out who changed it; --rescue opens it, and the payload is authenticated all the same"
	case errors.As(err, &chunk), errors.Is(err, stream.ErrTruncated), errors.Is(err, envelope.ErrTruncated):
		return exitDamaged, "use another copy of this backup, or an older one"
	case errors.As(err, new(*stream.TrailingError)):
		return exitDamaged, "the backup itself is whole: cut the file at that byte, and find out who appended to it"
	case errors.As(err, &unpack), errors.As(err, new(*envelope.SyntaxError)), errors.Is(err, stream.ErrTooLong),
		errors.Is(err, envelope.ErrDamagedSlot), errors.Is(err, envelope.ErrDamagedHead):
		return exitDamaged, "use another copy of this backup, or an older one"

	case errors.As(err, new(*tree.UnsafeError)):
		return exitFailed, "nothing was restored; find out who made this archive: takumi-backup open FILE | tar -tv lists it"
	case errors.Is(err, tree.ErrArchive):
		return exitFailed, "what was sealed is authentic, but it is no tar archive: takumi-backup inspect says what it is"
	case errors.Is(err, tree.ErrNoMatch):
		return exitFailed, "--dry-run lists what the archive holds"
	case errors.Is(err, tree.ErrTarget), errors.Is(err, tree.ErrNotEmpty), errors.Is(err, tree.ErrReplaced):
		return exitFailed, "name another folder with --to; nothing was changed"
	case errors.Is(err, contracts.ErrReorg):
		return exitFailed, "run it again"
	case errors.Is(err, contracts.ErrLie):
		return exitFailed, "ask another node"
	case errors.Is(err, rehearse.ErrDiffers), errors.Is(err, rehearse.ErrNotRestorable):
		return exitFailed, "rehearse the backup before this one, to find out since when it is so, and make a new one now"
	case errors.Is(err, scratch.ErrNoServer):
		return exitFailed, "install PostgreSQL's server, or set one aside and give --database-url"
	case errors.Is(err, scratch.ErrPath):
		return exitUsage, "name a shorter folder with --scratch-dir"
	case errors.Is(err, pgrestore.ErrIncomplete), errors.Is(err, pgrestore.ErrDiffers), errors.Is(err, pgrestore.ErrNotADump):
		return exitFailed, "the live database is as it was; use another backup"
	case errors.As(err, new(*pgrestore.FeedError)):
		return exitFailed, "the live database is as it was; what the program says of it stands above"
	case errors.Is(err, pgrestore.ErrUnsettled):
		return exitFailed, "the exchange may be done: look with psql -l before anything else"
	case errors.As(err, new(*postgres.ConnectError)):
		return exitFailed, "check DB_HOST, DB_PORT, DB_USER and DB_PASSWORD, and that the server runs"
	case errors.Is(err, pgrestore.ErrBusy), errors.Is(err, fsutil.ErrHeld), errors.Is(err, rekey.ErrHeld):
		return exitFailed, "wait for the other run, or look why it takes so long"

	case errors.Is(err, errSome):
		return exitSome, ""
	case errors.Is(err, store.ErrName), errors.Is(err, store.ErrScheme):
		return exitUsage, ""
	case errors.Is(err, syscall.EPIPE):
		return exitFailed, "who read the output is gone"
	case errors.Is(err, errStdout) && isAny(err, storeErrnos):
		return exitStore, "look at where standard output goes"
	case errors.As(err, new(*s3store.OtherBackupError)):
		return exitFailed, "look at the versions of this object: docs/OFFSITE.md, against ransomware"
	case errors.As(err, new(*s3store.LockedError)):
		return exitStore, "it can be deleted when its lock has ended"
	case errors.Is(err, s3store.ErrTooLarge):
		return exitStore, "use another store, or a codec that packs better; nothing was kept"
	case errors.As(err, &refused) && refused.Fix != "":
		return exitStore, refused.Fix
	case store.IsStoreFault(err), isAny(err, storeErrnos):
		return exitStore, "check that the folder is there, its free space, quota and permissions; nothing was kept"
	case errors.As(err, &found):
		return foundCode(found.Finding.Code), found.Finding.Advice
	case errors.Is(err, store.ErrChanged):
		return exitFailed, "run it again"
	case errors.Is(err, store.ErrExists), errors.Is(err, fs.ErrExist):
		return exitFailed, "choose another name, or move the old file away"
	}
	return exitFailed, ""
}

// foundCode is the exit code of a finding of verify that no error stands behind.
func foundCode(code verify.Code) int {
	switch code {
	case verify.NoKey:
		return exitKey
	case verify.Unreadable, verify.Newer, verify.NotRehearsed: // nothing is said against the backup
		return exitFailed
	}
	return exitDamaged
}

// report prints an error and its hint, and returns the exit code.
func report(w io.Writer, err error) int {
	code, hint := verdict(err)
	if err == nil || errors.Is(err, errSome) {
		return code
	}
	text := err.Error()
	// A key that was pasted where something else belongs must not go on to a log.
	if redact.HasKey(text) {
		text = redact.Keys(text)
		hint = "what was redacted looks like a key: others may have seen it by now, so make a new one"
	}
	fmt.Fprintf(w, "takumi-backup: %s\n", text)
	if hint != "" {
		fmt.Fprintf(w, "  %s\n", hint)
	}
	return code
}
