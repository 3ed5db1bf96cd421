package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// ErrWeak is wrapped by errors about keys that no random generator made: published ones,
// patterns, text.
var ErrWeak = errors.New("the key was never random")

// FromBytes makes a key of 32 bytes, which the caller wipes. Besides what [kek.New]
// refuses, it refuses with ErrWeak keys that are published or follow a pattern. A random
// key matches a pattern with a probability below 2^-40.
func FromBytes(material []byte) (*kek.Key, error) {
	key, err := kek.New(material)
	if err != nil {
		return nil, err
	}
	if why := weakness(material); why != "" {
		key.Wipe()
		return nil, fmt.Errorf("%w: %s; takumi-backup key generate makes one, and scripts/recover.py opens what was sealed under this one", ErrWeak, why)
	}
	return key, nil
}

// fewest is the least number of different bytes in a key: a random one has 12 or fewer with
// a probability of 2^-75.
const fewest = 13

// weakness is why 32 bytes are not a key, or "".
func weakness(m []byte) string {
	digits := hex.AppendEncode(nil, m)
	defer clear(digits)
	reversed := bytes.Clone(m)
	defer clear(reversed)
	slices.Reverse(reversed)
	var different [256]bool
	count := 0
	for _, b := range m {
		if !different[b] {
			different[b] = true
			count++
		}
	}
	switch {
	case isPublished(m, digits):
		return "it is published, as an example or a test vector"
	case repeats(m):
		return "it repeats itself"
	case counts(m), counts(reversed):
		return "it counts up or down"
	case bytes.Equal(m, reversed):
		return "its second half mirrors the first"
	case isText(bytes.Trim(m, "\x00")):
		return "it is readable text"
	case len(bytes.Trim(digits, "0123456789")) == 0:
		return "it has decimal digits alone"
	case len(bytes.Trim(digits, "abcdef")) == 0:
		return "it has the letters a to f alone"
	case count < fewest:
		return fmt.Sprintf("it has only %d different bytes", count)
	}
	return ""
}

// repeats finds a word of up to half a key that repeats to its end.
func repeats(m []byte) bool {
	for n := 1; n <= len(m)/2; n++ {
		if bytes.Equal(m[n:], m[:len(m)-n]) {
			return true
		}
	}
	return false
}

// counts finds big-endian words of 1, 2, 4 or 8 bytes at equal distances.
func counts(m []byte) bool {
	for _, size := range []int{1, 2, 4, 8} {
		var words []uint64
		for word := range slices.Chunk(m, size) {
			var n uint64
			for _, b := range word {
				n = n<<8 | uint64(b)
			}
			words = append(words, n)
		}
		mask := ^uint64(0) >> (64 - 8*size)
		step := words[1] - words[0]
		even := true
		for i := range words[1:] {
			even = even && (words[i+1]-words[i]-step)&mask == 0
		}
		clear(words)
		if even {
			return true
		}
	}
	return false
}

func isText(m []byte) bool {
	for _, b := range m {
		if (b < ' ' || b > '~') && b != '\t' && b != '\n' && b != '\r' {
			return false
		}
	}
	return true
}

// isPublished looks for a key among those of standards and tools, and the SHA-256 of common
// passwords.
func isPublished(m, digits []byte) bool {
	if strings.Contains(published, string(digits)) {
		return true
	}
	_, known := hashes()[[sha256.Size]byte(m)]
	return known
}

// hashes are the SHA-256 of texts that people hash for a key.
var hashes = sync.OnceValue(func() map[[sha256.Size]byte]struct{} {
	all := make(map[[sha256.Size]byte]struct{})
	for _, word := range slices.Concat(hashed, secretenv.Words) {
		for _, tail := range tails {
			for _, text := range []string{word + tail, capital(word) + tail} {
				all[sha256.Sum256([]byte(text))] = struct{}{}
				all[sha256.Sum256([]byte(text+"\n"))] = struct{}{} // as of echo | sha256sum
			}
		}
	}
	return all
})

var (
	// hashed are texts that people hash for a key, besides passwords, and tails are common
	// endings.
	hashed = []string{"", "abc", "hello", "hello world", "takumi-backup", "my secret key", "iloveyou", "dragon", "monkey", "p@ssw0rd", "passw0rd", "123123", "111111", "qwerty123", "abc123"}
	tails  = []string{"", "0", "1", "12", "123", "1234", "12345", "123456", "1234567", "12345678", "123456789", "1234567890", "!", "1!", "123!", "2023", "2024", "2025", "2026"}
)

