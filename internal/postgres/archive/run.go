package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// ErrNoMemory is returned where there are no files that live in memory alone.
var ErrNoMemory = errors.New("this system has no files in memory")

// Restorer runs pg_restore.
type Restorer struct {
	Program string   // its path
	Environ []string // what leads to the server
	Stderr  io.Writer
}

// SQL returns the statements of a section (pre-data, post-data) of the contents, or,
// without one, of the entries with these ids.
func (p Restorer) SQL(ctx context.Context, c []byte, section string, ids ...int) ([]byte, error) {
	args, files := []string{"--file=-"}, [][]byte{c}
	if section != "" {
		args = append(args, "--section="+section)
	} else {
		var list bytes.Buffer
		for _, id := range ids {
			fmt.Fprintf(&list, "%d;\n", id)
		}
		args, files = append(args, "--use-list=/proc/self/fd/4"), append(files, list.Bytes())
	}
	var out bytes.Buffer
	err := p.run(ctx, &out, args, files)
	return out.Bytes(), err
}

// PostData makes indexes, constraints, and what else comes after the rows, jobs at a time.
// Target names the database, as postgres.Settings.Target does.
func (p Restorer) PostData(ctx context.Context, c []byte, target string, jobs int) error {
	return p.run(ctx, nil, []string{"--no-password", "--exit-on-error", "--section=post-data", fmt.Sprintf("--jobs=%d", jobs), target}, [][]byte{c})
}

// run gives the files to pg_restore, the first as the archive. They never touch a disk.
func (p Restorer) run(ctx context.Context, out io.Writer, args []string, files [][]byte) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, p.Program, append(args, "/proc/self/fd/3")...)
	cmd.Env = append(secretenv.Environ(), p.Environ...)
	cmd.Stdout, cmd.Stderr = out, io.MultiWriter(p.Stderr, &said)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // its workers too
	cmd.WaitDelay = 10 * time.Second
	for _, content := range files {
		f, err := inMemory(content)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		last := strings.TrimSpace(said.String())
		return fmt.Errorf("pg_restore: %w: %s", err, last[strings.LastIndexByte(last, '\n')+1:])
	}
	return nil
}
