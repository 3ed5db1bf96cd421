package vault

import (
	"errors"
	"net/http"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Whatever request of Store fails, the key before it stays, and the same call
// finishes the work.
func TestStoreInterrupted(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(f *fake, k int)
	}{
		{"before it is carried out", func(f *fake, k int) {
			f.intercept(func(n int, w http.ResponseWriter, _ *http.Request) bool {
				if n >= k {
					problem(w, 500, "internal error")
				}
				return n >= k
			}, nil)
		}},
		{"after it was carried out", func(f *fake, k int) {
			f.intercept(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n > k {
					panic(http.ErrAbortHandler) // and nothing is heard from then on
				}
				return false
			}, func(n int) {
				if n == k {
					panic(http.ErrAbortHandler)
				}
			})
		}},
		{"once, after it was carried out", func(f *fake, k int) {
			f.intercept(nil, func(n int) {
				if n == k {
					panic(http.ErrAbortHandler)
				}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k := 1; ; k++ {
				f, first := wire(t)
				s, next := source(t, "secret/key"), kek.Generate()
				begun := f.counted("")
				c.fail(f, begun+k)
				err := s.Store(t.Context(), next, first.ID())
				whole := f.counted("") < begun+k
				f.intercept(nil, nil)
				if err != nil && !errors.Is(err, keystore.ErrUnreachable) {
					t.Fatalf("request %d failed: %v", k, err)
				}
				if whole && err != nil {
					t.Fatal(err)
				}
				loads(t, s.at(1), first)
				if err := s.Store(t.Context(), next, first.ID()); err != nil {
					t.Fatalf("after request %d failed: %v", k, err)
				}
				loads(t, s, next)
				loads(t, s.at(1), first)
				if got := names(t, s); got != "2* 1" {
					t.Fatalf("after request %d failed: versions %q", k, got)
				}
				if whole {
					if k < 4 {
						t.Errorf("Store made %d requests only", k-1)
					}
					return
				}
			}
		})
	}
}
