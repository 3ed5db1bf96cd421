package awskms

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore"
)

const (
	firstID  = "1234abcd-12ab-34cd-56ef-1234567890ab"
	secondID = "aaaabbbb-12ab-34cd-56ef-1234567890ab"
	multiID  = "mrk-1234abcd12ab34cd56ef1234567890ab"
)

func arnOf(region, id string) string { return "arn:aws:kms:" + region + ":111122223333:key/" + id }

// server behaves as KMS does by its API Reference, for Encrypt and Decrypt.
type server struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	keys   map[string]cipher.AEAD // by id; a multi-Region key has one in all regions
	fail   func(n int, action string) (status int, code string)
	calls  int
	region string // of the last request
}

func newServer(t *testing.T) *server {
	s := &server{t: t, keys: map[string]cipher.AEAD{}}
	for _, id := range []string{firstID, secondID, multiID} {
		secret := make([]byte, 32)
		rand.Read(secret)
		block, err := aes.NewCipher(secret)
		if err != nil {
			t.Fatal(err)
		}
		if s.keys[id], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			t.Fatal(err)
		}
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": s.URL, "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_ENDPOINT_URL": "", "AWS_DEFAULT_REGION": "",
	} {
		t.Setenv(name, value)
	}
	return s
}

// failing has every request answered by f, where that gives a status.
func (s *server) failing(f func(n int, action string) (int, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.calls = f, 0
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKID/[0-9]{8}/([a-z0-9-]+)/kms/aws4_request, SignedHeaders=[a-z0-9;-]*host[a-z0-9;-]*x-amz-target, Signature=[0-9a-f]{64}$`)

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scope := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	action, known := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	var m message
	if err := in.Decode(&m); err != nil || scope == nil || !known || r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		s.t.Errorf("not a request of the protocol: %v %s %s %v", err, r.Method, r.URL, r.Header)
		http.Error(w, "?", http.StatusTeapot)
		return
	}
	s.calls++
	s.region = scope[1]
	if s.fail != nil {
		if status, code := s.fail(s.calls, action); status != 0 {
			refuse(w, status, code)
			return
		}
	}
	id := m.KeyId
	switch {
	case strings.HasSuffix(id, "alias/backup"):
		id = firstID
	case strings.HasPrefix(id, "arn:"):
		id = id[strings.LastIndexByte(id, '/')+1:]
	}
	key := s.keys[id]
	if key == nil {
		refuse(w, http.StatusBadRequest, "NotFoundException")
		return
	}
	context, err := json.Marshal(m.EncryptionContext) // sorted
	if err != nil {
		s.t.Error(err)
	}
	out := message{KeyId: arnOf(s.region, id)}
	switch action {
	case "Encrypt":
		out.CiphertextBlob = append([]byte(fmt.Sprintf("%-36s", id)), key.Seal(nil, nil, m.Plaintext, context)...)
	case "Decrypt":
		if len(m.CiphertextBlob) < 36 {
			refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
			return
		}
		if strings.TrimSpace(string(m.CiphertextBlob[:36])) != id {
			refuse(w, http.StatusBadRequest, "IncorrectKeyException")
			return
		}
		if out.Plaintext, err = key.Open(nil, nil, m.CiphertextBlob[36:], context); err != nil {
			refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
			return
		}
	}
	json.NewEncoder(w).Encode(out)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.kms#" + code, "message": "because"})
}

func key(t *testing.T, id string) *Key {
	t.Helper()
	k, err := Parse(id, Options{limits: limits{operation: 20 * time.Second, attempt: 10 * time.Second, credentials: 10 * time.Second, pause: time.Millisecond, attempts: 5}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wraps(t *testing.T, r slot.Recipient, id slot.ID) (slot.Slot, []byte) {
	t.Helper()
	dataKey := make([]byte, slot.DataKeySize)
	rand.Read(dataKey)
	s, err := r.Wrap(t.Context(), id, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s, dataKey
}

func refused(t *testing.T, err error, kind error, words ...string) {
	t.Helper()
	var e *keystore.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v; want an *Error of kind %q", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	if !strings.HasPrefix(e.URI, "awskms:") || redact.HasKey(strings.ReplaceAll(err.Error(), multiID, "")) {
		t.Errorf("error %q of %q", err, e.URI)
	}
}

// TestNames: a key opens its slots by every name that it has, and nobody else's.
func TestNames(t *testing.T) {
	newServer(t)
	want := arnOf("eu-central-1", firstID)
	for _, name := range []string{firstID, want, "alias/backup", "arn:aws:kms:eu-central-1:111122223333:alias/backup"} {
		s, dataKey := wraps(t, key(t, name).Recipient(), slot.ID{1})
		if s.Type != SlotType || s.Args[0] != want {
			t.Errorf("%s makes the slot %v", name, s)
		}
		for _, other := range []string{firstID, want, "alias/backup"} {
			if got, err := key(t, other).Unwrap(t.Context(), slot.ID{1}, s); err != nil || !bytes.Equal(got, dataKey) {
				t.Errorf("%s does not open what %s sealed: %v", other, name, err)
			}
		}
		for _, other := range []string{secondID, arnOf("eu-central-1", secondID), arnOf("us-east-1", firstID)} {
			if _, err := key(t, other).Unwrap(t.Context(), slot.ID{1}, s); !errors.Is(err, slot.ErrNotMine) {
				t.Errorf("%s, for another key: %v", other, err)
			}
		}
		for _, r := range []any{key(t, name).Recipient(), key(t, name).Identity()} {
			if h, known := slot.HolderOf(r); known != (name == want) || known && h != s.Holder() {
				t.Errorf("%T of %s is named %v", r, name, h)
			}
		}
	}
	// The alias leads to another key by now.
	s, _ := wraps(t, key(t, secondID), slot.ID{1})
	if _, err := key(t, "alias/backup").Unwrap(t.Context(), slot.ID{1}, s); !errors.Is(err, slot.ErrNotMine) {
		t.Errorf("another key than the alias's: %v", err)
	}
}

func TestSlotsThatDoNotOpen(t *testing.T) {
	newServer(t)
	k := key(t, firstID)
	s, _ := wraps(t, k, slot.ID{1})
	for name, tc := range map[string]struct {
		id   slot.ID
		slot slot.Slot
		want error
	}{
		"of another backup": {slot.ID{2}, s, slot.ErrDamaged},
		"changed":           {slot.ID{1}, slot.Slot{Type: SlotType, Args: []string{s.Args[0], s.Args[1][:len(s.Args[1])-8] + "AAAAAAA="}}, slot.ErrDamaged},
		"no base64":         {slot.ID{1}, slot.Slot{Type: SlotType, Args: []string{s.Args[0], "!"}}, slot.ErrDamaged},
		"no ARN":            {slot.ID{1}, slot.Slot{Type: SlotType, Args: []string{"arn:x", s.Args[1]}}, slot.ErrNotMine},
		"another type":      {slot.ID{1}, slot.Slot{Type: "transit", Args: s.Args}, slot.ErrNotMine},
		"one argument":      {slot.ID{1}, slot.Slot{Type: SlotType, Args: s.Args[:1]}, slot.ErrNotMine},
	} {
		if got, err := k.Unwrap(t.Context(), tc.id, tc.slot); !errors.Is(err, tc.want) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

// TestRegions: a key of another region is named, and one that is in several opens in all.
func TestRegions(t *testing.T) {
	srv := newServer(t)
	s, _ := wraps(t, key(t, arnOf("us-east-1", firstID)), slot.ID{1})
	if srv.region != "us-east-1" {
		t.Errorf("the ARN's region is not asked, but %s", srv.region)
	}
	_, err := key(t, "alias/backup").Unwrap(t.Context(), slot.ID{1}, s)
	refused(t, err, keystore.ErrRefused, "in the region us-east-1", "looked for in eu-central-1", "awskms:"+s.Args[0])

	many, dataKey := wraps(t, key(t, arnOf("us-east-1", multiID)), slot.ID{1})
	for _, name := range []string{multiID, arnOf("eu-central-1", multiID)} {
		if got, err := key(t, name).Unwrap(t.Context(), slot.ID{1}, many); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("%s, in another region: %v", name, err)
		}
	}
	t.Setenv("AWS_REGION", "")
	_, err = key(t, firstID).Wrap(t.Context(), slot.ID{}, make([]byte, 32))
	refused(t, err, keystore.ErrRefused, "no AWS region is set")
}

func TestRefusals(t *testing.T) {
	srv := newServer(t)
	for code, tc := range map[string]struct {
		status int
		kind   error
		words  string
		calls  int
	}{
		"AccessDeniedException":         {400, keystore.ErrRefused, "allow kms:Encrypt on this key", 1},
		"DisabledException":             {400, keystore.ErrRefused, "aws kms enable-key", 1},
		"KMSInvalidStateException":      {400, keystore.ErrRefused, "cancel-key-deletion", 1},
		"NotFoundException":             {400, keystore.ErrNotFound, "check the key and the region", 1},
		"InvalidKeyUsageException":      {400, keystore.ErrRefused, "symmetric key", 1},
		"ExpiredTokenException":         {400, keystore.ErrRefused, "renew the credentials", 1},
		"ThrottlingException":           {400, keystore.ErrUnreachable, "try again later", 5},
		"KeyUnavailableException":       {500, keystore.ErrUnreachable, "try again later", 5},
		"KMSInternalException":          {500, keystore.ErrUnreachable, "try again later", 5},
		"AnotherExceptionThatMayCome":   {400, keystore.ErrRefused, "describe-key", 1},
		"UnrecognizedClientException":   {400, keystore.ErrRefused, "check the credentials", 1},
		"DependencyTimeoutException":    {503, keystore.ErrUnreachable, "try again later", 5},
		"RequestLimitExceeded":          {400, keystore.ErrUnreachable, "try again later", 5},
		"IncorrectKeyExceptionOfNobody": {403, keystore.ErrRefused, "because", 1},
	} {
		srv.failing(func(int, string) (int, string) { return tc.status, code })
		_, err := key(t, firstID).Wrap(t.Context(), slot.ID{}, make([]byte, 32))
		refused(t, err, tc.kind, tc.words, "Encrypt in eu-central-1 was answered with "+code+": because")
		if srv.calls != tc.calls {
			t.Errorf("%s: %d requests, want %d", code, srv.calls, tc.calls)
		}
	}
	srv.failing(func(n int, _ string) (int, string) {
		if n < 3 {
			return 400, "ThrottlingException"
		}
		return 0, ""
	})
	if _, err := key(t, firstID).Wrap(t.Context(), slot.ID{}, make([]byte, 32)); err != nil {
		t.Errorf("throttled twice: %v", err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := key(t, firstID).Wrap(ended, slot.ID{}, make([]byte, 32)); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1") // a port that nobody is given by chance
	_, err := key(t, firstID).Wrap(t.Context(), slot.ID{}, make([]byte, 32))
	refused(t, err, keystore.ErrUnreachable, "cannot be reached", "AWS_ENDPOINT_URL")
}

// TestPlainHTTP: in production nothing is sent in the clear but to this machine, and a
// redirect takes nothing elsewhere.
func TestPlainHTTP(t *testing.T) {
	newServer(t)
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://kms.example.com")
	k, err := Parse(firstID, Options{RequireTLS: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Wrap(t.Context(), slot.ID{}, make([]byte, 32))
	refused(t, err, keystore.ErrRefused, "plain http")

	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	redirect := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	t.Setenv("AWS_ENDPOINT_URL_KMS", redirect.URL)
	_, err = key(t, firstID).Wrap(t.Context(), slot.ID{}, make([]byte, 32))
	refused(t, err, keystore.ErrRefused, "not one of KMS")
}

// TestAnswers: what is not an answer of KMS makes no slot.
func TestAnswers(t *testing.T) {
	newServer(t)
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "hello", "no ARN": `{"KeyId":"x","CiphertextBlob":"AAAA"}`, "no ciphertext": `{"KeyId":"` + arnOf("eu-central-1", firstID) + `"}`,
		"an ARN of two lines": `{"KeyId":"` + arnOf("eu-central-1", firstID) + `\nslot","CiphertextBlob":"AAAA"}`,
		"an endless one":      `{"KeyId":"` + strings.Repeat("x", 1<<20) + `"}`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }))
		t.Setenv("AWS_ENDPOINT_URL_KMS", srv.URL)
		if s, err := key(t, firstID).Wrap(t.Context(), slot.ID{}, make([]byte, 32)); !errors.As(err, new(*keystore.Error)) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		srv.Close()
	}
}

// TestBackup: sealed for a key of KMS and one at hand, opened by either.
func TestBackup(t *testing.T) {
	srv := newServer(t)
	var sealed bytes.Buffer
	own := kek.Generate()
	w, err := envelope.NewWriter(t.Context(), &sealed, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, key(t, "alias/backup").Recipient(), own)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, identity := range []envelope.Identity{key(t, firstID).Identity(), key(t, arnOf("eu-central-1", firstID)).Identity(), own} {
		if _, err := envelope.Open(t.Context(), bytes.NewReader(sealed.Bytes()), envelope.Options{}, identity); err != nil {
			t.Errorf("%T: %v", identity, err)
		}
	}
	srv.failing(func(int, string) (int, string) { return 400, "AccessDeniedException" })
	_, err = envelope.Open(t.Context(), bytes.NewReader(sealed.Bytes()), envelope.Options{}, key(t, firstID).Identity())
	refused(t, err, keystore.ErrRefused, "allow kms:Decrypt on this key")
	if _, err := envelope.Open(t.Context(), bytes.NewReader(sealed.Bytes()), envelope.Options{}, key(t, firstID).Identity(), own); err != nil {
		t.Errorf("denied, and a key next to it: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "x", "alias/", "alias/a b", "arn:aws:s3:eu-central-1:111122223333:key/" + firstID, arnOf("eu-central-1", "x"), firstID + " ", strings.Repeat("ab", 32), firstID + "\n"} {
		if k, err := Parse(bad, Options{}); err == nil || bad != "" && len(bad) > 20 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v, %v", bad, k, err)
		}
	}
}

// TestEndpoints: those of the partitions, and of FIPS.
func TestEndpoints(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL_KMS", "")
	want := map[string]string{
		"eu-central-1": "https://kms.eu-central-1.amazonaws.com", "cn-north-1": "https://kms.cn-north-1.amazonaws.com.cn",
		"us-gov-west-1": "https://kms.us-gov-west-1.amazonaws.com", "us-iso-east-1": "https://kms.us-iso-east-1.c2s.ic.gov",
	}
	got := map[string]string{}
	for region := range want {
		var err error
		if got[region], err = endpointOf(t.Context(), aws.Config{Region: region}); err != nil {
			t.Error(err)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	t.Setenv("AWS_USE_FIPS_ENDPOINT", "true")
	if at, err := endpointOf(t.Context(), aws.Config{Region: "us-east-1"}); err != nil || at != "https://kms-fips.us-east-1.amazonaws.com" {
		t.Errorf("FIPS: %s, %v", at, err)
	}
	base := "https://proxy.example.com"
	if at, err := endpointOf(t.Context(), aws.Config{Region: "us-east-1", BaseEndpoint: &base}); err != nil || at != base {
		t.Errorf("AWS_ENDPOINT_URL: %s, %v", at, err)
	}
}
