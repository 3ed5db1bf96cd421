package secretkit

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Service is the handbook's backend: replicas behind one address that sign tokens with
// JWT_SECRET and verify them with JWT_SECRET, then with JWT_SECRET_PREVIOUS. A replica
// knows the secrets that were there when it was started.
type Service struct {
	*httptest.Server
	t        testing.TB
	load     func() map[string]string
	replicas []atomic.Pointer[map[string]string]
	next     atomic.Int64

	Refused  atomic.Int64 // tokens that were not accepted
	Restarts atomic.Int64
	// Sick makes the health URL answer 503.
	Sick atomic.Bool
	// Restarted, when not nil, is called after each replica's restart.
	Restarted func(replica int)
}

// NewService starts n replicas with the secrets that load returns.
func NewService(t testing.TB, n int, load func() map[string]string) *Service {
	s := &Service{t: t, load: load, replicas: make([]atomic.Pointer[map[string]string], n)}
	for i := range s.replicas {
		s.start(i)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.balance))
	t.Cleanup(s.Close)
	return s
}

func (s *Service) start(i int) {
	secrets := s.load()
	s.replicas[i].Store(&secrets)
}

// Roll restarts one replica after the other, while the others serve.
func (s *Service) Roll() {
	for i := range s.replicas {
		s.start(i)
		s.Restarts.Add(1)
		if s.Restarted != nil {
			s.Restarted(i)
		}
	}
}

func (s *Service) balance(w http.ResponseWriter, r *http.Request) {
	i := int(s.next.Add(1)) % len(s.replicas)
	switch r.URL.Path {
	case "/health":
		if s.Sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	case "/restart":
		s.Roll()
	case "/login":
		fmt.Fprint(w, s.Login(i))
	case "/me":
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !s.Accepts(i, token) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
}

// Login returns a token that a replica signs.
func (s *Service) Login(replica int) string {
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "user", "exp": time.Now().Add(time.Hour).Unix()})
	text, err := token.SignedString([]byte((*s.replicas[replica].Load())["JWT_SECRET"]))
	if err != nil {
		s.t.Error(err)
	}
	return text
}

// Accepts verifies a token at a replica: with the current secret, then the previous one.
func (s *Service) Accepts(replica int, token string) bool {
	for _, name := range []string{"JWT_SECRET", "JWT_SECRET_PREVIOUS"} {
		secret := (*s.replicas[replica].Load())[name]
		if secret == "" {
			continue
		}
		got, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return []byte(secret), nil }, jwt.WithValidMethods([]string{"HS256"}))
		if err == nil && got.Valid {
			return true
		}
	}
	s.Refused.Add(1)
	return false
}
