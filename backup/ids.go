package backup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// idPrefix begins an id; four digits at least.
var idPrefix = regexp.MustCompile(`^[0-9a-f]{4,32}$`)

// IsIDPrefix reports whether text may begin a backup's id.
func IsIDPrefix(text string) bool { return idPrefix.MatchString(text) }

// ErrNoID is returned when no id begins with the prefix.
var ErrNoID = fail.New(fail.Store, "see takumi-backup list for the ids, or give the path", "no backup has an id that begins like this")

// ErrManyIDs is returned when several ids begin with the prefix.
var ErrManyIDs = fail.New(fail.Usage, "give more digits, or the path", "several backups have an id that begins like this")

// FindID returns the path of the only backup under root whose id, as the envelope claims
// it, begins with prefix. known returns the id that a file is remembered to have, or "":
// heads of others are not read unless no backup is found without. The errors are ErrNoID,
// ErrManyIDs, which names the first few, that of root, and the context's.
func FindID(ctx context.Context, st store.Store, root, prefix string, known func(store.Backup) string) (string, error) {
	found, err := findID(ctx, st, root, prefix, func(b *Backup) bool {
		id := known(b.Backup)
		return id != "" && !strings.HasPrefix(id, prefix)
	})
	if errors.Is(err, ErrNoID) {
		found, err = findID(ctx, st, root, prefix, func(*Backup) bool { return false })
	}
	return found, err
}

func findID(ctx context.Context, st store.Store, root, prefix string, skip func(*Backup) bool) (string, error) {
	const named = 5
	var found []string
	more := 0
	err := each(ctx, st, root, Options{}, skip, func(b *Backup) error {
		switch {
		case !b.Readable() || !strings.HasPrefix(b.ID.String(), prefix):
		case len(found) < named:
			found = append(found, fmt.Sprintf("%s %s", b.ID, b.Path))
		default:
			more++
		}
		return nil
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("looking for the backup %s in %s: %w", prefix, root, err)
	case len(found) == 0:
		return "", fmt.Errorf("looking for the backup %s in %s: %w", prefix, root, ErrNoID)
	case len(found) > 1:
		if more > 0 {
			found = append(found, fmt.Sprintf("and %d more", more))
		}
		return "", fmt.Errorf("%s: %w: %s", prefix, ErrManyIDs, strings.Join(found, "; "))
	}
	_, path, _ := strings.Cut(found[0], " ")
	return path, nil
}

// Completions are the ids below root that begin with word, as short as they may be, each
// with words for a person behind a tab: the newest n as far as ctx allows.
func Completions(ctx context.Context, st store.Store, root, word string, n int) (words []string) {
	var found Roll
	err := Each(ctx, st, root, Options{}, func(b *Backup) error {
		if b.Readable() && strings.HasPrefix(b.ID.String(), word) {
			found.Add(b)
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	found.SortNewest()
	digits := max(found.ShortID(), len(word))
	for i, b := range found.All() {
		if i == n {
			break
		}
		words = append(words, fmt.Sprintf("%s\t%s %s, %s", b.ID.String()[:digits], b.Kind, store.Printable(b.Series()), b.Created.Format("2006-01-02 15:04")))
	}
	return words
}
