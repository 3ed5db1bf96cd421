package serve

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
)

// crowd makes n backups of three series, of small files that were sealed once and are
// linked under names of their own.
func (f *fixture) crowd(n int) {
	f.t.Helper()
	for series := range 3 {
		for i := range min(n, 30) {
			f.seal(fmt.Sprintf("stream/s%d-%d.enc", series, i), backup.KindStream, fmt.Sprintf("s%d_202601%02d_000000.bin", series, i+1), []byte("content"))
		}
	}
	for i := 90; i < n; i++ {
		from := fmt.Sprintf("s%d-%d.enc", i%3, i/3%30)
		to := fmt.Sprintf("crowd-%d.enc", i)
		if err := os.Link(filepath.Join(f.Root, "stream", from), filepath.Join(f.Root, "stream", to)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// TestLoad: under many requests a second every one is answered, and memory stays flat. With
// TAKUMI_TEST_LONG they are 200 a second for a minute on a store of 10,000 backups, and no
// page takes more than 300 ms of it. It is not parallel: it measures memory.
func TestLoad(t *testing.T) {
	rate, lasting, backups := 50, 2*time.Second, 300
	long := os.Getenv("TAKUMI_TEST_LONG") != ""
	if long {
		rate, lasting, backups = 200, time.Minute, 10_000
	}
	f := sample(t)
	f.crowd(backups)
	s := newSite(t.Context(), f.Source)
	server := httptest.NewServer(newGuard(Options{}, s))
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxRequests}}
	began := time.Now()
	paths := []string{"/", "/series", "/backups", "/backups?page=3", "/backups?series=" + seriesRef(filepath.Join(f.Root, "stream"), "stream", "s1.bin"), "/findings", "/drills", "/audit", "/backup/" + refOf(filepath.Join(f.Root, "stream/s1-7.enc"))}
	for s.store.get(t.Context()).value == nil {
		if time.Since(began) > 5*time.Minute {
			t.Fatal("the store is not read")
		}
	}
	t.Logf("%d backups were read in %v", backups, time.Since(began))
	for _, path := range paths {
		var took []time.Duration
		for range 5 {
			began := time.Now()
			s.store.get(t.Context()).value.made = [5]made{} // not as it was made before
			get(t, s, path)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("%-30s %v", path[:min(len(path), 30)], took[2])
		if long && took[2] > 300*time.Millisecond {
			t.Errorf("%s takes %v", path, took[2])
		}
	}

	heap := func() uint64 {
		for _, path := range paths[:5] { // one view, with the pages that are made once
			get(t, s, path)
		}
		s.store.mu.Lock()
		reading := s.store.reading
		s.store.mu.Unlock()
		if reading != nil {
			<-reading
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[int]int)
	load := func(requests int) {
		began = time.Now()
		for n := range requests {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
			wait.Go(func() {
				answer, err := client.Get(server.URL + paths[n%len(paths)])
				if err != nil {
					t.Error(err)
					return
				}
				defer answer.Body.Close()
				text, err := io.ReadAll(answer.Body)
				if err != nil || answer.StatusCode == http.StatusOK && !strings.HasSuffix(string(text), "</html>") {
					t.Errorf("%s is not whole: %v", paths[n%len(paths)], err)
				}
				mu.Lock()
				defer mu.Unlock()
				codes[answer.StatusCode]++
			})
		}
		wait.Wait()
		client.CloseIdleConnections()
	}
	requests := int(lasting.Seconds()) * rate
	load(requests / 4) // what a busy server needs once
	before := heap()
	load(requests)
	after := heap()
	t.Logf("answers: %v in %v; %d KiB of memory before, %d KiB after", codes, time.Since(began), before>>10, after>>10)
	// On a machine that is busy with other things some may be sent away.
	if delete(codes, http.StatusServiceUnavailable); codes[http.StatusOK] == 0 || len(codes) > 1 {
		t.Errorf("answers: %v", codes)
	}
	if after > before+4<<20+before/4 {
		t.Errorf("memory grew from %d to %d KiB", before>>10, after>>10)
	}
}
