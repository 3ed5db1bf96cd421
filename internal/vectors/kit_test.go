package vectors

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	unit            = 4096
	maxEnvelope     = 65536
	maxSlotLine     = 16384
	chunkSize       = 16384
	tagSize         = 16
	sealedChunkSize = chunkSize + tagSize
	headSize        = 24 + 32
	sealingDots     = 512
	infoPrefix      = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
)

// key is a key-encryption key. The three of the vectors are easy to type.
type key []byte

var (
	keyA = counting(0x00) // seals nearly every vector
	keyB = counting(0x20) // has a second slot
	keyC = counting(0x40) // has no slot anywhere
)

// The age identities of the vectors.
const (
	ageX25519 = "AGE-SECRET-KEY-1VLAGTXWCLGLRRT4EERQ056XPRW2QMJ5TK09WQUUPHV4WKRA7C5EQ4ZKSZT"
	ageHybrid = "AGE-SECRET-KEY-PQ-10WVTDPGK4PPVSUTSZTAFJWEUMUTULH67FP6FQU6CGPV6K5CGWDFSR04FW9"
)

func counting(from byte) key {
	k := make(key, 32)
	for i := range k {
		k[i] = from + byte(i)
	}
	return k
}

// id is the public name of a key.
func (k key) id() string { return hex.EncodeToString(hmacID(k)[:8]) }

func hmacID(k key) []byte {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte("takumi-backup/v1 key id"))
	return mac.Sum(nil)
}

// random stands in for a random generator: the same seed and use give the same
// bytes, whatever else is made before.
func random(seed, use string, n int) []byte {
	return sha3.SumSHAKE256([]byte("takumi-backup vectors\x00"+seed+"\x00"+use), n)
}

// message derives the key of one Cobblestone-256 message.
type message struct {
	aead       cipher.AEAD
	baseIV     []byte
	salt       []byte
	okm        []byte
	commitment []byte
}

func newMessage(key, context, salt []byte) *message {
	info := infoPrefix + string(salt) + string(context)
	okm := must(hkdf.Expand(sha512.New, key, info, 32+12+32))
	return &message{must(cipher.NewGCM(must(aes.NewCipher(okm[:32])))), okm[32:44], salt, okm, okm[44:]}
}

func (m *message) sealChunk(index uint64, plain []byte) []byte {
	nonce := bytes.Clone(m.baseIV)
	low := binary.BigEndian.Uint64(nonce[4:])
	binary.BigEndian.PutUint64(nonce[4:], low^index)
	return m.aead.Seal(nil, nonce, plain, nil)
}

// seal returns a whole message.
func (m *message) seal(plain []byte) []byte {
	out := append(bytes.Clone(m.salt), m.commitment...)
	var index uint64
	for ; len(plain) >= chunkSize; index++ {
		out = append(out, m.sealChunk(index, plain[:chunkSize])...)
		plain = plain[chunkSize:]
	}
	return append(out, m.sealChunk(index, plain)...)
}

// file is a backup before it is sealed. Its fields are text, so that a recipe
// can put anything in them.
type file struct {
	seed                             string
	id, created, kind, name, codec   string
	slots                            []string // lines, without their line feed
	dots                             int      // 0: as many as make whole units, and at least 512
	dataKey                          []byte
	packed, plain                    []byte
	authKey, authMessage, authCovers []byte // for envelopes that go wrong; nil for what is right
}

func newFile(seed string) *file {
	f := &file{seed: seed, id: hex.EncodeToString(random(seed, "id", 16)),
		created: "2026-11-23T02:00:00Z", kind: "database", name: "takumi_db.sql", codec: "none",
		dataKey: random(seed, "data key", 32)}
	f.slots = []string{f.slot(keyA)}
	f.content("CREATE TABLE badge (id int);\n")
	return f
}

// content makes text the plaintext, unpacked.
func (f *file) content(text string) { f.packed, f.plain = []byte(text), []byte(text) }

// fill gives the file n bytes of plaintext that differ everywhere.
func (f *file) fill(n int) { f.content(string(random("every vector", "plaintext", n))) }

// slot wraps the data key.
func (f *file) slot(k key) string { return f.slotWith(k, f.dataKey) }

