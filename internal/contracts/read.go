package contracts

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrState is what is returned for a contract_state.json that cannot be read.
var ErrState = errors.New("unfit " + StateName)

const maxState = 256 << 20

// Before contract_state.json there are the folder and snapshot_metadata.json, with room for
// additions; they are kept in memory.
const (
	maxHead        = 4 << 20
	maxHeadEntries = 8
)

// ReadState looks for contract_state.json at the head of a snapshot's archive,
// where Open puts it, and returns it with a reader that gives all of the
// archive. Where it is not, the state is nil. The state is not verified. Errors
// are those of archive, or wrap ErrState; with the latter the reader still gives
// all of the archive.
func ReadState(archive io.Reader) (*State, io.Reader, error) {
	var read bytes.Buffer
	head := &io.LimitedReader{R: archive, N: maxHead}
	entries := tar.NewReader(io.TeeReader(head, &read))
	whole := io.MultiReader(&read, archive)
	for range maxHeadEntries {
		h, err := entries.Next()
		if err != nil {
			return nil, whole, headFault(err)
		}
		top, name, _ := strings.Cut(strings.TrimSuffix(h.Name, "/"), "/")
		switch {
		case !strings.HasPrefix(top, "snapshot_"):
			return nil, whole, nil
		case h.Typeflag == tar.TypeDir && name == "":
		case h.Typeflag == tar.TypeReg && name == MetadataName && h.Size < maxHead:
		case h.Typeflag == tar.TypeReg && name == StateName:
			head.N += min(h.Size, maxState)
			state, err := decodeState(entries, h.Size)
			return state, whole, err
		default:
			return nil, whole, nil
		}
	}
	return nil, whole, nil
}

// headFault leaves faults and the end of an archive to its later reader, who gets the same
// bytes.
func headFault(err error) error {
	if err == io.EOF || errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func decodeState(r io.Reader, size int64) (*State, error) {
	if size > maxState {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrState, size)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s := new(State)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if s.Version != StateVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program reads %d", ErrState, s.Version, StateVersion)
	}
	return s, nil
}
