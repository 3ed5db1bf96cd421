package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/takumi-backup/takumi-backup/keystore"
)

const (
	tokenFileName = ".vault-token"
	k8sTokenPath  = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	maxTokenFile  = 64 << 10
)

type lease struct {
	count     int           // of tokens so far, to see that somebody else fetched one
	known     bool          // what follows was learned
	full      time.Duration // how long it lasts from one renewal to its end
	ends      time.Time     // zero for never
	renewable bool
}

func (l *lease) learn(full, left time.Duration, renewable bool, now time.Time) {
	l.known, l.full, l.renewable, l.ends = true, max(full, left), renewable, time.Time{}
	if left > 0 {
		l.ends = now.Round(0).Add(left) // by the wall clock, which goes on while a machine sleeps
	}
}

func (l *lease) expired(now time.Time) bool {
	return !l.ends.IsZero() && !now.Round(0).Before(l.ends)
}

// ready opens the client and obtains a token, both once, and returns what is
// known of the token.
func (c *connection) ready(ctx context.Context) (lease, error) {
	if err := c.lock(ctx); err != nil {
		return lease{}, err
	}
	defer c.unlock()
	if c.client == nil {
		client, err := c.open()
		if err != nil {
			return lease{}, err
		}
		if err := c.authenticate(ctx, client); err != nil {
			return lease{}, err
		}
		c.client = client
	}
	return c.lease, nil
}

// another fetches another token, unless somebody else did since the lease was
// seen: by a new login, or from a file that may hold another by now.
func (c *connection) another(ctx context.Context, seen lease) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	if c.lease.count != seen.count {
		return nil
	}
	return c.authenticate(ctx, c.client)
}

