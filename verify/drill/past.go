package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

const (
	// PastName is the file of former drills in the state folder: a report a line as JSON,
	// the newest last.
	PastName = "drills.jsonl"

	maxPast     = 200     // drills that are remembered
	maxPastSize = 8 << 20 // bytes of them
)

// Past returns the last drills that [Keep] remembered in the state folder dir, at most n,
// the newest first. Lines that are none are passed over.
func Past(dir string, n int) ([]Report, error) {
	text, err := readPast(filepath.Join(dir, PastName))
	if err != nil {
		return nil, err
	}
	var reports []Report
	for _, line := range slices.Backward(bytes.Split(text, []byte("\n"))) {
		var r Report
		if len(reports) < n && len(line) > 0 && json.Unmarshal(line, &r) == nil {
			reports = append(reports, r)
		}
	}
	return reports, nil
}

// Keep remembers a drill in the state folder, for [Past]. The errors are those of
// [local.Create].
func Keep(dir string, r *Report) error {
	path := filepath.Join(dir, PastName)
	f, err := local.Create(path, store.Options{Replace: true, Parents: true})
	if err != nil {
		return err
	}
	defer f.Abort()
	// The name is ours from here on: nobody else adds one meanwhile.
	text, err := readPast(path)
	if err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	lines := append(bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")), line)
	lines = lines[max(0, len(lines)-maxPast):]
	if _, err := f.Write(append(bytes.TrimPrefix(bytes.Join(lines, []byte("\n")), []byte("\n")), '\n')); err != nil {
		return err
	}
	_, err = f.Commit()
	return err
}

// readPast reads the end of the file, from the beginning of a line on.
func readPast(path string) ([]byte, error) {
	f, err := fsutil.OpenRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading former drills: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading former drills: %w", err)
	}
	from := max(0, info.Size()-maxPastSize)
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxPastSize))
	if err != nil {
		return nil, fmt.Errorf("reading former drills: %w", err)
	}
	if from > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text, nil
}
