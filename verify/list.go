package verify

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// List holds what was found of the backups of a store of any size: packed, some 125 bytes
// for each, and what is wrong with them. It is safe for concurrent use; nil is empty.
type List struct {
	mu     sync.Mutex
	rows   [][]row  // blocks of listRows, which do not move
	order  []uint32 // what [List.All] yields; nil: all, as they were added
	blocks []listBlock
	open   []byte // the last block
	found  map[uint32][]Finding
	shared map[Finding][]Finding // each has the one thing that it is the key of
	whys   []string
	series map[prune.Series]uint32
	names  []prune.Series // by what is in series

	last int // the block in text
	text []byte
}

const (
	listRows = 1 << 12
	packedAt = 8 << 10 // bytes of a block before it is packed
)

type listBlock struct {
	packed []byte
	live   int // rows that are in it
}

// row is what comparing needs of a backup, and where the rest is. It has no pointers, which
// the collector would follow in millions of rows each time.
type row struct {
	created, size int64  // seconds and bytes
	series        uint32 // its index among the names
	block, at     uint32
	id            [16]byte // hexID: what chance has made does not pack
	sum           [32]byte // hexSum: its SHA-256
	link          int16    // its number in a chain, or -1
	why           uint16   // its index among the whys

	hexID     bool
	hexSum    bool
	checked   bool
	known     bool // its envelope could be read
	bad       bool // it counts for nothing next to others
	unread    bool // the store did not give its envelope
	increment bool // its size says nothing of others
	other     bool // of another shard
}

var packer, unpacker = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are right
	}
	return e
}), sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return d
})

// ListOf returns a list of copies of the backups.
func ListOf(backups ...Backup) *List {
	l := new(List)
	for i := range backups {
		l.add(&backups[i], false)
	}
	return l
}

// Len is how many backups [List.All] yields.
func (l *List) Len() int {
	switch {
	case l == nil:
		return 0
	case l.order != nil:
		return len(l.order)
	}
	return l.held()
}

// All yields copies of the backups in order.
func (l *List) All() iter.Seq2[int, *Backup] { return l.those(func(int) bool { return true }) }

// Found yields those of them that have findings.
func (l *List) Found() iter.Seq2[int, *Backup] {
	return l.those(func(i int) bool { return len(l.found[uint32(i)]) > 0 })
}

func (l *List) those(wanted func(i int) bool) iter.Seq2[int, *Backup] {
	return func(yield func(int, *Backup) bool) {
		for n := range l.Len() {
			i := n
			if l.order != nil {
				i = int(l.order[n])
			}
			if !wanted(i) {
				continue
			}
			if b := l.at(i); !yield(n, &b) {
				return
			}
		}
	}
}

