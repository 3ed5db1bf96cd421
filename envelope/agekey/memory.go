package agekey

import "bytes"

// memory is what was answered to a plugin's questions when it last opened something, so
// that a job over many backups asks for a PIN once. An answer that did not open is asked
// for again: a few wrong ones lock a token.
type memory struct {
	turn    chan struct{} // held while the plugin runs: a token does one thing at a time
	answers map[string][]byte
	given   map[string]bool // the questions of the present run; one that comes again was answered wrongly
}

func newMemory() *memory { return &memory{turn: make(chan struct{}, 1)} }

func (m *memory) begin() { m.given = make(map[string]bool) }

// recall returns what was answered before, once in a run.
func (m *memory) recall(prompt string) (answer []byte, known bool) {
	again := m.given[prompt]
	m.given[prompt] = true
	answer, known = m.answers[prompt]
	return bytes.Clone(answer), known && !again
}

func (m *memory) keep(prompt string, answer []byte) {
	if m.answers == nil {
		m.answers = make(map[string][]byte)
	}
	clear(m.answers[prompt])
	m.answers[prompt] = bytes.Clone(answer)
}

// end ends a run. Without success what was answered in it is not used again.
func (m *memory) end(success bool) {
	if success || len(m.given) == 0 {
		return
	}
	for _, answer := range m.answers {
		clear(answer)
	}
	m.answers = nil
}
