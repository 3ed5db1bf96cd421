package rotation

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	secretkit "github.com/takumi-backup/takumi-backup/internal/testkit/secrets"
)

// rotations, and users that make a request each pause, while they go on.
func load() (rotations, users int, pause time.Duration) {
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		return 20, 10, 200 * time.Millisecond // 50 requests a second
	}
	return 20, 5, 10 * time.Millisecond
}

// TestNoTokenIsRefused rotates 20 times in a cluster that restarts three replicas one
// after the other, while users log in at one replica and come back at others. A token is
// no older than the grace period, as those of the handbook are.
func TestNoTokenIsRefused(t *testing.T) {
	rotations, users, pause := load()
	c := secretkit.Kubernetes(t, "jwt", filepath.Join(t.TempDir(), "kubeconfig"), write(t))
	b := newBench(t, "kubernetes:takumi/jwt", c.Server)
	b.set.Rollout.Deployments, b.set.Rollout.Namespace = []string{"takumi-backend"}, "takumi"
	c.Deployments["takumi-backend"] = &secretkit.Deployment{Replicas: 3, Updated: 3, Available: 3}
	var rollouts sync.WaitGroup
	c.Rolled = func(name string, d *secretkit.Deployment) {
		generation := d.Generation
		rollouts.Go(func() {
			b.service.Roll()
			c.Move(name, func(d *secretkit.Deployment) { d.Observed, d.Updated = generation, 3 })
		})
	}
	b.service.Restarted = func(int) { time.Sleep(pause) }
	run := b.users(users, pause)
	for range rotations {
		r := b.rotator()
		roller := &kubeRoller{config: b.set.Rollout, poll: pause}
		r.Roller = roller
		res := b.must(r.Rotate(t.Context(), Options{Force: true}))
		if !res.Changed {
			t.Fatalf("%+v", res)
		}
		run.login() // within the grace period everybody logs in anew
		b.now = b.now.Add(49 * time.Hour)
		r = b.rotator()
		r.Roller = roller
		b.must(r.Finish(t.Context(), Options{}))
	}
	rollouts.Wait()
	requests, refused := run.end()
	t.Logf("%d rotations, %d restarts of a replica, %d requests, %d refused", rotations, b.service.Restarts.Load(), requests, refused)
	if refused > 0 || requests < int64(rotations*users) {
		t.Errorf("%d of %d requests were refused", refused, requests)
	}
	if got := b.service.Restarts.Load(); got < int64(rotations*3*3) {
		t.Errorf("%d restarts", got)
	}
}

// crowd is users who hold tokens and make requests.
type crowd struct {
	b                 *bench
	requests, refused atomic.Int64
	epoch             atomic.Int64
	renewed           []atomic.Int64
	stop              chan struct{}
	done              sync.WaitGroup
}

func (b *bench) users(n int, pause time.Duration) *crowd {
	c := &crowd{b: b, renewed: make([]atomic.Int64, n), stop: make(chan struct{})}
	for i := range n {
		c.done.Go(func() { c.user(i, pause) })
	}
	return c
}

func (c *crowd) user(i int, pause time.Duration) {
	epoch, token := int64(-1), ""
	for n := i; ; n++ {
		if now := c.epoch.Load(); now != epoch {
			epoch, token = now, c.b.service.Login(n%3)
			c.renewed[i].Store(now)
		}
		req, err := http.NewRequest(http.MethodGet, c.b.service.URL+"/me", nil)
		if err != nil {
			c.b.t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			c.b.t.Error(err)
			return
		}
		resp.Body.Close()
		c.requests.Add(1)
		if resp.StatusCode != http.StatusOK {
			c.refused.Add(1)
		}
		select {
		case <-c.stop:
			return
		case <-time.After(pause):
		}
	}
}

// login waits until every user has a new token.
func (c *crowd) login() {
	now := c.epoch.Add(1)
	for i := range c.renewed {
		for c.renewed[i].Load() != now {
			time.Sleep(time.Millisecond)
		}
	}
}

func (c *crowd) end() (requests, refused int64) {
	close(c.stop)
	c.done.Wait()
	return c.requests.Load(), c.refused.Load()
}
