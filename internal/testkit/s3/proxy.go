package s3test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
)

// Proxy is between a client and a server, and breaks what it is told to.
// Its methods may be called at any time.
type Proxy struct {
	URL string // what AWS_ENDPOINT_URL has to be

	mu       sync.Mutex
	before   func(http.ResponseWriter, *http.Request) bool
	up, down cut
	requests int
}

// cut is a number of bytes after which a connection breaks, once; -1 is never.
type cut struct{ left int64 }

// spend says how many of n more bytes pass, which is fewer than n once.
func (c *cut) spend(n int) int {
	if c.left < 0 || int64(n) <= c.left {
		if c.left >= 0 {
			c.left -= int64(n)
		}
		return n
	}
	n = int(c.left)
	c.left = -1
	return n
}

// NewProxy starts a proxy to the server at endpoint. It ends with the test.
func NewProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{up: cut{-1}, down: cut{-1}}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32}
	forward := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		// The client sees what it would see of a server that dies.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		before := p.before
		p.requests++
		p.mu.Unlock()
		if before == nil || !before(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	server.Config.ErrorLog = silent
	server.Listener = &cuttingListener{server.Listener, p}
	server.Start()
	p.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// Before sets what sees every request first, or nil. The request goes on to
// the server unless it returns true.
func (p *Proxy) Before(f func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// CutUpload breaks the connection that carries the byte after the next n of all
// that clients send.
func (p *Proxy) CutUpload(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up.left = n
}

// CutDownload is CutUpload for what clients receive.
func (p *Proxy) CutDownload(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down.left = n
}

// Requests is how many there have been.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// Refuse answers as S3 does when it refuses a request.
func Refuse(w http.ResponseWriter, status int, code string) {
	body := `<?xml version="1.0" encoding="UTF-8"?><Error><Code>` + code + `</Code><Message>as the test wants it</Message></Error>`
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

type cuttingListener struct {
	net.Listener
	p *Proxy
}

func (l *cuttingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &cuttingConn{c, l.p}, nil
}

type cuttingConn struct {
	net.Conn
	p *Proxy
}

func (c *cuttingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if pass := c.pass(&c.p.up, n); pass < n {
		c.Close()
		return pass, net.ErrClosed
	}
	return n, err
}

func (c *cuttingConn) Write(b []byte) (int, error) {
	pass := c.pass(&c.p.down, len(b))
	n, err := c.Conn.Write(b[:pass])
	if pass < len(b) {
		c.Close()
		return n, net.ErrClosed
	}
	return n, err
}

func (c *cuttingConn) pass(of *cut, n int) int {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return of.spend(n)
}
