package s3test

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Vendor makes of a whole S3 server one as some vendors have it: each switch is a
// rule of theirs, as they document it or as it was seen. The switches are set
// before the first request, but for those that are functions.
type Vendor struct {
	EqualParts      bool // all parts but the last have one size, or completing fails (Cloudflare R2)
	NoConditions    bool // If-None-Match and If-Match when writing are 501 (Backblaze B2)
	IgnoresCond     bool // and these are passed over
	RewriteEncoding bool // Accept-Encoding may not be signed (Google Cloud Storage)
	NoSums          bool // checksums are neither compared nor confirmed
	NoVersions      bool // versions are not listed
	Tags            int  // the status with which tags are refused
	CutLists        bool // a list goes on, and does not say where
	EmptyComplete   bool // completing is answered with 200 and nothing, and not done
	// Corrupts says of which requests a byte of the body is changed, Foreign which
	// are answered with 200 by something else, and Archived which keys have to be
	// fetched back. They may be nil.
	Corrupts, Foreign func(*http.Request) bool
	Archived          func(key string) bool

	*seen
}

// seen is what a vendor remembers.
type seen struct {
	mu       sync.Mutex
	parts    map[string]map[int]int64
	restored map[string]bool
	bodies   int64
}

// Start serves next as that vendor does, until the test ends, and returns the
// endpoint.
func (v *Vendor) Start(t testing.TB, next http.Handler) string {
	t.Helper()
	v.seen = &seen{parts: map[string]map[int]int64{}, restored: map[string]bool{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { v.serve(w, r, next) }))
	server.Config.ErrorLog = silent
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// Received is how many bytes of bodies clients have sent.
func (v *Vendor) Received() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bodies
}

func (v *Vendor) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	v.mu.Lock()
	v.bodies += int64(len(body))
	v.mu.Unlock()
	query := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	writes := r.Method != http.MethodGet && r.Method != http.MethodHead
	completes := r.Method == http.MethodPost && query.Has("uploadId")
	conditional := r.Header.Get("If-None-Match") + r.Header.Get("If-Match")
	switch {
	case v.RewriteEncoding && strings.Contains(r.Header.Get("Authorization"), "accept-encoding"):
		Refuse(w, http.StatusForbidden, "SignatureDoesNotMatch")
		return
	case v.Foreign != nil && v.Foreign(r):
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><head><title>Welcome</title></head><body><p>Sign in</p></body></html>")
		return
	case v.NoConditions && writes && conditional != "":
		Refuse(w, http.StatusNotImplemented, "NotImplemented")
		return
	case v.NoVersions && query.Has("versions"):
		Refuse(w, http.StatusNotImplemented, "NotImplemented")
		return
	case v.Tags != 0 && (r.Header.Get("X-Amz-Tagging") != "" || query.Has("tagging")):
		Refuse(w, v.Tags, "InvalidArgument")
		return
	case v.EmptyComplete && completes:
		return
	case v.EqualParts && completes && !v.equal(query.Get("uploadId"), body):
		Refuse(w, http.StatusBadRequest, "InvalidPart")
		return
	case v.Archived != nil && v.archived(w, r, key):
		return
	}
	r.Header = r.Header.Clone()
	if v.IgnoresCond && writes {
		r.Header.Del("If-None-Match")
		r.Header.Del("If-Match")
	}
	if v.NoSums {
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Amz-Checksum") || strings.HasPrefix(name, "X-Amz-Sdk-Checksum") || name == "Content-Md5" || name == "X-Amz-Content-Sha256" {
				r.Header.Del(name)
			}
		}
		if completes {
			body = regexp.MustCompile(`<Checksum\w+>[^<]*</Checksum\w+>`).ReplaceAll(body, nil)
		}
	}
	if v.Corrupts != nil && v.Corrupts(r) && len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	got := httptest.NewRecorder()
	next.ServeHTTP(got, r)
	v.note(r, query, int64(len(body)), got, next)
	v.pass(w, r, got)
}

