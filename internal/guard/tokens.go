package guard

import (
	"bytes"
	"strings"
)

type tokenKind byte

const (
	word   tokenKind = iota // a keyword, or a name in lower case
	name                    // a name that was quoted
	text                    // a string
	symbol                  // one byte of anything else
)

type token struct {
	kind  tokenKind
	value string
}

type statement []token

// maxTokens bounds what is looked at of one statement.
const maxTokens = 20000

// tokens cuts a statement into its parts, without comments.
func tokens(sql []byte) statement {
	var s statement
	for len(sql) > 0 && len(s) < maxTokens {
		c := sql[0]
		switch {
		case isSpace(c):
			sql = sql[1:]
		case bytes.HasPrefix(sql, []byte("--")):
			_, sql, _ = bytes.Cut(sql, []byte("\n"))
		case c == '"':
			var value string
			value, sql = quoted(sql[1:], '"', false)
			s = append(s, token{name, value})
		case c == '\'':
			var value string
			last := len(s) - 1
			e := last >= 0 && s[last] == token{word, "e"}
			if e {
				s = s[:last]
			}
			value, sql = quoted(sql[1:], '\'', e)
			s = append(s, token{text, value})
		case c != '$' && isIdent(c):
			n := 1
			for n < len(sql) && isIdent(sql[n]) {
				n++
			}
			s = append(s, token{word, strings.ToLower(string(sql[:n]))})
			sql = sql[n:]
		case c == '$':
			var value string
			if value, sql = dollarQuoted(sql); value != "" {
				s = append(s, token{text, value})
			}
		default:
			s = append(s, token{symbol, string(c)})
			sql = sql[1:]
		}
	}
	return s
}

// quoted reads to the closing quote.
func quoted(sql []byte, quote byte, escaped bool) (string, []byte) {
	var value []byte
	for i := 0; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == quote && i+1 < len(sql) && sql[i+1] == quote:
			value = append(value, c)
			i++
		case c == quote:
			return string(value), sql[i+1:]
		case c == '\\' && escaped && i+1 < len(sql):
			i++
			value = append(value, sql[i])
		default:
			value = append(value, c)
		}
	}
	return string(value), nil
}

func dollarQuoted(sql []byte) (string, []byte) {
	n := bytes.IndexByte(sql[1:], '$')
	if n < 0 {
		return "", sql[1:]
	}
	tag := sql[:n+2]
	body, rest, ok := bytes.Cut(sql[len(tag):], tag)
	if !ok {
		return "", sql[1:]
	}
	return string(body), rest
}

// begin tells whether the statement begins with these words.
func (s statement) begin(words ...string) bool {
	if len(s) < len(words) {
		return false
	}
	for i, w := range words {
		if s[i] != (token{word, w}) {
			return false
		}
	}
	return true
}

// has tells whether a word is in the statement.
func (s statement) has(w string) bool { return s.find(w) >= 0 }

// find returns where a row of words stands outside of parentheses, or -1.
func (s statement) find(words ...string) int {
	depth := 0
	for i, t := range s {
		switch {
		case t == token{symbol, "("}:
			depth++
		case t == token{symbol, ")"}:
			depth--
		case depth == 0 && s[i:].begin(words...):
			return i
		}
	}
	return -1
}

// name returns the name at i, quoted or not, or "".
func (s statement) name(i int) string {
	if i < 0 || i >= len(s) || s[i].kind > name {
		return ""
	}
	return s[i].value
}

// path returns the name with its schema that stands at i; without one schema is "".
func (s statement) path(i int) (schema, table string) {
	if table = s.name(i); i+2 < len(s) && s[i+1] == (token{symbol, "."}) {
		return table, s.name(i + 2)
	}
	return "", table
}

// isCopy tells whether rows follow the statement.
func isCopy(s statement) bool { return s.begin("copy") && s.find("from", "stdin") > 0 }