func capital(word string) string {
	if word == "" {
		return ""
	}
	return strings.ToUpper(word[:1]) + word[1:]
}

// published are printed 256-bit keys without a pattern. Those that count or repeat, as in
// FIPS 197, RFC 3394, RFC 8439 and the tests of GCM, need no list.
const published = `
NIST SP 800-38A, appendix F
603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4
RFC 3686, AES-CTR with 256 bits
776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104
f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a23884
ff7a617ce69148e4f1726e2f43581de2aa62d9f805532edff1eed687fb54153d
NIST CAVS, gcmEncryptExtIV256, the first of several sections
b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4
31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22
RFC 8439
85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b
1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0
RFC 7748
a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4
4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d
77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a
5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb
RFC 8032, Ed25519
9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60
4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb
c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7
f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5
833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42
RFC 6979, P-256
c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721
accounts of Hardhat and Anvil
ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80
59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d
5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a
7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6
47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a
8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba
92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e
4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356
dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97
2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6
f214f2b2cd398c806f84e317254e0f0b801d0643303237d97a22a48e01628897
701b615bbdfb9de65240bc28bd21bbc0d996645a3dd57e7b12bc2bdf6f192c82
a267530f49f8280200edf313ee7af6b827f2a8bce2897751d06a843f644967b1
47c99abed3324a2707c28affff1267e45918ec8c3f20b8aa892e8b065d2942dd
c526ee95bf44d8fc405a158bb884d9d1238d99f0612e9f33d006bb0789009aaa
8166f546bab6da521a8369cab06c5d2b9e46670292d85c875ee9ec20e84ffb61
ea6c44ac03bff858b476bba40716402b03e41b8e97e276d1baec7c37d42484a0
689af8efa8c651a91ad287602527f3af2fe9f6501a7ac4b061667b5a93e037fd
de9be858da4a475276426320d5e9262ecfc3ba460bfac56360bfa6c4c28b4ee0
df57089febbacf7ba0bc227dafbffa9fc08a93fdc68e1e42411a14efcf23656e
accounts of Ganache, deterministic
4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d
6cbed15c793ce57650b9877cf6fa156fbef513c4e6134f022a85b1ffdd59b2a1
6370fd033278c143179d81c5526140625662b8daa446c22ee2d73db3707e620c
646f1ce2fdad0e6deeeb5c7e8e5543bdde65e86029e2fd9fc169899c440a7913
add53f9a7e588d003326d1cbf9e4a43c061aadd9bc938c843a79e7b4fd2ad743
395df67f0c2d2d9fe1ad08d1bc8b6627011959b79c53d7dd6a3536a33ab8a4fd
e485d098507f54e7733a205420dfddbe58db035fa577fc294ebd14db90767a52
a453611d9419d0e56f499079478fd72c37b251a94bfde4d19872c44cf65386e3
829e924fdf021ba3dbbc4225edfece9aca04b929d6e75613329ca6f1d31c0bb4
b0057716d5917badaf911b193b12b910811c1497b5bada8d7711f758981c3773
accounts of Truffle
c87509a1c067bbde78beb793e6fa76530b6382a4c0241e5e4a9ec0a0f44dc0d3
ae6ae8e5ccbfb04590405997ee2d52d2b330726137b875053c36d94e974d162f
0dbbe8e4ae425a6d2687f1a7e3ba17bc98c673636790f1b8ad91193c05875ef1
c88b703fb08cbea894b6aeff5a544fb92e78a18e19814cd85da83b71f772aa6c
388c684f0ba1ef5017716adb5d21a053ea8e90277d0868337519f97bede61418
659cbb0e2411a44db63778987b1e22153c086a95eb6b18bdf89de078917abc63
82d052c865f5763aad42add438569276c00d3d88a2d062d36b2bae914d58b8c8
aa3680d5d48a8283413f7a108367c7299ca73f553735860a87b08f39395618b7
0f62d96d6675f32685bbdb8ac13cda7c23436f63efbb9d07700d8669ff12b7c4
8d5366123cb560bb606379f90a0bfd4769eecc0557f1b362dcae9012b548b1e5
SHA-256, initial value, and the fractions of pi
6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19
243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89
`
