package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// sealedText is what a sealed Vault answers.
const sealedText = "Vault is sealed"

func (s Secret) fail(kind error, reason string) *keystore.Error {
	return &keystore.Error{URI: s.String(), Kind: kind, Reason: reason}
}

func (s Secret) unexpected() error {
	return s.fail(keystore.ErrRefused, "what answers at VAULT_ADDR does not answer as Vault does")
}

func (s Secret) fault(err error, capabilities, path string) *keystore.Error {
	return explain(s.String(), err, capabilities, path)
}

// explain explains a failed exchange for what has this URI. The capabilities, quoted,
// and the path, if there are any, are what a policy must allow for it.
func explain(uri string, err error, capabilities, path string) *keystore.Error {
	if e := (*keystore.Error)(nil); errors.As(err, &e) {
		return e
	}
	if answer := (*api.ResponseError)(nil); errors.As(err, &answer) {
		return refusal(uri, answer, capabilities, path)
	}
	e := &keystore.Error{URI: uri, Kind: keystore.ErrUnreachable, Err: err}
	server := serverName()
	switch {
	case errors.Is(err, netsafe.ErrPlain):
		e.Kind, e.Reason = keystore.ErrRefused, "in production no key travels over plain http"
		e.Fix = "give Vault's https URL in VAULT_ADDR"
	case errors.Is(err, errTooLarge):
		e.Kind, e.Reason = keystore.ErrRefused, errTooLarge.Error()+", as no secret with a key is"
	case isTLSFault(err):
		e.Kind, e.Reason = keystore.ErrRefused, "the server "+server+" cannot be trusted: "+inner(err)
		e.Fix = tlsFix(err)
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		e.Reason = "Vault at " + server + " did not answer in time"
		e.Fix = "check VAULT_ADDR, the network, and with `vault status` that Vault runs"
	default:
		e.Reason = "Vault at " + server + " cannot be reached: " + inner(err)
		e.Fix = "check VAULT_ADDR, the network, and with `vault status` that Vault runs"
	}
	return e
}

// refusal explains an answer that is neither 200 nor 404, by Vault's
// documentation of its HTTP status codes.
func refusal(uri string, answer *api.ResponseError, capabilities, path string) *keystore.Error {
	e := &keystore.Error{URI: uri, Kind: keystore.ErrUnreachable, Err: answer}
	words := said(answer)
	switch code := answer.StatusCode; {
	case code == http.StatusForbidden && strings.Contains(words, "invalid token"):
		e.Kind, e.Reason = keystore.ErrRefused, "Vault does not know the token: it is wrong, has expired or was revoked"
		e.Fix = "get a new one, as with vault login"
	case code == http.StatusForbidden:
		e.Kind, e.Reason = keystore.ErrRefused, "Vault denies it (403): "+words
		if path != "" {
			e.Reason = fmt.Sprintf("Vault denies it (403): the token may not use %s", path)
			e.Fix = fmt.Sprintf(`check the token, or give it a policy with: path "%s" { capabilities = [%s] }`, path, capabilities)
		}
	case code == http.StatusServiceUnavailable && strings.Contains(words, sealedText):
		e.Reason = "Vault is sealed"
		e.Fix = "somebody with the unseal keys runs: vault operator unseal"
	case code == http.StatusBadRequest && strings.Contains(words, "Upgrading from non-versioned"):
		e.Reason = "the mount is new, or being upgraded to version 2, and not ready yet"
		e.Fix = "try again"
	case code == http.StatusTooManyRequests:
		e.Reason = "Vault asks to come back later (429): " + words
		e.Fix = "try again, or raise the rate limit quota"
	case code == http.StatusPreconditionFailed:
		e.Reason = "the node of Vault has not caught up with the others (412)"
		e.Fix = "try again"
	case code >= 300 && code < 400:
		e.Reason = fmt.Sprintf("the node of Vault is a standby that points elsewhere (%d)", code)
		e.Fix = "name the active node, or a load balancer, in VAULT_ADDR"
	case code >= 500:
		e.Reason = fmt.Sprintf("Vault is in trouble (%d): %s", code, words)
		e.Fix = "look at `vault status` and Vault's log, and try again"
	default:
		e.Kind, e.Reason = keystore.ErrRefused, fmt.Sprintf("Vault refuses the request (%d): %s", code, words)
	}
	return e
}

func loginFault(err error, name, check string) error {
	answer := (*api.ResponseError)(nil)
	if !errors.As(err, &answer) {
		e := explain("", err, "", "")
		e.URI = "" // which a fault of before may have
		return e
	}
	e := refusal("", answer, "", "")
	e.Reason = "the login by " + name + " failed: " + e.Reason
	if e.Kind == keystore.ErrRefused {
		e.Fix = "check " + check
	}
	return e
}

func said(answer *api.ResponseError) string {
	words := clean(strings.Join(answer.Errors, " "))
	// A proxy's page is of no use.
	if words == "" || answer.RawError && strings.Contains(words, "<") {
		return "it does not say why"
	}
	return words
}

// inner returns an error's text without its URL, where a password may be.
func inner(err error) string {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return clean(err.Error())
}

// serverName returns where requests go, without a password.
func serverName() string {
	address := os.Getenv(api.EnvVaultAgentAddr)
	if address == "" {
		address = os.Getenv(api.EnvVaultAddress)
	}
	u, err := url.Parse(address)
	if err != nil {
		return "VAULT_ADDR"
	}
	u.User = nil
	return clean(u.String())
}

// isTLSFault reports whether trust failed, and not the network.
func isTLSFault(err error) bool {
	var op *net.OpError
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &op) && op.Op == "remote error" // an alert of the server's
}

func tlsFix(err error) string {
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "name the certificate of Vault's authority in VAULT_CACERT"
	case errors.As(err, new(x509.HostnameError)):
		return "use a name that the certificate has in VAULT_ADDR, or give it in VAULT_TLS_SERVER_NAME"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "check the port in VAULT_ADDR: what listens there does not speak TLS"
	}
	return "check Vault's certificate, and VAULT_CLIENT_CERT and VAULT_CLIENT_KEY if it wants ours"
}
