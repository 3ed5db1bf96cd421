package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/scratch"
	pgrestore "github.com/takumi-backup/takumi-backup/restore/database"
)

const (
	// stageName is the database that is restored, and stageMark its comment by
	// which the next rehearsal knows what a killed one has left.
	stageName = "takumi_rehearsal"
	stageMark = "takumi-backup: a rehearsal made this, and removes it"

	// maxRoles bounds the roles that are made for one dump.
	maxRoles = 100

	// goodbye is how long tidying up may take.
	goodbye = 30 * time.Second
)

func (s *Stage) database(ctx context.Context, path string, f *backup.Handle, out *Outcome, m *backup.Meter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want, useless := backup.FindManifest(ctx, s.o.Place, path, f.Envelope, backup.Options{Keys: s.o.Keys})
	for _, why := range useless {
		out.note("a manifest is not used: %v", why)
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	if want != nil && s.o.Database == nil {
		if err := s.provide(ctx, want, out); err != nil {
			return err
		}
	}
	locale, unlike := s.localeOf(want)
	looked := false
	for range maxRoles {
		err := s.restore(ctx, path, want, locale, out, m)
		if unlike == "" && localeRefused(err) {
			unlike = fmt.Sprintf("locale %s is missing here", cmp.Or(locale.Locale, locale.Collate))
			out.note("%s: it was rehearsed with C", unlike)
			locale.Collate, locale.CType, locale.Provider, locale.Locale, locale.Rules = "C", "C", "c", "", ""
			continue
		}
		err = judge(err, unlike)
		var refused *pgrestore.FeedError
		if s.o.Database != nil || !errors.As(err, &refused) || refused.Role == "" && (refused.Tablespace == "" || looked) {
			return err
		}
		// A scratch server has no roles but its own, and the dump gives things to
		// those of the live one. It starts anew, and so does the clock.
		if !looked {
			looked = true
			needs, err := pgrestore.Needs(ctx, s.o.Place, path, backup.Options{Keys: s.o.Keys, Signers: s.o.Signers})
			if err == nil {
				err = s.provide(ctx, &postgres.Manifest{Needs: needs}, out)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := s.makeRole(ctx, refused.Role); err != nil {
			return err
		}
		out.note("role %q was made for it: it is in the backup of the globals, if there is one", refused.Role)
	}
	return fmt.Errorf("%w: it gives things to more than %d roles", ErrNotRestorable, maxRoles)
}

// localeOf returns the properties that a rehearsal keeps of the live database, and why the
// locale may be another one, or "".
func (s *Stage) localeOf(want *postgres.Manifest) (locale *postgres.Properties, unlike string) {
	if want == nil || want.Properties == nil {
		return nil, "the locale is not known without a manifest"
	}
	p := want.Properties
	return &postgres.Properties{
		Owner: s.settings.User(), Tablespace: "pg_default", Limit: -1,
		Encoding: p.Encoding, Collate: p.Collate, CType: p.CType, Provider: p.Provider, Locale: p.Locale, Rules: p.Rules,
	}, ""
}

// localeRefused reports whether the server cannot make a database of the locale.
func localeRefused(err error) bool {
	unready, ok := errors.AsType[*pgrestore.UnreadyError](err)
	return postgres.IsLocaleRefused(err) || ok && slices.ContainsFunc(unready.Findings, func(f pgrestore.Finding) bool {
		return f.Check == "locale" && f.Weight == pgrestore.Stop
	})
}

// provide gives the scratch server what the dump needs: its roles, who may own what
// only superusers may, and tablespaces, which go where all is.
func (s *Stage) provide(ctx context.Context, want *postgres.Manifest, out *Outcome) error {
	spaces := slices.Clone(want.Tablespaces)
	roles := slices.Clone(want.Roles)
	if p := want.Properties; p != nil {
		spaces = append(spaces, p.Tablespace)
		roles = append(roles, p.Roles()...)
	}
	slices.Sort(roles)
	return s.do(ctx, "postgres", func(conn *pgx.Conn) error {
		made := 0
		for _, name := range slices.Compact(roles) {
			switch _, err := conn.Exec(ctx, "CREATE ROLE "+postgres.Quote(name)+" SUPERUSER"); {
			case err == nil:
				made++
			case !postgres.IsDuplicate(err):
				return fmt.Errorf("making role %q in the scratch server: %w", name, err)
			}
		}
		if made > 0 {
			out.note("%d roles were made for it: they are in the backup of the globals, if there is one", made)
		}
		slices.Sort(spaces)
		for _, name := range slices.Compact(spaces) {
			if name == "pg_default" || name == "" {
				continue
			}
			// It needs no folder of its own then.
			if _, err := conn.Exec(ctx, "SET allow_in_place_tablespaces = on"); err != nil {
				return fmt.Errorf("making tablespace %q in the scratch server: %w", name, err)
			}
			if _, err := conn.Exec(ctx, "CREATE TABLESPACE "+postgres.Quote(name)+" LOCATION ''"); err != nil && !postgres.IsDuplicate(err) {
				return fmt.Errorf("making tablespace %q in the scratch server: %w", name, err)
			}
		}
		return nil
	})
}

func (s *Stage) start(ctx context.Context) (err error) {
	if s.settings != nil {
		return nil
	}
	if s.silent == nil {
		if s.silent, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return err
		}
	}
	switch {
	case s.o.Database != nil:
		s.settings = s.o.Database.On(stageName)
	default:
		if s.cluster == nil {
			if s.cluster, err = scratch.Start(ctx, s.o.ScratchDir); err != nil {
				return err
			}
		}
		s.settings, err = postgres.FromURI(fmt.Sprintf("postgresql://%s@/%s?host=%s&port=%s",
			scratch.User, stageName, strings.ReplaceAll(url.QueryEscape(s.cluster.Dir()), "+", "%20"), scratch.Port))
		if err != nil {
			err = fmt.Errorf("finding the scratch server: %w", err)
		}
	}
	return err
}

// restore is one try: from the opening of the backup to a checked database, which
// is then dropped.
func (s *Stage) restore(ctx context.Context, path string, want *postgres.Manifest, locale *postgres.Properties, out *Outcome, m *backup.Meter) (err error) {
	out.Began = time.Now()
	at, err := s.begin(ctx, want, locale, out)
	if err != nil {
		return err
	}
	defer at.Close()
	result, err := s.feed(ctx, at, path, m)
	if err != nil {
		return err
	}
	defer func() {
		if dropErr := s.drop(ctx); dropErr != nil {
			err = errors.Join(err, dropErr)
		}
	}()
	out.Restored = time.Since(out.Began)
	if err := s.exec(ctx, "COMMENT ON DATABASE "+stageName+" IS '"+stageMark+"'"); err != nil {
		return err
	}
	out.Tables, out.Manifest = result.Tables, result.Compared
	if want != nil {
		out.Rows = rowsOf(want.Contents)
		what := "the rows of every table, with the manifest"
		if want.Summed() {
			what = "the rows and the content of every table, with the manifest"
		}
		out.Compared = append(out.Compared, what)
		return nil
	}
	out.note("the backup has no manifest to compare with (--manifest=off)")
	got, err := s.survey(ctx)
	if err != nil {
		return err
	}
	out.Rows = rowsOf(got)
	out.Compared = append(out.Compared, "that all of the dump restores, and every row can be read")
	return nil
}

func rowsOf(c postgres.Contents) (n int64) {
	for _, t := range c.Tables {
		n += t.Rows
	}
	return n
}

// begin takes the server for this rehearsal, and removes what a killed one left.
func (s *Stage) begin(ctx context.Context, want *postgres.Manifest, locale *postgres.Properties, out *Outcome) (*pgrestore.Restore, error) {
	from := ""
	if want != nil {
		plain := *want
		plain.Properties = locale
		want, from = &plain, want.Database
	}
	o := pgrestore.Options{Settings: s.settings, Manifest: want, From: from, Time: time.Now(), Stderr: s.silent, CreateRoles: true, Tell: func(string, ...any) {}, Warn: out.note}
	for {
		at, err := pgrestore.Begin(ctx, o)
		if err != nil || !at.Plan().Replaces {
			return at, err
		}
		// The lock is ours: nobody works on it.
		err = s.dropMarked(ctx)
		at.Close()
		if err != nil {
			return nil, err
		}
	}
}

// feed restores the dump. What psql says goes into the error alone.
func (s *Stage) feed(ctx context.Context, at *pgrestore.Restore, path string, m *backup.Meter) (pgrestore.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	f, err := s.open(ctx, path, m)
	if err != nil {
		cancel()
		return pgrestore.Result{}, err
	}
	defer f.Close()
	content := backup.NewPlaintext(f.Reader, m)
	defer content.Close()
	defer cancel()
	return at.Run(ctx, content)
}

// judge says what speaks against a backup from what speaks against the server. unlike says
// why the server's locale may not be the backup's, or is "".
func judge(err error, unlike string) error {
	var refused *pgrestore.FeedError
	switch {
	case errors.As(err, &refused) && strings.Contains(refused.Said, syscall.ENOSPC.Error()):
		// The words of the server are all that there is of its errno.
		return fmt.Errorf("the disk of the scratch server: %w: %s", syscall.ENOSPC, refused.Said)
	case errors.Is(err, pgrestore.ErrDiffers):
		return backupFault(ErrDiffers, err)
	case refused != nil && lacking.MatchString(refused.Said):
		return notHere("the server lacks what the dump needs", err)
	case unlike != "" && refused != nil && byLocale.MatchString(refused.Said):
		return notHere(unlike+", and another one refuses some good rows", err)
	case errors.Is(err, pgrestore.ErrNotADump), errors.Is(err, pgrestore.ErrIncomplete), refused != nil && refused.Role == "" && refused.Tablespace == "":
		return backupFault(ErrNotRestorable, err)
	}
	return err
}

// lacking are the server's words for a missing extension, library, preloaded library or
// locale.
var lacking = regexp.MustCompile(`extension control file|extension "[^"]*" is not available|shared_preload_libraries|must be preloaded|` +
	`could not access file "\$libdir/|could not create locale|collation "[^"]*" for encoding "[^"]*" does not exist`)

// byLocale are the server's words for rows and bounds of partitions that break a rule. Whether
// they do may depend on the locale: what a letter is, and how texts sort.
var byLocale = regexp.MustCompile(`violates (check|partition) constraint|is violated by some row|no partition of relation|empty range bound|would overlap partition`)

// notHere marks an error as one that says nothing of the backup.
func notHere(why string, err error) error {
	return fail.As(fail.Failed, "install on this host what the live server has, or name a server like it with --database-url", fmt.Errorf("not rehearsed: %s: %w", why, err))
}

func (s *Stage) makeRole(ctx context.Context, name string) error {
	if err := s.exec(ctx, "CREATE ROLE "+postgres.Quote(name)+" SUPERUSER"); err != nil {
		return fmt.Errorf("making role %q in the scratch server: %w", name, err)
	}
	return nil
}

func (s *Stage) dropMarked(ctx context.Context) error {
	return s.do(ctx, "postgres", func(conn *pgx.Conn) error {
		var mark string
		err := conn.QueryRow(ctx, "SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '') FROM pg_catalog.pg_database WHERE datname = $1",
			stageName).Scan(&mark)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if mark != stageMark {
			return fmt.Errorf("database %q of %s is there, and %w: rename it, or drop it", stageName, s.settings.Server(), ErrForeign)
		}
		return postgres.DropDatabase(ctx, conn, s.settings, stageName)
	})
}

func (s *Stage) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	err := s.do(ctx, "postgres", func(conn *pgx.Conn) error { return postgres.DropDatabase(ctx, conn, s.settings, stageName) })
	if err != nil {
		return fmt.Errorf("dropping the restored database %q: %w", stageName, err)
	}
	return nil
}

func (s *Stage) survey(ctx context.Context) (got postgres.Contents, err error) {
	err = s.do(ctx, stageName, func(conn *pgx.Conn) error {
		got, err = postgres.Count(ctx, conn)
		return err
	})
	return got, err
}

func (s *Stage) exec(ctx context.Context, sql string) error {
	return s.do(ctx, "postgres", func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func (s *Stage) do(ctx context.Context, database string, work func(*pgx.Conn) error) error {
	conn, err := s.settings.On(database).Connect(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	return work(conn)
}