// MarshalJSON writes an array, or null for no backups. It holds all of it.
func (l *List) MarshalJSON() ([]byte, error) {
	if l.Len() == 0 {
		return []byte("null"), nil
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	for n, b := range l.All() {
		text.WriteByte("[,"[min(n, 1)])
		if err := enc.Encode(b); err != nil {
			return nil, err
		}
	}
	text.WriteByte(']')
	return text.Bytes(), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *List) UnmarshalJSON(text []byte) error {
	var backups []Backup
	if err := json.Unmarshal(text, &backups); err != nil {
		return err
	}
	for i := range backups {
		l.add(&backups[i], false)
	}
	return nil
}

func (l *List) held() int {
	if len(l.rows) == 0 {
		return 0
	}
	last := len(l.rows) - 1
	return last*listRows + len(l.rows[last])
}

func (l *List) row(i int) *row { return &l.rows[i/listRows][i%listRows] }

// add appends a copy of a backup.
func (l *List) add(b *Backup, other bool) int {
	i := l.held()
	if i%listRows == 0 {
		l.rows = append(l.rows, make([]row, 0, listRows))
	}
	l.rows[i/listRows] = append(l.rows[i/listRows], row{other: other, block: math.MaxUint32})
	l.put(i, b)
	return i
}

// put replaces the i-th backup.
func (l *List) put(i int, b *Backup) {
	link, linked := backup.LinkOf(b.Name)
	if !linked {
		link.N = -1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.row(i)
	if n.block < uint32(len(l.blocks)) {
		old := &l.blocks[n.block]
		if old.live--; old.live == 0 {
			old.packed = nil
		}
	}
	if len(l.blocks) == 0 || len(l.open) >= packedAt {
		if last := len(l.blocks) - 1; last >= 0 && l.blocks[last].live > 0 {
			l.blocks[last].packed = packer().EncodeAll(l.open, nil)
		}
		l.blocks, l.open = append(l.blocks, listBlock{}), l.open[:0]
	}
	last := len(l.blocks) - 1
	l.blocks[last].live++
	*n = row{
		created: b.Created.Unix(), size: b.Size, block: uint32(last), at: uint32(len(l.open)), link: int16(link.N),
		series:  l.seriesOf(prune.Series{Folder: store.Dir(b.Path), Kind: backup.Family(b.Kind), Name: b.Series}),
		checked: b.Checked, known: b.ID != "", bad: b.Worst() == Error, unread: b.unread || b.ID == "" && b.has(Unreadable), increment: b.Kind == backup.KindIncrement, other: n.other,
	}
	n.hexID, n.hexSum = unhex(n.id[:], b.ID), unhex(n.sum[:], b.SHA256)
	l.open = b.pack(l.open, n)
	l.setWhy(n, b.Why)
	if delete(l.found, uint32(i)); len(b.Findings) > 0 {
		l.find(i, b.Findings...)
	}
}

func (l *List) seriesOf(s prune.Series) uint32 {
	i, known := l.series[s]
	if !known {
		if l.series == nil {
			l.series = make(map[prune.Series]uint32)
		}
		i = uint32(len(l.names))
		l.names, l.series[s] = append(l.names, s), i
	}
	return i
}

// find adds findings to the i-th backup. Backups of which the same one thing is found, as
// that they are old, share it.
func (l *List) find(i int, found ...Finding) {
	if len(found) == 0 {
		return
	}
	if l.found == nil {
		l.found, l.shared = make(map[uint32][]Finding), make(map[Finding][]Finding)
	}
	all := append(slices.Clip(l.found[uint32(i)]), found...)
	if len(all) == 1 && all[0].cause == nil && all[0].Chunk == nil && all[0].Offset == nil {
		if same, known := l.shared[all[0]]; known {
			all = same
		} else {
			l.shared[all[0]] = all
		}
	}
	l.found[uint32(i)] = all
}

func (l *List) setWhy(n *row, why string) {
	at := slices.Index(l.whys, why)
	if at < 0 && len(l.whys) <= math.MaxUint16 {
		l.whys, at = append(l.whys, why), len(l.whys)
	}
	n.why = uint16(max(at, 0))
}

// why says why the i-th backup was not checked.
func (l *List) why(i int) string { return l.whys[l.row(i).why] }

// at returns a copy of the i-th backup.
func (l *List) at(i int) Backup {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.row(i)
	text := l.open
	if int(n.block) < len(l.blocks)-1 {
		if l.text == nil || l.last != int(n.block) {
			var err error
			if l.text, err = unpacker().DecodeAll(l.blocks[n.block].packed, l.text[:0]); err != nil {
				panic(err) // it was packed here
			}
			l.last = int(n.block)
		}
		text = l.text
	}
	var b Backup
	b.unpack(text[n.at:])
	if n.hexID {
		b.ID = hex.EncodeToString(n.id[:])
	}
	if n.hexSum {
		b.SHA256 = hex.EncodeToString(n.sum[:])
	}
	b.Size, b.Checked, b.unread, b.Why, b.Findings = n.size, n.checked, n.unread, l.whys[n.why], slices.Clone(l.found[uint32(i)])
	return b
}

// sort has All yield the backups of this shard that are still there, newest first, and
// those of one time as they were found.
func (l *List) sort() {
	l.order = make([]uint32, 0, l.held())
	for i := range l.held() {
		if n := l.row(i); !n.other && l.whys[n.why] != gone {
			l.order = append(l.order, uint32(i))
		}
	}
	slices.SortFunc(l.order, func(x, y uint32) int {
		return cmp.Or(cmp.Compare(l.row(int(y)).created, l.row(int(x)).created), cmp.Compare(x, y))
	})
}

// whole are the backups that are still there, those of other shards too, as they were found.
func (l *List) whole() []uint32 {
	var all []uint32
	for i := range l.held() {
		if l.why(i) != gone {
			all = append(all, uint32(i))
		}
	}
	return all
}

// newestFirst compares backups of a series: an increment is newer than what it needs.
func (l *List) newestFirst(x, y uint32) int {
	a, b := l.row(int(x)), l.row(int(y))
	return cmp.Or(cmp.Compare(b.created, a.created), cmp.Compare(b.link, a.link), cmp.Compare(x, y))
}

// unhex puts what text is the usual writing of into to, and reports whether it is of that size.
func unhex(to []byte, text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == len(to) && copy(to, raw) == len(to) && hex.EncodeToString(raw) == text
}

// pack appends what a row lacks.
func (b *Backup) pack(to []byte, n *row) []byte {
	id, sum := b.ID, b.SHA256
	if n.hexID {
		id = ""
	}
	if n.hexSum {
		sum = ""
	}
	for _, text := range []string{b.Path, id, b.Kind, b.Name, b.Series, b.KeyID, sum, b.Unjudged, b.etag} {
		to = append(binary.AppendUvarint(to, uint64(len(text))), text...)
	}
	to = binary.AppendUvarint(to, uint64(len(b.KeyIDs)))
	for _, id := range b.KeyIDs {
		to = append(binary.AppendUvarint(to, uint64(len(id))), id...)
	}
	for _, n := range []uint64{uint64(b.Proven), uint64(b.Content), uint64(math.Round(b.Seconds * 1e6))} {
		to = binary.AppendUvarint(to, n)
	}
	for _, t := range []time.Time{b.Created, b.ProvenAt} {
		to = binary.AppendVarint(binary.AppendVarint(to, t.Unix()), int64(t.Nanosecond()))
	}
	return to
}

func (b *Backup) unpack(from []byte) {
	number := func() uint64 {
		n, size := binary.Uvarint(from)
		from = from[size:]
		return n
	}
	text := func() string {
		n := number()
		defer func() { from = from[n:] }()
		return string(from[:n])
	}
	for _, to := range []*string{&b.Path, &b.ID, &b.Kind, &b.Name, &b.Series, &b.KeyID, &b.SHA256, &b.Unjudged, &b.etag} {
		*to = text()
	}
	for range number() {
		b.KeyIDs = append(b.KeyIDs, text())
	}
	b.Proven, b.Content, b.Seconds = Level(number()), int64(number()), float64(number())/1e6
	for _, t := range []*time.Time{&b.Created, &b.ProvenAt} {
		var parts [2]int64
		for i := range parts {
			n, size := binary.Varint(from)
			parts[i], from = n, from[size:]
		}
		*t = time.Unix(parts[0], parts[1]).UTC()
	}
}

// Summary counts the backups of a report.
type Summary struct {
	Backups  int   `json:"backups"`
	Checked  int   `json:"checked"`
	Failed   int   `json:"failed"` // with an error
	Warned   int   `json:"warned"` // with warnings alone
	Bytes    int64 `json:"bytes"`  // of what was checked
	Errors   int   `json:"errors"` // findings, those of the store among them
	Warnings int   `json:"warnings"`
}

// Summary counts.
func (r *Report) Summary() Summary {
	s := Summary{Backups: r.Backups.Len()}
	count := func(findings []Finding) {
		for _, f := range findings {
			if f.Severity == Error {
				s.Errors++
			} else {
				s.Warnings++
			}
		}
	}
	count(r.Findings)
	for n := range s.Backups {
		i := n
		if order := r.Backups.order; order != nil {
			i = int(order[n])
		}
		if n := r.Backups.row(i); n.checked {
			s.Checked++
			s.Bytes += n.size
		}
		found := r.Backups.found[uint32(i)]
		count(found)
		switch worst(found) {
		case Error:
			s.Failed++
		case Warning:
			s.Warned++
		}
	}
	return s
}
