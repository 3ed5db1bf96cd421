package status

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// Timer is one of this program's timers.
type Timer struct {
	Unit string    `json:"unit"`
	Next time.Time `json:"next,omitzero"` // zero when it is off
}

// HasSystemd reports whether systemd runs this host.
func HasSystemd() bool {
	info, err := os.Stat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Timers asks systemd for this program's timers; there are none where systemd does not
// run the host.
func Timers(ctx context.Context) ([]Timer, error) {
	if !HasSystemd() {
		return nil, nil
	}
	cmd := exec.CommandContext(ctx, "systemctl", "list-timers", "--all", "--output=json", "takumi-backup*")
	cmd.Env = secretenv.Environ()
	text, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return parseTimers(text)
}

func parseTimers(text []byte) ([]Timer, error) {
	var listed []struct {
		Unit string
		Next uint64 // µs
	}
	if err := json.Unmarshal(text, &listed); err != nil {
		return nil, err
	}
	var timers []Timer
	for _, l := range listed {
		t := Timer{Unit: l.Unit}
		if l.Next > 0 && l.Next < 1<<62 { // the largest number is never
			t.Next = time.UnixMicro(int64(l.Next)).UTC()
		}
		timers = append(timers, t)
	}
	return timers, nil
}
