package paralleldump

import (
	"bufio"
	"bytes"
	"io"
)

// complete ends a dump.
const complete = "--\n-- PostgreSQL database dump complete\n--\n\n"

// bare is a script of pg_restore without what begins and ends a whole dump.
func bare(script []byte) []byte {
	for len(script) > 0 {
		line, rest, _ := bytes.Cut(script, []byte("\n"))
		if len(line) > 0 && !bytes.HasPrefix(line, []byte("--")) && !bytes.HasPrefix(line, []byte(`\restrict `)) {
			break
		}
		if bytes.HasPrefix(line, []byte("-- Name: ")) || bytes.HasPrefix(line, []byte("-- Data for Name: ")) {
			script = append([]byte("--\n"), script...)
			break
		}
		script = rest
	}
	return withoutEnd(script)
}

// withoutEnd is a script without the lines that end a dump.
func withoutEnd(script []byte) []byte {
	if end := bytes.LastIndex(script, []byte(complete[:len(complete)-1])); end >= 0 {
		script = script[:end]
	}
	return script
}

// withoutSettings is a bare script from its first object on: the session of the dump
// has the settings already.
func withoutSettings(script []byte) []byte {
	if at := bytes.Index(script, []byte("--\n-- ")); at >= 0 {
		return script[at:]
	}
	return nil
}

// copyBare copies the data of a script of pg_dump, without what begins and ends it.
func copyBare(dst io.Writer, src io.Reader) error {
	const most = 64 << 10
	in := bufio.NewReaderSize(src, most)
	head, err := in.Peek(16 << 10) // more than the settings have
	if err != nil && err != io.EOF {
		return err
	}
	start := bytes.Index(head, []byte("--\n-- Data for Name: "))
	for _, other := range []string{"--\n-- Name: ", "\nBEGIN;\n"} {
		if at := bytes.Index(head, []byte(other)); at >= 0 && (start < 0 || at < start) {
			start = at
		}
	}
	if start < 0 { // nothing is left of them
		_, err := io.Copy(io.Discard, in)
		return err
	}
	if _, err := in.Discard(start); err != nil {
		return err
	}
	var held []byte
	buf := make([]byte, most)
	for {
		n, err := in.Read(buf)
		held = append(held, buf[:n]...)
		if err == io.EOF {
			_, err = dst.Write(withoutEnd(held))
			return err
		}
		if err != nil {
			return err
		}
		if over := len(held) - 1024; over > most {
			if _, err := dst.Write(held[:over]); err != nil {
				return err
			}
			held = append(held[:0], held[over:]...)
		}
	}
}
