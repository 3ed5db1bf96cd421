// Package serve shows how the backups of a store are on web pages that change nothing:
// the status, the series over time, each backup with what is known against it, the
// drills, the end of the audit log, and what is in a backup. A caller fills in
// [Options] and calls [Run].
//
// A page is plain HTML with its own style, and no script. Only GET and HEAD are
// answered. Keys are asked for when the store or a backup is read, and wiped when that
// is done. What the store and the logs say is text from outside: no page takes it for
// markup (package page).
package serve

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const (
	maxConnections = 128
	maxRequests    = 32 // that are answered at a time
	minToken       = 24 // bytes: 18 random ones in base64
	maxHeader      = 16 << 10
	maxAnswer      = 60 * time.Second
	patience       = 10 * time.Second // for requests that are under way when the server is stopped
)

var (
	// ErrExposed is returned for an address that other hosts reach, without a token or TLS.
	ErrExposed = fail.New(fail.Usage, "listen on 127.0.0.1 and come by ssh -L 8480:127.0.0.1:8480 HOST; or give --token-file, --tls-cert and --tls-key", "other hosts reach this address, which needs a token and TLS")
	// ErrToken is returned for a token that could be guessed.
	ErrToken = fail.New(fail.Usage, "umask 077; openssl rand -base64 24 > FILE", fmt.Sprintf("the token has fewer than %d characters", minToken))
	// ErrContents is returned for contents without a token: every user of the host could read them.
	ErrContents = fail.New(fail.Usage, "give --token-file too", "what is in backups is shown only to who has a token")
)

// Options say where the pages are, and whose eyes they are for.
type Options struct {
	Source
	Listen string   // HOST:PORT, and port 0 for any that is free
	Hosts  []string // further names that the Host of a request may have, as those of a proxy
	Token  []byte   // who asks has to know it; nil: nobody is asked
	// Cert and Key are the PEM files of TLS, read at each handshake, so that a renewed
	// certificate counts at once. Without both there is plain HTTP.
	Cert, Key string
	Log       func(format string, args ...any) // what goes wrong in the server itself; nil is silent
}

// Run answers requests until ctx ends, and then lets those that are under way end. It
// calls ready with the URL once it listens. The errors are ErrExposed, ErrToken,
// ErrContents and those of the network and of the certificate.
func Run(ctx context.Context, o Options, ready func(url string)) error {
	address, err := o.check(ctx)
	if err != nil {
		return err
	}
	listener, err := net.ListenTCP("tcp", address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer listener.Close()
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           newGuard(o, newSite(inner, o.Source)),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      maxAnswer,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		Protocols:         new(http.Protocols),
		BaseContext:       func(net.Listener) context.Context { return inner },
		ErrorLog:          log.New(panics{o.Log}, "", 0),
	}
	server.Protocols.SetHTTP1(true)
	ended := make(chan error, 1)
	limited := netutil.LimitListener(listener, maxConnections)
	scheme := "http"
	if o.Cert != "" {
		scheme = "https"
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: o.certificate}
		go func() { ended <- server.ServeTLS(limited, "", "") }()
	} else {
		go func() { ended <- server.Serve(limited) }()
	}
	ready(scheme + "://" + listener.Addr().String() + "/")
	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer stop()
	if err := server.Shutdown(end); err != nil {
		server.Close()
	}
	return nil
}

// check finds the address to listen on, and refuses one that is too open.
func (o *Options) check(ctx context.Context) (*net.TCPAddr, error) {
	if o.Token != nil && len(o.Token) < minToken {
		return nil, ErrToken
	}
	if o.Session != nil && o.Token == nil {
		return nil, ErrContents
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, fail.Usagef("TLS needs a certificate and its key")
	}
	if o.Cert != "" {
		if _, err := o.certificate(nil); err != nil {
			return nil, err
		}
	}
	address, err := resolve(ctx, o.Listen)
	if err != nil {
		return nil, fail.Usagef("listening on %q: %w", o.Listen, err)
	}
	if !address.IP.IsLoopback() && (o.Token == nil || o.Cert == "") {
		return nil, fmt.Errorf("%s: %w", o.Listen, ErrExposed)
	}
	return address, nil
}

// resolve turns HOST:PORT into one address; no host is all of this host's.
func resolve(ctx context.Context, listen string) (*net.TCPAddr, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	switch host {
	case "":
		return &net.TCPAddr{Port: number}, nil
	case "localhost":
		host = "127.0.0.1"
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	return &net.TCPAddr{IP: ips[0].IP, Zone: ips[0].Zone, Port: number}, nil
}

func (o *Options) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fail.As(fail.Usage, "", fmt.Errorf("loading the certificate of TLS: %w", err))
	}
	return &pair, nil
}

// panics passes on what the server says of itself, and not what any stranger can make
// it say.
type panics struct {
	tell func(format string, args ...any)
}

func (p panics) Write(line []byte) (int, error) {
	if text := string(line); strings.HasPrefix(text, "http: panic") && p.tell != nil {
		p.tell("%s", text)
	}
	return len(line), nil
}

// newGuard lets through to pages only what may be answered.
func newGuard(o Options, pages http.Handler) http.Handler {
	g := &guard{pages: pages, slots: make(chan struct{}, maxRequests), hosts: o.Hosts, policy: policy()}
	if o.Token != nil {
		sum := sha256.Sum256(o.Token)
		g.token = sum[:]
	}
	if o.Cert != "" {
		g.named = func(host string) bool {
			pair, err := o.certificate(nil)
			return err == nil && pair.Leaf.VerifyHostname(host) == nil
		}
	}
	return g
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(w, text+"\n")
}
