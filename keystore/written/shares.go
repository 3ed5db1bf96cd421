package written

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
)

func shareFile(l paper.Label) string {
	return fmt.Sprintf("share-%d-of-%d-%s.txt", l.Number, l.Total, l.Set)
}

// WriteShares writes all shares into dir, or leaves nothing of them.
func WriteShares(ctx context.Context, dir string, blocks []*paper.Block) (paths []string, err error) {
	_, statErr := os.Stat(dir)
	made := errors.Is(statErr, os.ErrNotExist)
	var files []*local.File
	defer func() {
		if err == nil {
			return
		}
		for _, f := range files {
			err = errors.Join(err, f.Abort()) // nothing for those that were committed
		}
		for _, path := range paths {
			err = errors.Join(err, os.Remove(path))
		}
		if made {
			os.Remove(dir) // unless somebody else has put something there
		}
	}()
	// All are written before the first gets its name, so that a full disk or a
	// name that is taken is found out by then.
	for _, b := range blocks {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		f, err := local.Create(filepath.Join(dir, shareFile(b.Label)), store.Options{Parents: true})
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		text := b.Text()
		_, err = f.Write(text)
		clear(text)
		if err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		result, err := f.Commit()
		if err != nil {
			return paths, err
		}
		paths = append(paths, result.Path)
	}
	return paths, nil
}

// Gather reads the shares of all paths, or those that are typed. The rest may
// be enough where one cannot be read.
func (r Reader) Gather(ctx context.Context, paths []string) (blocks []*paper.Block, unread []error, err error) {
	if len(paths) == 0 && terminal.Is(os.Stdin) {
		blocks, err = r.typedBlocks(ctx, paper.KindShare)
		return blocks, nil, err
	}
	if len(paths) == 0 {
		paths = []string{"-"}
	}
	for _, path := range paths {
		more, err := readWritten(ctx, path)
		switch {
		case ctx.Err() != nil:
			return blocks, nil, context.Cause(ctx)
		case err != nil:
			unread = append(unread, err)
		}
		blocks = append(blocks, more...)
	}
	return blocks, unread, nil
}

// ShareFiles returns the paths with those of its shares, as key split names them, in the
// place of each folder.
func ShareFiles(paths []string) ([]string, error) {
	var all []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() {
			all = append(all, path) // an error comes back when it is read
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, Refused(PathName(path), err, "")
		}
		found := false
		for _, e := range entries {
			if ok, _ := filepath.Match("share-*-of-*-*.txt", e.Name()); ok {
				all, found = append(all, filepath.Join(path, e.Name())), true
			}
		}
		if !found {
			return nil, Refused(PathName(path), fmt.Errorf("the folder has no share-N-of-N-SET.txt, as key split writes"), "")
		}
	}
	return all, nil
}

// CheckWhole refuses a folder with some of the shares of a split and not all, which a
// split that is killed between two names leaves.
func CheckWhole(dir string) error {
	paths, err := ShareFiles([]string{dir})
	if err != nil {
		return err
	}
	found := make(map[paper.Label]int)
	for _, path := range paths {
		var of paper.Label
		// A name that another program gave is a set of its own, and incomplete.
		fmt.Sscanf(strings.TrimSuffix(filepath.Base(path), ".txt"), "share-%d-of-%d-%s", new(int), &of.Total, &of.Set)
		found[of]++
	}
	for of, n := range found {
		if n != of.Total {
			return Refused(PathName(dir), fmt.Errorf("%d of the %d shares of split %s are there", n, of.Total, of.Set),
				"put the others back; or, if the split was stopped, move the folder away and run the command again, which splits the key anew")
		}
	}
	return nil
}

// Split is a key in shares.
type Split struct {
	Set          string   `json:"set"`
	KeyID        kek.ID   `json:"key_id"`
	Shares       int      `json:"shares"`
	Threshold    int      `json:"threshold"`
	Proved       int      `json:"proved_combinations"`
	Combinations string   `json:"combinations,omitempty"` // that there are: perhaps more than any integer holds
	Files        []string `json:"paths"`
}

// SplitOptions say how to split a key.
type SplitOptions struct {
	Shares, Threshold int
	Verify            bool                             // prove first that the shares give the key
	Dir               string                           // gets a file for each share; "" shows them
	Show              func([]*paper.Block) error       // needed without Dir
	Say               func(format string, args ...any) // nil is silent
}

// Split splits a key, which stays the caller's to wipe. With an error nothing is written.
func (o SplitOptions) Split(ctx context.Context, key paper.Secret) (s Split, err error) {
	blocks, err := shares.Split(key, o.Shares, o.Threshold)
	if err != nil {
		return s, fmt.Errorf("splitting key %s: %w", key.ID(), err)
	}
	defer paper.Wipe(blocks)
	s = Split{Set: blocks[0].Set, KeyID: key.ID(), Shares: o.Shares, Threshold: o.Threshold}
	if o.Verify {
		proof, err := shares.Verify(blocks)
		if err != nil {
			return s, fmt.Errorf("splitting key %s: %w; nothing was written", key.ID(), err)
		}
		s.Proved, s.Combinations = proof.Proved, proof.Total.String()
		if o.Say != nil {
			o.Say("proved %v combinations of %d shares", proof, o.Threshold)
		}
	}
	if o.Dir == "" {
		return s, o.Show(blocks)
	}
	if s.Files, err = WriteShares(ctx, o.Dir, blocks); err != nil {
		return s, fmt.Errorf("writing the shares of key %s: %w", key.ID(), err)
	}
	return s, nil
}
