package report

import (
	"errors"
	"testing"

	"github.com/takumi-backup/takumi-backup/verify/runs"
)

// TestSilent: a job that nobody listens to fails with its own error.
func TestSilent(t *testing.T) {
	t.Parallel()
	own := errors.New("its own")
	j := Job{Log: new(Log), StateDir: func() (string, error) { return "", errors.New("no folder") }}
	if err := j.Run(t.Context(), "backup", func(*runs.Run) error { return own }); err != own {
		t.Error(err)
	}
}
