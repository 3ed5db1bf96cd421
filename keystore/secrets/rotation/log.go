package rotation

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// LogFile is the name of the handbook's log in the folder of the rotation.
const LogFile = "rotation-audit.log"

// AppendLog writes a line of the handbook's log: [2025-11-25T02:00:15Z] [INFO] text. The
// file is only ever appended to; nothing here takes lines away.
func AppendLog(dir string, at time.Time, l Level, text string) error {
	if err := fsutil.MkdirAll(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, LogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "[%s] [%s] %s\n", at.UTC().Format("2006-01-02T15:04:05Z"), l, redact.Line(text, 1000))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
