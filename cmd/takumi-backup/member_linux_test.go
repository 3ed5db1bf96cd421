package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestOneFileFromS3: of a backup of many files, one costs a few requests and the blocks
// that hold it. A long run has 10,000 files in 1 GiB, TAKUMI_TEST_LONG=full 100,000 in 10.
func TestOneFileFromS3(t *testing.T) {
	t.Parallel()
	files := 400
	switch os.Getenv("TAKUMI_TEST_LONG") {
	case "":
	case "full":
		files = 100_000
	default:
		files = 10_000
	}
	const size = 105 << 10
	b := newSandbox(t)
	b.patience = time.Hour
	folder := &served{dir: t.TempDir()}
	noise := make([]byte, 4<<20)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(noise)
	wanted := noise[:10<<10]
	from, to := io.Pipe()
	go func() {
		w := tar.NewWriter(to)
		err := w.WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, Format: tar.FormatPAX})
		for i := 0; i < files && err == nil; i++ {
			at := int(random.Uint64() % uint64(len(noise)-size))
			name, body := fmt.Sprintf("d%d/%d.bin", i%100, i), noise[at:at+size]
			if i == files/2 {
				name, body = "avatars/7.png", wanted
			}
			if err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), ModTime: time.Unix(1e9, int64(i)), Format: tar.FormatPAX}); err == nil {
				_, err = w.Write(body)
			}
		}
		if err == nil {
			err = w.Close()
		}
		to.CloseWithError(err)
	}()
	file := filepath.Join(folder.dir, "large.enc")
	b.run(exitOK, from, "seal", "-o", file)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(folder)
	defer server.Close()
	b.env = append(b.env, "AWS_ENDPOINT_URL="+server.URL, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
	began := time.Now()
	got := b.run(exitOK, nil, "open", "s3://bucket/large.enc", "--member", "avatars/7.png").stdout.Bytes()
	t.Logf("one file of %d MB: %d bytes in %d requests, %.1f s", info.Size()/1e6, folder.bytes.Load(), folder.requests.Load(), time.Since(began).Seconds())
	if !bytes.Equal(got, wanted) {
		t.Errorf("open writes %d bytes, want %d", len(got), len(wanted))
	}
	// Opening is the file, the envelope that may be next to it, the head and the end.
	if n := folder.requests.Load(); n > 4+6 || folder.bytes.Load() > 8<<20 {
		t.Errorf("%d bytes in %d requests", folder.bytes.Load(), n)
	}
}
