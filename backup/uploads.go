package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/takumi-backup/takumi-backup/internal/source/tree"
)

// Uploads backs up a folder as a tar archive, by the given job with Source and Kind filled
// in. It returns the folder's statistics, which [Made] has too.
func Uploads(ctx context.Context, job Job, run Runner, dir string, o tree.Options) (*tree.Stats, error) {
	job.Kind = KindUploads
	return uploads(ctx, job, run, dir, o)
}

func uploads(ctx context.Context, job Job, run Runner, dir string, o tree.Options) (*tree.Stats, error) {
	var src *tree.Reader
	job.Source = func(ctx context.Context) (io.ReadCloser, error) {
		var err error
		if src, err = tree.Open(ctx, dir, o); errors.Is(err, tree.ErrEmpty) {
			err = fmt.Errorf("%w; is a volume not mounted? --allow-empty backs it up all the same", err)
		}
		if err != nil {
			return nil, SourceError(err)
		}
		return src, nil
	}
	job.stats = func() *tree.Stats {
		stats := src.Stats()
		return &stats
	}
	made, err := run(ctx, job)
	if err != nil {
		return nil, err
	}
	return made.Tree, nil
}

// Holds reports whether folder, which need not exist, is dir or below it.
func Holds(dir, folder string) bool {
	outer, err := os.Stat(dir)
	if err != nil {
		return false
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return false
	}
	for {
		if real, err := filepath.EvalSymlinks(folder); err == nil {
			folder = real
		}
		if inner, err := os.Stat(folder); err == nil && os.SameFile(inner, outer) {
			return true
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return false
		}
		folder = parent
	}
}
