package s3test

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory is an S3 server within the process, for tests that need no real one: it
// keeps conditions and checksums, parts and copies of them, and versions, as AWS
// does, and takes any signature and any bucket. Behind a [Vendor] it becomes one
// with less.
type Memory struct {
	Versioned bool // it keeps what is replaced or deleted
	Opaque    bool // its ETags are no MD5, as with keys of KMS
	Unordered bool // it lists in no order, as S3 Express does

	mu      sync.Mutex
	objects map[string][]*kept // versions by bucket/key, the oldest first
	uploads map[string]*begun
	ids     int
}

type kept struct {
	body     []byte
	etag     string
	header   http.Header // what comes back with it
	tags     string
	version  string
	marker   bool
	modified time.Time
}

type begun struct {
	path   string
	header http.Header
	parts  map[int][]byte
	at     time.Time
}

// NewMemory returns a server without a bucket's worth of anything.
func NewMemory() *Memory {
	return &Memory{objects: map[string][]*kept{}, uploads: map[string]*begun{}}
}

// Keys lists what a bucket holds.
func (m *Memory) Keys(bucket string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := []string{}
	for path := range m.objects {
		if key, ok := strings.CutPrefix(path, bucket+"/"); ok && m.current(path) != nil {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Content is that of an object, or nil.
func (m *Memory) Content(bucket, key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.current(bucket + "/" + key); o != nil {
		return o.body
	}
	return nil
}

// Put keeps an object, whatever its key.
func (m *Memory) Put(bucket, key string, content []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(bucket+"/"+key, &kept{body: content, etag: m.etagOf(content), header: http.Header{}})
}

// Uploads is how many were begun and not ended.
func (m *Memory) Uploads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.uploads)
}

func (m *Memory) current(path string) *kept {
	if all := m.objects[path]; len(all) > 0 && !all[len(all)-1].marker {
		return all[len(all)-1]
	}
	return nil
}

func (m *Memory) keep(path string, o *kept) {
	m.ids++
	o.version, o.modified = fmt.Sprintf("v%06d", m.ids), time.Now().Truncate(time.Second)
	if m.Versioned {
		m.objects[path] = append(m.objects[path], o)
		return
	}
	m.objects[path] = []*kept{o}
}

func (m *Memory) etagOf(content []byte) string {
	sum := md5.Sum(content)
	if m.Opaque {
		sum[0] ^= 0xff
	}
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// ServeHTTP implements http.Handler.
func (m *Memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	path, query := strings.TrimPrefix(r.URL.Path, "/"), r.URL.Query()
	bucket, key, _ := strings.Cut(path, "/")
	switch {
	case key == "" && query.Has("uploads"):
		m.listUploads(w, bucket, query)
	case key == "" && query.Has("versions"):
		m.listVersions(w, bucket, query)
	case key == "":
		m.list(w, bucket, query)
	case r.Method == http.MethodPost && query.Has("uploads"):
		m.ids++
		id := strconv.Itoa(m.ids) + rand.Text()
		m.uploads[id] = &begun{path: path, header: r.Header.Clone(), parts: map[int][]byte{}, at: time.Now()}
		answer(w, struct {
			XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
			UploadId string
		}{UploadId: id})
	case query.Has("uploadId"):
		m.upload(w, r, m.uploads[query.Get("uploadId")], query, body)
	case query.Has("tagging"):
		m.tagging(w, path)
	case r.Method == http.MethodPut:
		m.put(w, r, path, r.Header, body)
	case r.Method == http.MethodDelete:
		m.delete(w, r, path, query.Get("versionId"))
	default:
		m.get(w, r, path, query.Get("versionId"))
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(v)
}

// arrived checks what a request says of its body, and answers when that is not so.
func arrived(w http.ResponseWriter, r *http.Request, body []byte) bool {
	sum, old := sha256.Sum256(body), md5.Sum(body)
	for header, want := range map[string]string{
		"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:]), "Content-Md5": base64.StdEncoding.EncodeToString(old[:]),
		"X-Amz-Content-Sha256": hex.EncodeToString(sum[:]),
	} {
		if got := r.Header.Get(header); got != "" && got != want && !strings.HasPrefix(got, "UNSIGNED") {
			Refuse(w, http.StatusBadRequest, "BadDigest")
			return false
		}
	}
	if sum := r.Header.Get("X-Amz-Checksum-Sha256"); sum != "" {
		w.Header().Set("X-Amz-Checksum-Sha256", sum)
	}
	return true
}

// holds checks a request's conditions, and answers when they do not hold.
func (m *Memory) holds(w http.ResponseWriter, r *http.Request, path string) bool {
	there := m.current(path)
	if r.Header.Get("If-None-Match") == "*" && there != nil {
		Refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return false
	}
	if match := r.Header.Get("If-Match"); match != "" && (there == nil || strings.Trim(there.etag, `"`) != strings.Trim(match, `"`)) {
		Refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return false
	}
	return true
}

func (m *Memory) put(w http.ResponseWriter, r *http.Request, path string, header http.Header, body []byte) {
	if !m.holds(w, r, path) || !arrived(w, r, body) {
		return
	}
	o := newKept(header, body, m.etagOf(body))
	m.keep(path, o)
	w.Header().Set("ETag", o.etag)
	if m.Versioned {
		w.Header().Set("X-Amz-Version-Id", o.version)
	}
}

func newKept(header http.Header, body []byte, etag string) *kept {
	o := &kept{body: body, etag: etag, header: http.Header{}, tags: header.Get("X-Amz-Tagging")}
	for name, values := range header {
		if strings.HasPrefix(name, "X-Amz-Meta-") || slices.Contains([]string{"X-Amz-Storage-Class", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold"}, name) {
			o.header[name] = values
		}
	}
	return o
}

func (m *Memory) find(path, version string) *kept {
	if version == "" {
		return m.current(path)
	}
	for _, o := range m.objects[path] {
		if o.version == version {
			return o
		}
	}
	return nil
}

func (m *Memory) get(w http.ResponseWriter, r *http.Request, path, version string) {
	o := m.find(path, version)
	switch {
	case o == nil:
		Refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	case o.marker:
		Refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
		return
	}
	maps.Copy(w.Header(), o.header)
	w.Header().Set("ETag", o.etag)
	if m.Versioned {
		w.Header().Set("X-Amz-Version-Id", o.version)
	}
	http.ServeContent(w, r, "", o.modified, bytes.NewReader(o.body))
}

func (m *Memory) delete(w http.ResponseWriter, r *http.Request, path, version string) {
	if !m.holds(w, r, path) {
		return
	}
	switch {
	case version != "":
		m.objects[path] = slices.DeleteFunc(m.objects[path], func(o *kept) bool { return o.version == version })
	case m.Versioned:
		m.keep(path, &kept{marker: true})
	default:
		delete(m.objects, path)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (m *Memory) tagging(w http.ResponseWriter, path string) {
	type tag struct{ Key, Value string }
	out := struct {
		XMLName xml.Name `xml:"Tagging"`
		TagSet  []tag    `xml:"TagSet>Tag"`
	}{}
	if o := m.current(path); o != nil {
		values, _ := url.ParseQuery(o.tags)
		for k := range values {
			out.TagSet = append(out.TagSet, tag{k, values.Get(k)})
		}
	}
	answer(w, out)
}

// upload does what is asked of a multipart upload that was begun.
func (m *Memory) upload(w http.ResponseWriter, r *http.Request, u *begun, query url.Values, body []byte) {
	id, n := query.Get("uploadId"), 0
	if query.Has("partNumber") {
		n, _ = strconv.Atoi(query.Get("partNumber"))
	}
	switch {
	case u == nil:
		Refuse(w, http.StatusNotFound, "NoSuchUpload")
	case r.Method == http.MethodDelete:
		delete(m.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet:
		type part struct{ PartNumber int }
		out := struct {
			XMLName xml.Name `xml:"ListPartsResult"`
			Part    []part
		}{}
		for n := range u.parts {
			out.Part = append(out.Part, part{n})
		}
		answer(w, out)
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		m.copy(w, r, u, n)
	case r.Method == http.MethodPut:
		if arrived(w, r, body) {
			u.parts[n] = body
			w.Header().Set("ETag", m.etagOf(body))
		}
	default:
		m.complete(w, r, u, id, body)
	}
}

func (m *Memory) copy(w http.ResponseWriter, r *http.Request, u *begun, n int) {
	// As a form is decoded, which some servers do.
	source, err := url.QueryUnescape(strings.TrimPrefix(r.Header.Get("X-Amz-Copy-Source"), "/"))
	o := m.current(source)
	if err != nil || o == nil {
		Refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	if match := r.Header.Get("X-Amz-Copy-Source-If-Match"); match != "" && match != o.etag {
		Refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	from, to := 0, len(o.body)-1
	if text := r.Header.Get("X-Amz-Copy-Source-Range"); text != "" {
		if _, err := fmt.Sscanf(text, "bytes=%d-%d", &from, &to); err != nil || to >= len(o.body) {
			Refuse(w, http.StatusBadRequest, "InvalidArgument")
			return
		}
	}
	u.parts[n] = o.body[from : to+1]
	answer(w, struct {
		XMLName xml.Name `xml:"CopyPartResult"`
		ETag    string
	}{ETag: m.etagOf(u.parts[n])})
}

func (m *Memory) complete(w http.ResponseWriter, r *http.Request, u *begun, id string, body []byte) {
	var in struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &in); err != nil {
		Refuse(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	if !m.holds(w, r, u.path) {
		return
	}
	var whole, sums []byte
	for _, p := range in.Part {
		content, ok := u.parts[p.PartNumber]
		if !ok || strings.Trim(m.etagOf(content), `"`) != strings.Trim(p.ETag, `"`) {
			Refuse(w, http.StatusBadRequest, "InvalidPart")
			return
		}
		whole = append(whole, content...)
		sum := md5.Sum(content)
		sums = append(sums, sum[:]...)
	}
	o := newKept(u.header, whole, strings.TrimSuffix(m.etagOf(sums), `"`)+fmt.Sprintf(`-%d"`, len(in.Part)))
	m.keep(u.path, o)
	delete(m.uploads, id)
	if m.Versioned {
		w.Header().Set("X-Amz-Version-Id", o.version)
	}
	answer(w, struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		ETag    string
	}{ETag: o.etag})
}

// escape is how a list has a key, when that is asked for.
func escape(query url.Values, key string) string {
	if query.Get("encoding-type") == "url" {
		return strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
	}
	return key
}

// paths are those of a bucket that begin with a prefix, in order.
func (m *Memory) paths(bucket string, query url.Values) []string {
	var paths []string
	for path := range m.objects {
		if strings.HasPrefix(path, bucket+"/"+query.Get("prefix")) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	if m.Unordered {
		slices.Reverse(paths)
	}
	return paths
}

// pageOf is how many keys a list has.
func pageOf(query url.Values) int {
	n, _ := strconv.Atoi(query.Get("max-keys"))
	return cmp.Or(n, 1000)
}

const stamped = "2006-01-02T15:04:05.000Z"

func (m *Memory) list(w http.ResponseWriter, bucket string, query url.Values) {
	type content struct {
		Key, LastModified, ETag, StorageClass string
		Size                                  int
	}
	out := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name, EncodingType    string   `xml:",omitempty"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		KeyCount              int
		Contents              []content
	}{Name: bucket, EncodingType: query.Get("encoding-type")}
	after, _ := strconv.Atoi(query.Get("continuation-token"))
	for i, path := range m.paths(bucket, query) {
		o := m.current(path)
		if o == nil || i < after {
			continue
		}
		if len(out.Contents) == pageOf(query) {
			out.IsTruncated, out.NextContinuationToken = true, strconv.Itoa(i)
			break
		}
		out.Contents = append(out.Contents, content{escape(query, path[len(bucket)+1:]), o.modified.UTC().Format(stamped), o.etag, "STANDARD", len(o.body)})
	}
	out.KeyCount = len(out.Contents)
	answer(w, out)
}

func (m *Memory) listVersions(w http.ResponseWriter, bucket string, query url.Values) {
	type entry struct {
		XMLName                            xml.Name
		Key, VersionId, LastModified, ETag string
		IsLatest                           bool
		Size                               int
	}
	out := struct {
		XMLName      xml.Name `xml:"ListVersionsResult"`
		EncodingType string   `xml:",omitempty"`
		IsTruncated  bool
		Entries      []entry
	}{EncodingType: query.Get("encoding-type")}
	for _, path := range m.paths(bucket, query) {
		for i, o := range slices.Backward(m.objects[path]) {
			e := entry{xml.Name{Local: "Version"}, escape(query, path[len(bucket)+1:]), o.version, o.modified.UTC().Format(stamped), o.etag, i == len(m.objects[path])-1, len(o.body)}
			if o.marker {
				e.XMLName.Local = "DeleteMarker"
			}
			if !m.Versioned {
				e.VersionId = "null"
			}
			out.Entries = append(out.Entries, e)
		}
	}
	answer(w, out)
}

func (m *Memory) listUploads(w http.ResponseWriter, bucket string, query url.Values) {
	type upload struct{ Key, UploadId, Initiated string }
	out := struct {
		XMLName      xml.Name `xml:"ListMultipartUploadsResult"`
		EncodingType string   `xml:",omitempty"`
		IsTruncated  bool
		Upload       []upload
	}{EncodingType: query.Get("encoding-type")}
	for id, u := range m.uploads {
		if key, ok := strings.CutPrefix(u.path, bucket+"/"); ok && strings.HasPrefix(key, query.Get("prefix")) {
			out.Upload = append(out.Upload, upload{escape(query, key), id, u.at.UTC().Format(stamped)})
		}
	}
	answer(w, out)
}