func (c *connection) authenticate(ctx context.Context, client *api.Client) error {
	switch {
	case os.Getenv(api.EnvVaultToken) != "":
		return c.useToken(client, os.Getenv(api.EnvVaultToken), "VAULT_TOKEN")
	case os.Getenv("VAULT_ROLE_ID") != "":
		return c.loginAppRole(ctx, client)
	case os.Getenv("VAULT_K8S_ROLE") != "":
		return c.loginKubernetes(ctx, client)
	}
	if home, err := os.UserHomeDir(); err == nil {
		path := filepath.Join(home, tokenFileName)
		token, err := readSmall(path, 0o077)
		if err == nil {
			return c.useToken(client, token, path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return &keystore.Error{Kind: keystore.ErrRefused, Reason: "the token file of Vault cannot be used: " + err.Error(), Fix: "chmod 600 " + shellWord(path) + ", or log in with vault login", Err: err}
		}
	}
	if os.Getenv(api.EnvVaultAgentAddr) != "" {
		return nil // an agent may add a token of its own
	}
	return &keystore.Error{
		Kind: keystore.ErrRefused, Reason: "there are no credentials for Vault",
		Fix: "set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID_FILE, or VAULT_K8S_ROLE, or log in with vault login",
	}
}

func (c *connection) useToken(client *api.Client, token, from string) error {
	token = strings.TrimSpace(token)
	if token == "" || !printable(token) {
		return &keystore.Error{Kind: keystore.ErrRefused, Reason: "what " + from + " holds is not a token of Vault", Fix: "get one, as with vault login"}
	}
	client.SetToken(token)
	c.lease = lease{count: c.lease.count + 1}
	return nil
}

func (c *connection) loginAppRole(ctx context.Context, client *api.Client) error {
	secretID := os.Getenv("VAULT_SECRET_ID")
	if path := os.Getenv("VAULT_SECRET_ID_FILE"); secretID == "" && path != "" {
		var err error
		// The group may read it: that is how systemd and Kubernetes hand it over.
		if secretID, err = readSmall(path, 0o007); err != nil {
			return &keystore.Error{Kind: keystore.ErrRefused, Reason: "the file that VAULT_SECRET_ID_FILE names cannot be used: " + err.Error(), Fix: "chmod 600 " + shellWord(path), Err: err}
		}
	}
	method, err := approle.NewAppRoleAuth(os.Getenv("VAULT_ROLE_ID"), &approle.SecretID{FromString: secretID}, approle.WithMountPath(mountOr("VAULT_APPROLE_MOUNT", "approle")))
	if err != nil {
		return &keystore.Error{Kind: keystore.ErrRefused, Reason: "VAULT_ROLE_ID is set, but no secret id", Fix: "set VAULT_SECRET_ID_FILE, or VAULT_SECRET_ID", Err: err}
	}
	return c.login(ctx, client, method, "AppRole", "VAULT_ROLE_ID, VAULT_SECRET_ID and VAULT_APPROLE_MOUNT")
}

func (c *connection) loginKubernetes(ctx context.Context, client *api.Client) error {
	path := os.Getenv("VAULT_K8S_TOKEN_PATH")
	if path == "" {
		path = k8sTokenPath
	}
	jwt, err := readSmall(path, 0) // Kubernetes chooses its mode
	if err != nil {
		return &keystore.Error{Kind: keystore.ErrRefused, Reason: "the token of the service account cannot be read: " + err.Error(), Fix: "run it in a pod with a service account, or set VAULT_K8S_TOKEN_PATH", Err: err}
	}
	method, err := kubernetes.NewKubernetesAuth(os.Getenv("VAULT_K8S_ROLE"), kubernetes.WithServiceAccountToken(jwt), kubernetes.WithMountPath(mountOr("VAULT_K8S_MOUNT", "kubernetes")))
	if err != nil {
		return &keystore.Error{Kind: keystore.ErrRefused, Reason: "the token of the service account is empty", Err: err}
	}
	return c.login(ctx, client, method, "Kubernetes", "VAULT_K8S_ROLE and VAULT_K8S_MOUNT, and that the role is bound to this service account")
}

func mountOr(variable, usual string) string {
	if mount := strings.Trim(os.Getenv(variable), "/"); mount != "" {
		return mount
	}
	return usual
}

func (c *connection) login(ctx context.Context, client *api.Client, method api.AuthMethod, name, check string) error {
	sent := c.now() // before the lease begins, so that ours never ends later
	secret, err := client.Auth().Login(ctx, method)
	if err != nil {
		return loginFault(err, name, check)
	}
	c.lease = lease{count: c.lease.count + 1}
	left := time.Duration(secret.Auth.LeaseDuration) * time.Second
	c.lease.learn(left, left, secret.Auth.Renewable, sent)
	return nil
}

// upkeep renews the token when less than a third of its time is left. It does
// what it can, after an operation that worked: a failure shows soon enough.
func (c *connection) upkeep(ctx context.Context) {
	select {
	case c.turn <- struct{}{}:
		defer c.unlock()
	default:
		return // somebody else is at it
	}
	ctx, cancel := context.WithTimeout(ctx, c.attempt)
	defer cancel()
	tokens := c.client.Auth().Token()
	if !c.lease.known {
		c.lease.known = true // also when it fails: it is asked once
		if secret, err := tokens.LookupSelfWithContext(ctx); err == nil && secret != nil {
			left, _ := secret.TokenTTL() // 0, for never, if it makes no sense
			renewable, _ := secret.TokenIsRenewable()
			c.lease.learn(max(seconds(secret.Data["creation_ttl"]), seconds(secret.Data["period"])), left, renewable, c.now())
		}
	}
	if left := c.lease.ends.Sub(c.now().Round(0)); !c.lease.renewable || c.lease.ends.IsZero() || left <= 0 || left > c.lease.full/3 {
		return
	}
	sent := c.now()
	// An increment of 0 asks for the token's own time.
	if secret, err := tokens.RenewSelfWithContext(ctx, 0); err == nil && secret != nil && secret.Auth != nil {
		left := time.Duration(secret.Auth.LeaseDuration) * time.Second
		c.lease.learn(left, left, secret.Auth.Renewable, sent)
	}
}

func seconds(v any) time.Duration {
	n, _ := v.(json.Number)
	whole, _ := n.Int64()
	return time.Duration(whole) * time.Second
}

// readSmall reads a file that holds a token, unless its mode has one of the
// bits of open.
func readSmall(path string, open fs.FileMode) (string, error) {
	// Before it is opened, because a named pipe would hold us up.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case info.Mode().Perm()&open != 0:
		return "", fmt.Errorf("%s is open to others (mode %04o)", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return "", err
	}
	defer clear(text)
	if len(text) > maxTokenFile {
		return "", fmt.Errorf("%s is too large for a token", path)
	}
	return strings.TrimSpace(string(text)), nil
}
