package verify

import (
	"errors"
	"fmt"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

const (
	adviceCopy = "use another copy of this backup, and look at the disk: dmesg, smartctl"
	adviceKey  = "find the key with one of these ids (takumi-backup key id --key URI), and give it with --key; without it nothing is proved"
)

// fault converts an error of opening or reading a backup to a finding. size is the file's.
func fault(err error, size int64) Finding {
	f := Finding{Severity: Error, Message: redact.Error(err), cause: err}
	var newer *envelope.VersionError
	var chunk *stream.ChunkError
	var trailing *stream.TrailingError
	var unpack *pack.Error
	switch {
	case errors.Is(err, backup.ErrUnsigned):
		f.Code, f.Advice = Unsigned, "if it is known who made it, sign it: takumi-backup sign PATH"
	case isBadSignature(err):
		f.Code = BadSignature
		_, f.Advice = fail.Of(err)
	case backup.NoKey(err):
		f.Code, f.Advice = NoKey, adviceKey
	case errors.As(err, &newer):
		f.Code, f.Advice = Newer, "upgrade takumi-backup"
	case errors.Is(err, envelope.ErrNotSealed):
		f.Code, f.Advice = NotSealed, "if it was a backup, its head is gone: use another copy; if it never was one, it does not belong here"
		if foreign, ok := errors.AsType[*backup.ForeignError](err); ok {
			_, f.Advice = foreign.Fail()
		}
	case errors.Is(err, envelope.ErrAltered):
		f.Code, f.Advice = Altered, "find out who changed it; takumi-backup open --rescue opens it, and the payload is authenticated all the same"
	case errors.As(err, new(*envelope.SyntaxError)):
		f.Code, f.Advice = Altered, adviceCopy
	case errors.Is(err, envelope.ErrTruncated), errors.Is(err, stream.ErrTruncated):
		f.Code, f.Offset, f.Advice = Truncated, &size, adviceCopy
		f.Message = fmt.Sprintf("%v, after %d bytes", err, size)
	case errors.As(err, &chunk):
		f.Message = chunk.Error()
		f.Code, f.Chunk, f.Offset, f.Advice = Damaged, &chunk.Index, &chunk.Offset, adviceCopy
	case errors.As(err, &trailing):
		f.Message = trailing.Error()
		f.Code, f.Offset = Trailing, &trailing.Offset
		f.Advice = "cut the file at that byte, and find out who appended to it: the backup itself is whole"
	case errors.Is(err, envelope.ErrDamagedSlot), errors.Is(err, envelope.ErrDamagedHead), errors.Is(err, stream.ErrTooLong):
		f.Code, f.Advice = Damaged, adviceCopy
	case errors.As(err, &unpack):
		f.Message = unpack.Error()
		f.Code, f.Advice = NotRestorable, "it is as it was sealed, and was bad then already: use an older backup, and make a new one now"
	case errors.Is(err, store.ErrArchived):
		f.Code, f.Message = Archived, "it is in an archive of S3, and was not read"
		f.Advice = "fetch it back with takumi-backup restore-object PATH, and verify it when it is there"
	default:
		f.Code, f.Advice = Unreadable, "look at the store: is it mounted, may it be read, does the disk report errors?"
	}
	return f
}

// Listed returns the findings on a listed backup, of which only the head was read.
func Listed(b *backup.Backup) (found []Finding) {
	switch {
	case b.State == backup.Bad:
		found = append(found, fault(b.Err, b.Size))
	case b.Doubt != nil:
		_, hint := fail.Of(b.Doubt)
		found = append(found, Finding{Severity: Error, Code: Doubtful, Message: b.Doubt.Error(), Advice: hint, cause: b.Doubt})
	}
	if !b.Sidecar && b.Readable() {
		found = append(found, Finding{Severity: Warning, Code: SidecarMissing, Message: "there is no sidecar", Advice: "verify the backup: it may never have been finished"})
	}
	return found
}

func isBadSignature(err error) bool {
	for _, kind := range []error{sign.ErrMalformed, sign.ErrInvalid, sign.ErrOtherBackup, sign.ErrPayload} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return errors.As(err, new(*sign.UntrustedError))
}
