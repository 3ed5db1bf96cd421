package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// TestS3Memory holds sealing to a bucket, opening from one and copying between
// two prefixes to 200 MiB, however much goes through.
func TestS3Memory(t *testing.T) {
	server := s3test.Start(t)
	o := inBucketOf(t, server, measured(t), server.Bucket(t))
	n := 64 << 20 / pieceSize
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		n = 1 << 30 / pieceSize
	}
	check := func(what string, peak int, began time.Time) {
		t.Logf("%s %d MiB: at most %.1f MiB resident, %.0f MiB/s", what, n*4, float64(peak)/1024, float64(n*4)/time.Since(began).Seconds())
		if peak == 0 || peak >= 200<<10 {
			t.Errorf("%s takes %d KiB of memory, want less than 200 MiB", what, peak)
		}
	}
	path := o.root + "/x.enc"
	cmd := o.program("seal", "--codec", "none", "-o", path)
	w := heldPipe(t, cmd)
	began := time.Now()
	seal := o.start(cmd)
	peak := watchPeak(seal.Process.Pid)
	feed(t, w, n)
	w.Close()
	seal.exits(exitOK)
	check("sealing to S3", peak(), began)

	cmd = o.program("open", path)
	sum := &comparing{t: t}
	cmd.Stdout = sum
	began = time.Now()
	open := o.start(cmd)
	peak = watchPeak(open.Process.Pid)
	open.exits(exitOK)
	check("opening from S3", peak(), began)
	if sum.n != int64(n)*pieceSize {
		t.Errorf("%d bytes came out", sum.n)
	}

	began = time.Now()
	replicate := o.start(o.program("replicate", path, o.root+"/copy"))
	peak = watchPeak(replicate.Process.Pid)
	replicate.exits(exitOK)
	check("replicating", peak(), began)
}

// comparing compares what is written to it with pieces, one after the other.
type comparing struct {
	t *testing.T
	n int64
}

func (c *comparing) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		want := piece()[c.n%pieceSize:]
		want = want[:min(len(want), len(rest))]
		if !bytes.Equal(rest[:len(want)], want) {
			return 0, fmt.Errorf("not what was sealed, after byte %d", c.n)
		}
		rest = rest[len(want):]
		c.n += int64(len(want))
	}
	return len(p), nil
}

// bill counts what S3 charges for.
type bill struct {
	mu       sync.Mutex
	gets     int // GET and HEAD
	puts     int // PUT, POST and lists
	deletes  int // free
	sent     int64
	received int64 // of what was asked for
}

// open makes a proxy count on a new bill.
func (b *bill) open(p *s3test.Proxy) *bill {
	p.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sent += max(r.ContentLength, 0)
		var from, to int64
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 {
			b.received += to - from + 1
		}
		switch {
		case r.Method == http.MethodDelete:
			b.deletes++
		case r.Method == http.MethodHead, r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "" && !r.URL.Query().Has("versions"):
			b.gets++
		default:
			b.puts++
		}
		return false
	})
	return b
}

// TestS3Costs: what changing the keys of a backup in a bucket costs, as
// docs/OFFSITE.md has it.
func TestS3Costs(t *testing.T) {
	t.Parallel()
	o := inBucket(t, s3test.Shared(t))
	p := o.behind()
	const size = 48 << 20
	key := []string{"--to", "file:" + keyFile(t, otherKey), "--keep-old"}
	paid := map[string]*bill{}
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"rewrap --detached", append([]string{"rewrap", "--detached"}, key...)}, {"rewrap", append([]string{"rewrap"}, key...)},
		{"reencrypt", append([]string{"reencrypt"}, key[:2]...)},
	} {
		path := o.root + "/" + tc.name[:4] + fmt.Sprint(len(tc.args)) + ".enc"
		b := new(bill).open(p)
		o.run(exitOK, bytes.NewReader(make([]byte, size)), "seal", "--codec", "none", "-o", path)
		paid["seal"] = b
		b = new(bill).open(p)
		o.run(exitOK, nil, append(tc.args, path)...)
		paid[tc.name] = b
	}
	for name, b := range paid {
		t.Logf("%-18s %3d GET, %3d PUT, %2d DELETE, %3d MiB sent, %3d MiB received", name, b.gets, b.puts, b.deletes, b.sent>>20, b.received>>20)
	}
	for name, most := range map[string]struct{ sent, received int64 }{
		"seal": {size + 2<<20, 1 << 20}, "rewrap --detached": {1 << 20, 1 << 20}, "rewrap": {9 << 20, size + 10<<20}, "reencrypt": {size + 9<<20, 2*size + 16<<20},
	} {
		if b := paid[name]; b.sent > most.sent || b.received > most.received {
			t.Errorf("%s sends %d and receives %d bytes, want at most %d and %d", name, b.sent, b.received, most.sent, most.received)
		}
	}
}
