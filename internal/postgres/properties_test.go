package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// refusing refuses statements that contain a word.
type refusing struct {
	word string
	err  error
}

func (r refusing) Exec(_ context.Context, sql string, _ ...any) (pgconn.CommandTag, error) {
	if strings.Contains(sql, r.word) {
		return pgconn.CommandTag{}, r.err
	}
	return pgconn.CommandTag{}, nil
}

// TestGiveSecret: an error says which setting it was, and not its value.
func TestGiveSecret(t *testing.T) {
	p := &Properties{Owner: "app", Settings: []Setting{{"", "app.jwt_secret", "hunter2"}, {"web", "search_path", "hunter2"}}}
	denied := &pgconn.PgError{Code: "42501", Message: "permission denied"}
	for _, tc := range []struct {
		refusing
		says string
	}{
		{refusing{"jwt", denied}, "(setting app.jwt_secret): "},
		{refusing{"set_config", denied}, `(setting search_path of "web"): `},
		{refusing{"OWNER", denied}, `(owner "app"): `},
		{refusing{"jwt", &pgconn.PgError{Code: "22023", Message: `invalid value: "hunter2"`}}, "(setting app.jwt_secret): the server refuses the value"},
	} {
		err := p.Give(t.Context(), tc.refusing, "new")
		if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %q", err, tc.says)
		}
	}
	if err := p.Give(t.Context(), refusing{"OWNER", denied}, "new"); !errors.Is(err, denied) {
		t.Errorf("got %v", err)
	}
}

func TestLikeIt(t *testing.T) {
	for want, p := range map[string]Properties{
		"LOCALE_PROVIDER libc":                                       {Provider: "c"},
		"LOCALE_PROVIDER icu ICU_LOCALE E'de'":                       {Provider: "i", Locale: "de"},
		`LOCALE_PROVIDER icu ICU_LOCALE E'de' ICU_RULES E'&a < ''b'`: {Provider: "i", Locale: "de", Rules: "&a < 'b"},
		"LOCALE_PROVIDER builtin BUILTIN_LOCALE E'C.UTF-8'":          {Provider: "b", Locale: "C.UTF-8"},
	} {
		p.Tablespace = "pg_default"
		if got := p.CreateLike(17); !strings.HasSuffix(got, " "+want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