func (f *file) slotWith(k key, dataKey []byte) string {
	context := append([]byte("takumi-backup/v1 slot key\x00"), must(hex.DecodeString(f.id))...)
	wrapped := newMessage(k, context, random(f.seed, "slot "+k.id(), 24)).seal(dataKey)
	return "slot key " + k.id() + " " + base64.StdEncoding.EncodeToString(wrapped)
}

// The names of the keys that services keep.
const (
	kmsKey     = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	transitKey = "transit/backup"
)

// kmsContext is the additional data of the stub of KMS.
func kmsContext(id string) []byte { return []byte("id=" + id + ",takumi-backup=v1") }

func transitContext(id string) []byte {
	return append([]byte("takumi-backup/v1 slot transit\x00"), must(hex.DecodeString(id))...)
}

// byService wraps the data key as a service with keyC does, for a backup of this id.
func (f *file) byService(what string, context []byte) string {
	nonce := random(f.seed, what, 12)
	sealed := must(cipher.NewGCM(must(aes.NewCipher(keyC)))).Seal(nonce, nonce, f.dataKey, context)
	return base64.StdEncoding.EncodeToString(sealed)
}

func (f *file) kmsSlot(id string) string {
	return "slot awskms " + kmsKey + " " + f.byService("awskms", kmsContext(id))
}

func (f *file) transitSlot(id string) string {
	return "slot transit " + transitKey + " vault:v3:" + f.byService("transit", transitContext(id))
}

func (f *file) preamble() string {
	return "takumi-backup/v1\nid " + f.id + "\ncreated " + f.created + "\nkind " + f.kind + "\nname " + f.name + "\ncodec " + f.codec + "\n"
}

// head is everything before the pad line.
func (f *file) head() string {
	head := f.preamble()
	for _, s := range f.slots {
		head += s + "\n"
	}
	return head
}

// padFor tells how many dots bring an envelope with this head to a length.
func padFor(head string, length int) int {
	return length - len(head) - len("pad \nauth \n---\n") - 96
}

func (f *file) beforeAuth() string {
	dots := f.dots
	for length := 0; dots <= 0 || f.dots == 0 && dots < sealingDots; {
		length += unit
		dots = padFor(f.head(), length)
	}
	return f.head() + "pad " + strings.Repeat(".", dots) + "\n"
}

func (f *file) envelope() []byte {
	before := f.beforeAuth()
	covers, authKey := []byte(before), f.dataKey
	if f.authCovers != nil {
		covers = f.authCovers
	}
	if f.authKey != nil {
		authKey = f.authKey
	}
	auth := newMessage(authKey, append([]byte("takumi-backup/v1 envelope\x00"), covers...), random(f.seed, "auth", 24)).seal(f.authMessage)
	return []byte(before + "auth " + base64.StdEncoding.EncodeToString(auth) + "\n---\n")
}

// payloadMessage is how the payload is keyed.
func (f *file) payloadMessage() *message {
	return newMessage(f.dataKey, []byte(f.preamble()), random(f.seed, "payload", 24))
}

// sealed is a backup in its parts, for a recipe to spoil.
type sealed struct {
	*file
	envelope, payload, detached []byte
}

func (f *file) seal() *sealed {
	return &sealed{f, f.envelope(), f.payloadMessage().seal(f.packed), nil}
}

// edit replaces a piece of the envelope and lets the padding keep the length,
// as an editor of that line alone could not.
func (s *sealed) edit(old, new string) {
	text := string(s.envelope)
	if strings.Count(text, old) != 1 {
		panic(fmt.Sprintf("%s: %q is not in the envelope once", s.seed, old))
	}
	text = strings.Replace(text, old, new, 1)
	if grown := len(text) - len(s.envelope); grown >= 0 {
		text = strings.Replace(text, strings.Repeat(".", grown), "", 1)
	} else {
		text = strings.Replace(text, "pad ", "pad "+strings.Repeat(".", -grown), 1)
	}
	s.envelope = []byte(text)
}

// chunk returns sealed chunk i.
func (s *sealed) chunk(i int) []byte {
	from := headSize + i*sealedChunkSize
	return bytes.Clone(s.payload[from:min(from+sealedChunkSize, len(s.payload))])
}

// chunks puts a payload together from the head and the chunks it is given.
func (s *sealed) chunks(chunks ...[]byte) {
	s.payload = append(bytes.Clone(s.payload[:headSize]), bytes.Join(chunks, nil)...)
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[(i+len(b))%len(b)] ^= 1
	return b
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
