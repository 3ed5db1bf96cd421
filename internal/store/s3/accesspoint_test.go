package s3store_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// toPoint is a way to an access point of AWS that ends at a server of ours, which knows
// it as "bucket".
type toPoint struct {
	*httptest.Server
	arn, host string
	t         *testing.T
}

func (b toPoint) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != b.host || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/s3/") {
		b.t.Errorf("a request went to %s, signed %.100s", r.URL.Host, r.Header.Get("Authorization"))
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", b.Listener.Addr().String()
	r.URL.Path, r.URL.RawPath = "/bucket"+r.URL.Path, ""
	if from := r.Header.Get("X-Amz-Copy-Source"); from != "" {
		key, found := strings.CutPrefix(from, b.arn+"/object/")
		if !found {
			b.t.Errorf("copied from %s", from)
		}
		r.Header.Set("X-Amz-Copy-Source", "bucket/"+key)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestAccessPoint: the ARN of an access point is a bucket, in the region that it names.
func TestAccessPoint(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "")
	t.Setenv("AWS_ENDPOINT_URL_S3", "")
	for _, separator := range []string{":", "/"} {
		m := s3test.NewMemory()
		b := toPoint{httptest.NewServer(m), "arn:aws:s3:eu-west-1:123456789012:accesspoint" + separator + "backups", "backups-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", t}
		defer b.Close()
		const unit = 10 << 10
		o := s3store.Tuned(s3store.Small(s3store.Quick(s3store.Options{Identify: anything}), 5*unit, 10*unit, 5*unit), func(so *awss3.Options) {
			so.HTTPClient = &http.Client{Transport: b}
		})
		v := &vendor{Store: open(t, "", o), root: "s3://" + b.arn, rules: &s3test.Vendor{}, unit: unit, keys: func() []string { return m.Keys("bucket") }, uploads: m.Uploads}
		v.life(t)
	}
	for _, o := range []s3store.Options{{Endpoint: "http://127.0.0.1:1"}, {PathStyle: true}} {
		everything(t, open(t, o.Endpoint, s3store.Quick(o)), "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/backups/daily", func(_ string, err error) {
			wants(t, err, s3store.ErrNoBucket, "access point")
		})
	}
}
