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
func tokens(sql []byte) (s statement) {
	cut(sql, func(t token, _, _ int) { s = append(s, t) }, func() { s = s[:len(s)-1] })
	return s
}

// cut gives each part of a statement with its range; drop takes back the last, which
// belongs to the next statement.
func cut(sql []byte, give func(t token, begin, end int), drop func()) {
	size := len(sql)
	var last token
	for n := 0; len(sql) > 0 && n < maxTokens; {
		begin := size - len(sql)
		var t token
		switch c := sql[0]; {
		case isSpace(c):
			sql = sql[1:]
			continue
		case bytes.HasPrefix(sql, []byte("--")):
			_, sql, _ = bytes.Cut(sql, []byte("\n"))
			continue
		case c == '"':
			t.kind = name
			t.value, sql = quoted(sql[1:], '"', false)
		case c == '\'':
			t.kind = text
			e := n > 0 && last == token{word, "e"}
			if e {
				drop()
				n--
			}
			t.value, sql = quoted(sql[1:], '\'', e)
		case c != '$' && isIdent(c):
			k := 1
			for k < len(sql) && isIdent(sql[k]) {
				k++
			}
			t = token{word, strings.ToLower(string(sql[:k]))}
			sql = sql[k:]
		case c == '$':
			t.kind = text
			if t.value, sql = dollarQuoted(sql); t.value == "" {
				continue
			}
		default:
			t = token{symbol, string(c)}
			sql = sql[1:]
		}
		give(t, begin, size-len(sql))
		last = t
		n++
	}
}

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

func (s statement) hasPrefix(words ...string) bool {
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

func (s statement) has(w string) bool { return s.find(w) >= 0 }

// find returns where a row of words is outside of parentheses, or -1.
func (s statement) find(words ...string) int {
	depth := 0
	for i, t := range s {
		switch {
		case t == token{symbol, "("}:
			depth++
		case t == token{symbol, ")"}:
			depth--
		case depth == 0 && s[i:].hasPrefix(words...):
			return i
		}
	}
	return -1
}

func (s statement) name(i int) string {
	if i < 0 || i >= len(s) || s[i].kind > name {
		return ""
	}
	return s[i].value
}

// path returns the name at i; without a schema, schema is "".
func (s statement) path(i int) (schema, table string) {
	if table = s.name(i); i+2 < len(s) && s[i+1] == (token{symbol, "."}) {
		return table, s.name(i + 2)
	}
	return "", table
}

func isCopy(s statement) bool { return s.hasPrefix("copy") && s.find("from", "stdin") > 0 }
