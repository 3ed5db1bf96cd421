package contracts

import (
	"encoding/binary"
	"errors"
	"math/big"
)

// errRLP means that bytes are not the one canonical encoding of anything.
var errRLP = errors.New("not canonical RLP")

// rlpItem is one item of RLP: a string, or a list, whose content are further
// items. It aliases what it was read from.
type rlpItem struct {
	list    bool
	content []byte
	raw     []byte // with its head
}

// rlpNext reads the item that data begins with, and returns what follows it.
func rlpNext(data []byte) (item rlpItem, rest []byte, err error) {
	if len(data) == 0 {
		return item, nil, errRLP
	}
	head, size := 1, 0
	switch c := data[0]; {
	case c < 0x80:
		head, size = 0, 1
	case c < 0xb8:
		size = int(c - 0x80)
	case c < 0xc0:
		head, size, err = longSize(data, int(c-0xb7))
	case c < 0xf8:
		item.list, size = true, int(c-0xc0)
	default:
		item.list = true
		head, size, err = longSize(data, int(c-0xf7))
	}
	if err != nil || size > len(data)-head {
		return item, nil, errRLP
	}
	item.raw = data[:head+size]
	item.content = item.raw[head:]
	if !item.list && head == 1 && size == 1 && item.content[0] < 0x80 {
		return item, nil, errRLP // it would have been its own encoding
	}
	return item, data[head+size:], nil
}

// longSize reads the size of an item of 56 bytes or more, written in n bytes.
func longSize(data []byte, n int) (head, size int, err error) {
	if n > 4 || len(data) < 1+n || data[1] == 0 {
		return 0, 0, errRLP
	}
	for _, c := range data[1 : 1+n] {
		size = size<<8 | int(c)
	}
	if size < 56 {
		return 0, 0, errRLP
	}
	return 1 + n, size, nil
}

// rlpList returns the items of the list that data is, all of it.
func rlpList(data []byte) ([]rlpItem, error) {
	list, rest, err := rlpNext(data)
	if err != nil || !list.list || len(rest) > 0 {
		return nil, errRLP
	}
	var items []rlpItem
	for rest = list.content; len(rest) > 0; {
		var item rlpItem
		if item, rest, err = rlpNext(rest); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func rlpString(data []byte) ([]byte, error) {
	item, rest, err := rlpNext(data)
	if err != nil || item.list || len(rest) > 0 {
		return nil, errRLP
	}
	return item.content, nil
}

// number reads a string as a number of at most 256 bits.
func (i rlpItem) number() (*big.Int, error) {
	if i.list || len(i.content) > 32 || len(i.content) > 0 && i.content[0] == 0 {
		return nil, errRLP
	}
	return new(big.Int).SetBytes(i.content), nil
}

// hash reads a string as 32 bytes.
func (i rlpItem) hash() (h Hash, err error) {
	if i.list || len(i.content) != len(h) {
		return h, errRLP
	}
	return Hash(i.content), nil
}

func rlpEncodeString(dst, s []byte) []byte {
	if len(s) == 1 && s[0] < 0x80 {
		return append(dst, s[0])
	}
	return append(rlpHead(dst, 0x80, len(s)), s...)
}

func rlpEncodeList(content []byte) []byte {
	return append(rlpHead(nil, 0xc0, len(content)), content...)
}

func rlpHead(dst []byte, kind byte, size int) []byte {
	if size < 56 {
		return append(dst, kind+byte(size))
	}
	digits := binary.BigEndian.AppendUint64(nil, uint64(size))
	for digits[0] == 0 {
		digits = digits[1:]
	}
	return append(append(dst, kind+55+byte(len(digits))), digits...)
}
