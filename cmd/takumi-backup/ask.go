package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// ask puts a question to the person at the terminal and returns the line that
// was typed, without blanks around it; the end of the input is an empty one.
func ask(cmd *cobra.Command, question string) (string, error) {
	fmt.Fprint(cmd.ErrOrStderr(), question)
	type answer struct {
		line []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() { // a read of a terminal cannot be taken back; when stopped, the program ends
		line, err := nextLine(os.Stdin)
		done <- answer{line, err}
	}()
	select {
	case a := <-done:
		if a.err != nil && !errors.Is(a.err, io.ErrUnexpectedEOF) {
			return "", fmt.Errorf("asking: %w", a.err)
		}
		return strings.TrimSpace(string(a.line)), nil
	case <-cmd.Context().Done():
		return "", context.Cause(cmd.Context())
	}
}
