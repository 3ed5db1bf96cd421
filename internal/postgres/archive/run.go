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
		args, files = append(args, useList), append(files, listOf(ids))
	}
	var out bytes.Buffer
	err := p.run(ctx, &out, args, files)
	return out.Bytes(), err
}

const useList = "--use-list=/proc/self/fd/4"

func listOf(ids []int) []byte {
	var list bytes.Buffer
	for _, id := range ids {
		fmt.Fprintf(&list, "%d;\n", id)
	}
	return list.Bytes()
}

// PostData makes what comes after the rows: indexes and constraints jobs at a time, then
// foreign keys, then the rest in its order. Target names the database, as
// postgres.Settings.Target does.
func (p Restorer) PostData(ctx context.Context, raw []byte, target string, jobs int) error {
	c, err := Read(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	for i, ids := range c.phases() {
		if len(ids) == 0 {
			continue
		}
		args := []string{"--no-password", "--exit-on-error", "--section=post-data", useList, target}
		if i < inOrder {
			args = append(args, fmt.Sprintf("--jobs=%d", jobs))
		}
		if err := p.run(ctx, nil, args, [][]byte{raw, listOf(ids)}); err != nil {
			return err
		}
	}
	return nil
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
