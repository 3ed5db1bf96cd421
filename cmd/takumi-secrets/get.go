package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// mayPrint refuses to print a secret where people look, unless they asked for it.
func mayPrint(show bool) error {
	if !show && term.IsTerminal(int(os.Stdout.Fd())) {
		return fail.As(fail.Usage, "--show prints it all the same; a pipe or a file needs no flag", errors.New("standard output is a terminal, where a secret would stay to be seen"))
	}
	return nil
}

var secretName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)

// checkNames refuses what is not a name, and may be a value that was pasted in its place:
// it must not go on to a log.
func checkNames(names ...string) error {
	for _, name := range names {
		if !secretName.MatchString(name) {
			return fail.Usagef("a name of a secret has capital letters, digits and underscores; what was given is not repeated")
		}
	}
	return nil
}

func newGet() *cobra.Command {
	var show, optional bool
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Print one secret", Args: usageArgs(cobra.ExactArgs(1)),
		Long: `Print one secret and a line feed, for a pipe or a file. On a terminal it needs --show. A
program gets its secrets better by takumi-secrets run.`,
		Example: "  takumi-secrets get REGISTRY_PASSWORD | docker login -u takumi --password-stdin",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cmp.Or(checkNames(args...), mayPrint(show)); err != nil {
				return err
			}
			return recorded(cmd, "get", false, func(ctx context.Context, s *settings, log *audit.Session) error {
				log.Last().Name = args[0]
				m, err := s.manager()
				if err != nil {
					return err
				}
				get := m.Required
				if optional {
					get = m.Optional
				}
				v, err := get(ctx, args[0])
				if err != nil || !v.IsSet() {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), v.Reveal())
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "print it on a terminal too")
	cmd.Flags().BoolVar(&optional, "optional", false, "print nothing and succeed when the secret is missing")
	return cmd
}

type runFlags struct{ names, components, files []string }

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run [flags] -- COMMAND ARG...", Short: "Run a command with secrets in its environment",
		Long: `Run a command with secrets in its environment: those of the components (--component), and
those that --name names, which must exist. The command takes the place of this program.

The backend wins over the environment, and that over the files of --env-file, which must
be private and which production refuses. The backend's own credentials are not passed on.`,
		Example: "  takumi-secrets run --component database --component jwt -- node server.js",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	cmd.Flags().StringSliceVar(&f.names, "name", nil, "names of secrets that must exist")
	cmd.Flags().StringSliceVar(&f.components, "component", nil, "secrets of these components: "+strings.Join(secrets.Components(), ", "))
	cmd.Flags().StringArrayVar(&f.files, "env-file", nil, ".env `file` with settings; not in production")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, args []string) error {
	if err := checkNames(f.names...); err != nil {
		return err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fail.Usagef("%w", err)
	}
	var env []string
	err = recorded(cmd, "run", false, func(ctx context.Context, s *settings, log *audit.Session) error {
		log.Last().Detail = "runs " + args[0] + " with secrets"
		env, err = f.environ(ctx, s)
		return err
	})
	if err != nil {
		return err
	}
	return fmt.Errorf("starting %s: %w", args[0], syscall.Exec(path, args, env))
}

func (f *runFlags) environ(ctx context.Context, s *settings) ([]string, error) {
	all := make(map[string]string)
	for _, path := range f.files {
		b, err := secrets.Open("dotenv:"+path, s.options())
		if err != nil {
			return nil, err
		}
		d, err := b.(secrets.Store).Read(ctx)
		if err != nil {
			return nil, err
		}
		for name, value := range d.Fields {
			all[name] = value
		}
	}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); !slices.Contains(secretenv.BackendCredentials, name) {
			all[name] = value
		}
	}
	m, err := s.manager()
	if err != nil {
		return nil, err
	}
	names := f.names
	for _, c := range f.components {
		if !slices.Contains(secrets.Components(), c) {
			return nil, fail.Usagef("%q is not a component: %s are", c, strings.Join(secrets.Components(), ", "))
		}
		for _, spec := range secrets.Catalog {
			if spec.Component == c {
				names = append(names, spec.Name)
			}
		}
	}
	values, err := m.Many(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, name := range f.names {
		if !values[name].IsSet() {
			return nil, fmt.Errorf("getting %s from %s: %w", name, m, secrets.ErrMissing)
		}
	}
	for name, v := range values {
		all[name] = v.Reveal()
	}
	var env []string
	for name, value := range all {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, nil
}

type checkFlags struct {
	names, components, against []string
	json                       bool
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use: "check", Short: "Check that components find what they need",
		Long: `Check the secrets of components before they start: each one exists, has the right form
and strength, is not an example, and differs from all others and from those of another
environment (--against). The exit code is 4 when one is not fit.`,
		Example: "  takumi-secrets check --component database --against test=vault:secret/test",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkNames(f.names...); err != nil {
				return err
			}
			return recorded(cmd, "check", false, func(ctx context.Context, s *settings, _ *audit.Session) error { return f.check(ctx, cmd, s) })
		},
	}
	cmd.Flags().StringSliceVar(&f.components, "component", nil, "check these components (default all): "+strings.Join(secrets.Components(), ", "))
	cmd.Flags().StringSliceVar(&f.names, "name", nil, "further names that must exist")
	cmd.Flags().StringArrayVar(&f.against, "against", nil, "`ENVIRONMENT=BACKEND` whose secrets must differ")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the result as JSON")
	return cmd
}

func (f *checkFlags) check(ctx context.Context, cmd *cobra.Command, s *settings) error {
	m, err := s.manager()
	if err != nil {
		return err
	}
	o := secrets.CheckOptions{Environment: s.environment, Components: f.components, Names: f.names, Setting: os.Getenv, Others: make(map[string]*secrets.Manager)}
	for _, pair := range f.against {
		environment, spec, ok := strings.Cut(pair, "=")
		if !ok {
			return fail.Usagef("--against is %q, not ENVIRONMENT=BACKEND", pair)
		}
		b, err := secrets.Open(spec, secrets.Options{Environment: environment})
		if err != nil {
			return err
		}
		o.Others[environment] = secrets.NewManager(b)
	}
	problems, err := secrets.Check(ctx, m, o)
	if err != nil {
		return err
	}
	if f.json {
		err = writeJSON(cmd.OutOrStdout(), map[string]any{"environment": s.environment, "backend": m.String(), "problems": append([]secrets.Problem{}, problems...)})
	}
	for _, p := range problems {
		if !f.json && err == nil {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s%s\n", p, map[bool]string{true: "; " + p.Hint}[p.Hint != ""])
		}
	}
	if err == nil && len(problems) > 0 {
		err = fail.New(fail.Key, "", fmt.Sprintf("%d of the secrets are not fit for %s", len(problems), s.environment))
	}
	return err
}
