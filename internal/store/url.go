package store

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// URLScheme begins every path in a bucket.
const URLScheme = "s3://"

// Server is the S3 server and identity that a path is meant for. Empty fields come from the
// environment.
type Server struct {
	Profile   string // of the AWS configuration
	Region    string
	Endpoint  string
	PathStyle string // "true", "false" or ""
}

// SplitURL splits s3://BUCKET/KEY?profile=&region=&endpoint=&path_style= at the last "?",
// and only when all names behind it are among these four; other paths are returned whole. A
// suffix appended to the path, as of a sidecar, goes to base. The error is ErrName.
func SplitURL(path string) (base string, server Server, err error) {
	base, query := cutQuery(path)
	if query == "" {
		return base, server, nil
	}
	values, err := url.ParseQuery(query[1:])
	if err != nil {
		return base, server, fmt.Errorf("%q: %w: what is behind the ? cannot be read", path, ErrName)
	}
	server = Server{values.Get("profile"), values.Get("region"), values.Get("endpoint"), values.Get("path_style")}
	if e, err := url.Parse(server.Endpoint); server.Endpoint != "" && (err != nil || e.Host == "" || e.Scheme != "https" && e.Scheme != "http") {
		return base, server, fmt.Errorf("%q: %w: an endpoint is https://HOST", path, ErrName)
	}
	if server.PathStyle != "" {
		on, err := strconv.ParseBool(server.PathStyle)
		if err != nil {
			return base, server, fmt.Errorf("%q: %w: path_style is true or false", path, ErrName)
		}
		server.PathStyle = strconv.FormatBool(on)
	}
	return base, server, nil
}

var (
	knownQuery = regexp.MustCompile(`^\?(profile|region|endpoint|path_style)=[^&?]*(&(profile|region|endpoint|path_style)=[^&?]*)*$`)
	// No profile, region, endpoint or truth value ends like this.
	appended = regexp.MustCompile(`(\.(sha256|envelope|partial|reencrypt-partial|segment-\d{5}))+$`)
)

// cutQuery splits a path in a bucket; query includes the "?" and is "" for all other paths.
func cutQuery(path string) (base, query string) {
	i := strings.LastIndexByte(path, '?')
	if i < 0 || !strings.HasPrefix(path, URLScheme) {
		return path, ""
	}
	base, query = path[:i], path[i:]
	suffix := appended.FindString(query)
	query = strings.TrimSuffix(query, suffix)
	if !knownQuery.MatchString(query) {
		return path, ""
	}
	return base + suffix, query
}

// MapBase applies f to the part of a path before its query.
func MapBase(path string, f func(base string) string) string {
	base, query := cutQuery(path)
	return f(base) + query
}

// In a path, the "?" of a key is %3F, and %3F is %253F.
var (
	escaped = regexp.MustCompile(`%(25)*3F`)
	mark    = regexp.MustCompile(`\?|%(25)*3F`)
)

// EscapeKey makes a key part of a path; UnescapeKey is the reverse.
func EscapeKey(key string) string {
	return mark.ReplaceAllStringFunc(key, func(m string) string {
		if m == "?" {
			return "%3F"
		}
		return "%25" + m[1:]
	})
}

// UnescapeKey undoes EscapeKey.
func UnescapeKey(text string) string {
	return escaped.ReplaceAllStringFunc(text, func(m string) string {
		if m == "%3F" {
			return "?"
		}
		return "%" + strings.TrimPrefix(m[1:], "25")
	})
}
