package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
)

type openCommand struct {
	opening
	out      string
	packed   bool
	member   string
	format   string // of the rows of a table
	force    bool
	forceTTY bool
}

func newOpen() *cobra.Command {
	o := new(openCommand)
	cmd := &cobra.Command{
		Use:   "open [flags] FILE|-",
		Short: "Open a sealed backup: its original bytes",
		Long: `Open a sealed backup and write its original bytes to standard output, or with
-o to a file, which appears only when all of the backup has proved authentic.

On standard output every byte is authentic, and in its place, but the backup is
whole only when the exit code is 0: feed it to something that can be undone, as
psql --single-transaction.

--member PATH writes one file of an archive, or the rows of one table of a plain dump,
named as ls does, and with an index reads only the parts that hold them. Rows come as
COPY … TO STDOUT writes them, or with --format csv as CSV with a line of the columns'
names. That the rest of the backup is whole is not proved.`,
		Example: `  takumi-backup open takumi_db_20261123_020000.sql.zst.enc | psql --single-transaction -v ON_ERROR_STOP=1 takumi_test
  takumi-backup open backup.enc -o dump.sql
  takumi-backup open --packed backup.enc | zstd -d | less
  takumi-backup open backup.enc --member public.orders --format csv -o orders.csv`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.out, "output", "o", "", "write to this file (default: standard output)")
	f.BoolVar(&o.packed, "packed", false, "leave the content packed, as a .zst or .gz file")
	f.StringVar(&o.member, "member", "", "write this file of the archive, or the rows of this table of the dump, alone")
	f.StringVar(&o.format, "format", "", "of the rows of a table: copy or csv (default copy)")
	f.BoolVar(&o.force, "force", false, "let -o replace a file")
	f.BoolVar(&o.forceTTY, "force-tty", false, "write to a terminal")
	o.add(cmd)
	return audited(cmd, "open", prints)
}

func (o *openCommand) run(cmd *cobra.Command, path string) error {
	switch toStdout := o.out == "" || o.out == "-"; {
	case cmd.Flags().Changed("output") && o.out == "":
		return usagef("--output is empty")
	case toStdout && !o.forceTTY && terminal.Is(os.Stdout):
		return usagef("standard output is a terminal: give -o FILE, a pipe, or --force-tty")
	case toStdout && o.force:
		return usagef("--force goes with -o FILE")
	case path == "-" && terminal.Is(os.Stdin):
		return usagef("standard input is a terminal: pipe a backup in, or name a file")
	}
	if o.force && sameFile(path, o.out) {
		return usagef("%s is the backup itself: -o --force would put its content in its place", o.out)
	}
	if cmd.Flags().Changed("member") {
		if o.packed || o.member == "" {
			return usagef("--member names a file or a table, and does not go with --packed")
		}
		return o.one(cmd, path)
	}
	if o.format != "" {
		return usagef("--format goes with --member TABLE")
	}
	r, err := o.open(cmd, path)
	if err != nil {
		return err
	}
	defer r.Close()
	hide := o.progress.start(cmd.ErrOrStderr(), "opening", r.Size(), &o.meter)
	err = o.into(func(dst io.Writer) error { return backup.Unseal(dst, r.Handle.Reader, o.packed, &o.meter) })
	hide()
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	return nil
}

func (o *openCommand) one(cmd *cobra.Command, path string) error {
	switch {
	case path == "-":
		return usagef("--member needs a backup that can be read twice, not standard input")
	case o.format != "" && o.format != "copy" && o.format != "csv":
		return usagef("--format is %q, neither copy nor csv", o.format)
	}
	in, done, err := o.look(cmd, path)
	if err != nil {
		return err
	}
	defer done()
	dump, err := in.IsDump()
	if err != nil {
		return err
	}
	if o.format != "" && !dump {
		return usagef("--format is for the rows of a table, and %s is not a plain dump", path)
	}
	return o.into(func(dst io.Writer) error {
		if dump {
			return in.WriteRows(o.member, o.format == "csv", dst)
		}
		return in.WriteFile(o.member, dst)
	})
}

// into has write send to the destination. A file gets its name only after
// the last byte has proved authentic.
func (o *openCommand) into(write func(io.Writer) error) error {
	if o.out == "" || o.out == "-" {
		return write(stdout{os.Stdout})
	}
	f, err := local.Create(o.out, store.Options{Replace: o.force})
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := write(f); err != nil {
		return err
	}
	_, err = f.Commit()
	return err
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
