package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/serve"
)

type serveCommand struct {
	serve.Options
	keys            keyFlags
	tokenFile       string
	signers, report string
	contents        bool
}

func newServe() *cobra.Command {
	s := new(serveCommand)
	cmd := &cobra.Command{
		Use:   "serve [flags] [ROOT]",
		Short: "Show on web pages how the backups are, and change nothing",
		Long: `Show the backups in and under ROOT ($BACKUP_ROOT by default) on read-only web pages of
this host: the status, each series over time, the backups with their faults and the
command that restores each, the findings of verify, the drills, and the end of the
audit log.

The store is read on request, at most every 15 seconds and a tenth of the time. Keys authenticate backups as in status; they are fetched for each
reading and wiped at its end; a passphrase is taken from $TAKUMI_PASSPHRASE_FILE alone.

On 127.0.0.1 every user of this host can read the pages. --token-file names a private
file with a token, which browsers ask for as a password, with any user name. Another
address than a loopback one needs it, and --tls-cert and --tls-key. --contents, which
needs a token too, shows what is in a backup, by its index; the audit log records who
looked.`,
		Example: `  takumi-backup serve
  ssh -L 8480:127.0.0.1:8480 HOST        # and then http://127.0.0.1:8480/ here
  takumi-backup serve --contents --token-file /etc/takumi-backup/serve.token
  takumi-backup serve --listen :8480 --token-file serve.token --tls-cert cert.pem --tls-key key.pem`,
		Annotations: records("serve"),
		Args:        usageArgs(cobra.MaximumNArgs(1)),
		RunE:        func(cmd *cobra.Command, args []string) error { return s.run(cmd, rootArg(args)) },
	}
	f := cmd.Flags()
	f.StringVar(&s.Listen, "listen", "127.0.0.1:8480", "HOST:PORT to listen on; port 0 for any that is free")
	f.StringVar(&s.tokenFile, "token-file", "", "ask for the token in this file, of 24 characters or more")
	f.StringVar(&s.Cert, "tls-cert", "", "certificate of TLS, and those above it, as PEM")
	f.StringVar(&s.Key, "tls-key", "", "its key")
	f.StringArrayVar(&s.Hosts, "host", nil, "answer for this host name too, as behind a proxy; may be repeated")
	f.BoolVar(&s.contents, "contents", false, "show what is in a backup, when somebody asks for it")
	f.StringVar(&s.report, "report", "", "show the findings in this JSON of verify (default verify.json in the state folder)")
	s.keys.add(cmd, "authenticate, and open for --contents, with this key")
	s.keys.addIdentities(cmd)
	addSigners(f, &s.signers, "put in doubt what none of these has signed")
	return cmd
}

func (s *serveCommand) run(cmd *cobra.Command, root string) (err error) {
	s.keys.passphrase.from.Forget = true
	s.Root, s.Place, s.Log = root, newPlace(), warner(cmd)
	if root == conf.StoreFolder() {
		s.Copies = conf.Also()
	}
	if s.MaxAge, err = verify.MaxAges(conf, nil); err != nil {
		return err
	}
	if s.State, err = stateDirOr(""); err != nil {
		return err
	}
	if s.Audit, err = auditFolder(cmd, nil); err != nil {
		return err
	}
	s.Report = cmp.Or(s.report, filepath.Join(s.State, "verify.json"))
	if s.Signers, err = trusted(s.signers); err != nil {
		return err
	}
	if s.tokenFile != "" {
		text, err := fsutil.ReadPrivate(s.tokenFile, 1<<10)
		if err != nil {
			return usagef("--token-file: %w", err)
		}
		s.Token = bytes.TrimSpace(text)
	}
	s.Keys = func() (*keystore.Ring, error) {
		keys := s.keys // readings go on at the same time
		return keys.ring()
	}
	ring, err := s.Keys()
	if err != nil {
		return err
	}
	ring.Close()
	warnPlacement(cmd, ring.Places(), root)
	if s.contents {
		s.Session = func() (*audit.Session, error) { return newSession(cmd, "serve", reads) }
	}
	return serve.Run(cmd.Context(), s.Options, func(url string) {
		fmt.Fprintf(os.Stderr, "takumi-backup: %s shows the backups in %s\n", url, printable(root))
	})
}
