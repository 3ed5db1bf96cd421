package rehearse

import (
	"context"
	"errors"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/verify"
)

// Serve has a job of verify restore the backups on the stage that can be.
func (s *Stage) Serve(j *verify.Job) {
	j.CanRestore = func(b *verify.Backup) bool { return Can(b.Kind, b.Name) }
	j.Restore = func(ctx context.Context, b *verify.Backup) []verify.Finding {
		_, err := s.Run(ctx, b.Path, new(backup.Meter))
		f := verify.Finding{Severity: verify.Error}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrDiffers):
			f.Code, f.Advice = verify.Differs, "use an older backup, and make a new one now"
		case errors.Is(err, ErrNotRestorable):
			f.Code, f.Advice = verify.NotRestorable, "use an older backup, and make a new one now"
		default:
			f.Code, f.Advice = verify.NotRehearsed, "this says nothing of the backup: see that it can be restored, and run it again"
		}
		f.Message = err.Error()
		return []verify.Finding{f}
	}
}
