package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/named"
)

type signCommand struct {
	keys     keyFlags
	signing  signFlags
	progress progressFlags
	meter    backup.Meter

	place  store.Store
	ring   *keystore.Ring
	signer ssh.Signer
}

func newSign() *cobra.Command {
	s := new(signCommand)
	cmd := &cobra.Command{
		Use:   "sign [flags] PATH...",
		Short: "Sign backups that exist",
		Long: `Write the signature of each backup at PATH, a file or a folder, next to it as
FILE.sig. A backup is authenticated to its end before it is signed.

A signature says that the holder of the signing key vouches for the backup; opening
alone does not show who made it. Sign only backups that are known to be yours.

A signature of the same backup by another key is replaced. A signature of another
backup, or a file that is not one, is refused and stays.`,
		Example: `  takumi-backup sign --sign-key /etc/takumi-backup/sign.key /var/backups/takumi
  takumi-backup sign --sign-key agent:SHA256:kyNTjdctWbmeqtBJCDtKdrUrQEcOrqt52Q3VkRsebKs s3://backups/takumi`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args) },
	}
	s.signing.add(cmd, "sign with this key")
	s.keys.add(cmd, "open with this key")
	s.keys.addIdentities(cmd)
	s.progress.add(cmd)
	return audited(cmd, "sign", changes)
}

func (s *signCommand) run(cmd *cobra.Command, paths []string) (err error) {
	ctx := cmd.Context()
	s.place = newPlace()
	if s.signer, err = s.signing.signer(ctx, &s.keys.passphrase, foldersOf(paths)); err != nil {
		return err
	}
	if s.signer == nil {
		return usagef("name the key that signs: --sign-key, or %s", signKeyVariable)
	}
	if s.ring, err = s.keys.ring(); err != nil {
		return err
	}
	defer s.ring.Close()
	found, several, err := backup.Find(ctx, s.place, paths)
	if err != nil {
		return err
	}
	var total int64
	for _, b := range found {
		total += b.Size
	}
	hide := s.progress.start(cmd.ErrOrStderr(), "signing", total, &s.meter)
	defer hide()
	failed := 0
	for i := range found {
		err := s.one(cmd, &found[i])
		if ctx.Err() != nil || err != nil && !several {
			return err
		}
		if err != nil {
			failed++
			report(cmd.ErrOrStderr(), err)
		}
	}
	rec := recordOf(cmd)
	rec.Backups, rec.Failures = len(found), failed
	if len(found) == 0 {
		warn(cmd, "there are no backups to sign")
	}
	if failed > 0 {
		return errSome
	}
	return nil
}

// foldersOf returns the folders of backups, and of folders of backups, at the paths.
func foldersOf(paths []string) []string {
	folders := make([]string, len(paths))
	for i, path := range paths {
		if folders[i] = path; !store.IsRemote(path) && (store.Backup{Path: path}).Named() {
			folders[i] = store.Dir(path)
		}
	}
	return folders
}

func (s *signCommand) one(cmd *cobra.Command, b *backup.Backup) error {
	err := b.Err
	rec := audit.Record{Path: b.Path}
	outcome := "signed"
	if err == nil {
		e, already, signErr := backup.Sign(cmd.Context(), s.place, b.Path, s.signer, backup.Options{Keys: s.ring, Meter: &s.meter})
		if err = signErr; e != nil {
			describe(&rec, e, e.Holders()...)
		}
		if already {
			outcome = "skipped"
		}
	}
	rec.Fault = harden.Ending(cmd.Context(), err)
	recordBackup(cmd, rec)
	if err != nil {
		return aboutPath("signing", b.Path, err)
	}
	return printf(cmd, "%-7s  %s\n", outcome, printable(b.Path))
}

// signKeyVariable names the key that signs.
const signKeyVariable = "TAKUMI_SIGN_KEY"

// signFlags say who signs.
type signFlags struct {
	key string // PATH, agent or agent:FINGERPRINT
}

func (s *signFlags) add(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&s.key, "sign-key", "", usage+": an OpenSSH private key, or agent or agent:SHA256:… for one of the ssh-agent (default $"+signKeyVariable+")")
}

// signer returns the key, nil when none is named. Its file has to be apart from the folders
// of backups.
func (s *signFlags) signer(ctx context.Context, p *passphraseFlags, folders []string) (ssh.Signer, error) {
	return named.Signer(ctx, cmp.Or(s.key, conf.Get(signKeyVariable)), conf.Get("SSH_AUTH_SOCK"), folders, p.ask)
}
