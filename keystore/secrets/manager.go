package secrets

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// CacheTime is how long a Manager gives out what it has fetched.
const CacheTime = 5 * time.Minute

// Manager gives out secrets of a backend. What it fetched, and that a name is not
// there, it remembers for CacheTime; callers that ask for the same at once share one
// request. It never gives out a value that has expired because the backend cannot be
// reached: it fails. It is safe for concurrent use, and there is nothing to close.
type Manager struct {
	backend Backend
	ttl     time.Duration
	now     func() time.Time

	flight singleflight.Group
	mu     sync.Mutex
	cache  map[string]cached
}

type cached struct {
	value Value
	until time.Time
}

// NewManager returns a Manager of a backend.
func NewManager(b Backend) *Manager {
	return &Manager{backend: b, ttl: CacheTime, now: time.Now, cache: make(map[string]cached)}
}

// Required returns the secret of that name. The error wraps ErrMissing when the
// backend has none, and else is the backend's.
func (m *Manager) Required(ctx context.Context, name string) (Value, error) {
	all, err := m.Many(ctx, name)
	if err == nil && !all[name].IsSet() {
		err = fmt.Errorf("getting %s from %s: %w", name, m.backend, ErrMissing)
	}
	return all[name], err
}

// Optional returns the secret of that name, or a Value that is not set. An error is
// the backend's: that it cannot be asked does not mean that there is none.
func (m *Manager) Optional(ctx context.Context, name string) (Value, error) {
	all, err := m.Many(ctx, name)
	return all[name], err
}

// Many returns those of the names that are there, by one request for all that are
// not cached.
func (m *Manager) Many(ctx context.Context, names ...string) (map[string]Value, error) {
	found := make(map[string]Value)
	var missing []string
	m.mu.Lock()
	for _, name := range names {
		if c, ok := m.cache[name]; ok && m.now().Before(c.until) {
			if c.value.IsSet() {
				found[name] = c.value
			}
		} else if !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	m.mu.Unlock()
	if len(missing) == 0 {
		return found, nil
	}
	slices.Sort(missing)
	// Not of the first caller's context, whose end would end it for the others.
	result := m.flight.DoChan(strings.Join(missing, "\x00"), func() (any, error) { return m.fetch(context.WithoutCancel(ctx), missing) })
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		maps.Copy(found, r.Val.(map[string]Value))
		return found, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetchTime is the longest that one request of all callers takes.
const fetchTime = 30 * time.Second

func (m *Manager) fetch(ctx context.Context, names []string) (map[string]Value, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	texts, err := m.backend.Fetch(ctx, names)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Value)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		v := NewValue(texts[name])
		m.cache[name] = cached{v, m.now().Add(m.ttl)}
		if v.IsSet() {
			found[name] = v
		}
	}
	return found, nil
}

// Forget empties the cache, as after a rotation.
func (m *Manager) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.cache)
}

// String names the backend.
func (m *Manager) String() string { return m.backend.String() }
