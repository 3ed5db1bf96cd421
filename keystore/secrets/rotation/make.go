package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

func newMaker(s *Set, production bool) (Maker, error) {
	switch s.Kind {
	case Postgres:
		return newAlternating(s, production), nil
	case Command:
		return commandMaker{s.Command}, nil
	}
	_, err := secrets.Generate(s.Kind, s.Bytes)
	return random{s}, err
}

// bits is how many random bits each value has; 0 when a program makes them.
func (s *Set) bits() int {
	usual := map[string]int{secrets.JWT: 64, secrets.Password: 24, Command: 0, Postgres: 24}
	n, known := usual[s.Kind]
	if !known {
		n = 32
	}
	if s.Bytes > 0 && s.Kind != Command {
		n = s.Bytes
	}
	return n * 8
}

type random struct{ set *Set }

func (random) Check(context.Context) error                           { return nil }
func (random) Retire(context.Context, map[string]string, bool) error { return nil }

func (m random) Make(context.Context, map[string]string) (map[string]string, error) {
	fresh := make(map[string]string)
	for _, name := range m.set.Names {
		v, err := secrets.Generate(m.set.Kind, m.set.Bytes)
		if err != nil {
			return nil, err
		}
		fresh[name] = v.Reveal()
	}
	return fresh, nil
}

// commandTime is how long a hook may take that has no time of its own.
const commandTime = 2 * time.Minute

type commandMaker struct{ argv []string }

func (m commandMaker) Check(context.Context) error {
	_, err := exec.LookPath(m.argv[0])
	return fail.As(fail.Usage, "", err)
}

func (commandMaker) Retire(context.Context, map[string]string, bool) error { return nil }

func (m commandMaker) Make(ctx context.Context, _ map[string]string) (map[string]string, error) {
	out, err := runHook(ctx, m.argv, commandTime, nil)
	if err != nil {
		return nil, err
	}
	defer clear(out)
	var fresh map[string]string
	if json.Unmarshal(out, &fresh) != nil {
		return nil, fmt.Errorf("%s printed no JSON object of texts", m.argv[0])
	}
	return fresh, nil
}

// runHook runs a program of the configuration without this one's secrets, and returns
// what it printed. The error has the end of its standard error, without what may be a key.
func runHook(ctx context.Context, argv []string, limit time.Duration, stdin []byte, env ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(secretenv.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	err := cmd.Run()
	switch {
	case err == nil, ctx.Err() == nil && errors.Is(err, exec.ErrWaitDelay): // it left something running with its output
		return out.Bytes(), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%s did not end within %v", argv[0], limit)
	}
	return nil, fmt.Errorf("%s failed: %w: %s", argv[0], err, redact.Line(tail(errs.String(), 400), 400))
}