// archived answers for a key that is archived, or was asked to be fetched back.
func (v *Vendor) archived(w http.ResponseWriter, r *http.Request, key string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case !v.Archived(key):
		return false
	case r.Method == http.MethodPost && r.URL.Query().Has("restore"):
		if v.restored[key] {
			Refuse(w, http.StatusConflict, "RestoreAlreadyInProgress")
			return true
		}
		v.restored[key] = true
		w.WriteHeader(http.StatusAccepted)
		return true
	case r.Method == http.MethodGet && r.URL.RawQuery == "x-id=GetObject" && !v.restored[key]:
		Refuse(w, http.StatusForbidden, "InvalidObjectState")
		return true
	}
	return false
}

// note remembers how large a part is.
func (v *Vendor) note(r *http.Request, query url.Values, size int64, got *httptest.ResponseRecorder, next http.Handler) {
	n, err := strconv.Atoi(query.Get("partNumber"))
	if err != nil || got.Code != http.StatusOK || !v.EqualParts {
		return
	}
	if source := r.Header.Get("X-Amz-Copy-Source"); source != "" {
		var from, to int64
		if _, err := fmt.Sscanf(r.Header.Get("X-Amz-Copy-Source-Range"), "bytes=%d-%d", &from, &to); err == nil {
			size = to - from + 1
		} else {
			head := httptest.NewRecorder()
			next.ServeHTTP(head, httptest.NewRequest(http.MethodHead, "/"+strings.TrimPrefix(source, "/"), nil))
			size, _ = strconv.ParseInt(head.Header().Get("Content-Length"), 10, 64)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	id := query.Get("uploadId")
	if v.parts[id] == nil {
		v.parts[id] = map[int]int64{}
	}
	v.parts[id][n] = size
}

// equal reports whether an upload's parts have one size, but for the last.
func (v *Vendor) equal(id string, body []byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	var in struct{ Part []struct{ PartNumber int } }
	_ = xml.Unmarshal(body, &in)
	if len(in.Part) == 0 {
		return false
	}
	first := v.parts[id][in.Part[0].PartNumber]
	for i, p := range in.Part {
		if size := v.parts[id][p.PartNumber]; size > first || size < first && i < len(in.Part)-1 {
			return false
		}
	}
	return true
}

var token = regexp.MustCompile(`<(NextContinuationToken|NextKeyMarker|NextVersionIdMarker|NextUploadIdMarker)>[^<]*</\w+>`)

// pass hands on what the server answered, less what the vendor does not have.
func (v *Vendor) pass(w http.ResponseWriter, r *http.Request, got *httptest.ResponseRecorder) {
	body := got.Body.Bytes()
	maps.Copy(w.Header(), got.Header())
	if v.CutLists && r.Method == http.MethodGet && slices.Contains([]string{"<ListB", "<ListV", "<ListM"}, rootOf(body)) {
		body = token.ReplaceAll(body, nil)
		body = bytes.Replace(body, []byte("<IsTruncated>false<"), []byte("<IsTruncated>true<"), 1)
		w.Header().Del("Content-Length")
	}
	if v.NoSums {
		for name := range w.Header() {
			if strings.HasPrefix(name, "X-Amz-Checksum") {
				w.Header().Del(name)
			}
		}
	}
	w.WriteHeader(cmp.Or(got.Code, http.StatusOK))
	_, _ = w.Write(body)
}

// rootOf is the beginning of the root element of an answer.
func rootOf(body []byte) string {
	if i := bytes.Index(body, []byte("<List")); i >= 0 && i < 100 {
		return string(body[i : i+6])
	}
	return ""
}

// Forward hands requests on to the server, signed anew as its owner's: a proxy may
// have changed what they said, and their bodies.
func (s *Server) Forward() http.Handler {
	target, _ := url.Parse(s.Endpoint())
	signer, owner := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: Secret}
	return &httputil.ReverseProxy{
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
			for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Forwarded-For", "Accept-Encoding", "Expect"} {
				r.Out.Header.Del(name)
			}
			r.Out.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			_ = signer.SignHTTP(r.In.Context(), owner, r.Out, "UNSIGNED-PAYLOAD", "s3", Region, time.Now())
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}
