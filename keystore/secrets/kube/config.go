package kube

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

type kubeconfig struct {
	Current  string `json:"current-context"`
	Contexts []struct {
		Name    string `json:"name"`
		Context struct{ Cluster, User, Namespace string }
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster cluster
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User user
	} `json:"users"`
}

type cluster struct {
	Server string `json:"server"`
	CA     []byte `json:"certificate-authority-data"`
	CAFile string `json:"certificate-authority"`
}

type user struct {
	Token     string `json:"token"`
	TokenFile string `json:"tokenFile"`
	Cert      []byte `json:"client-certificate-data"`
	CertFile  string `json:"client-certificate"`
	Key       []byte `json:"client-key-data"`
	KeyFile   string `json:"client-key"`
}

// paths are the files that KUBECONFIG lists, or ~/.kube/config.
func paths() ([]string, error) {
	if list := os.Getenv("KUBECONFIG"); list != "" {
		return filepath.SplitList(list), nil
	}
	home, err := os.UserHomeDir()
	return []string{filepath.Join(home, ".kube", "config")}, err
}

// load joins the files as kubectl does: those of a list that are missing are left out, and
// of what several files define, the first one counts.
func load(list []string) (*kubeconfig, error) {
	var all kubeconfig
	missing, found := errors.New("KUBECONFIG names no file"), false
	for _, path := range list {
		if path == "" {
			continue
		}
		k, err := loadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			missing = err
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		all.Current = cmp.Or(all.Current, k.Current)
		all.Contexts = append(all.Contexts, k.Contexts...)
		all.Clusters = append(all.Clusters, k.Clusters...)
		all.Users = append(all.Users, k.Users...)
	}
	if !found {
		return nil, missing
	}
	return &all, nil
}

// loadFile reads one file; the paths in it become those of this process.
func loadFile(path string) (*kubeconfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if yaml.Unmarshal(text, &k) != nil { // the error may repeat a token
		return nil, fmt.Errorf("%s is not a kubeconfig", path)
	}
	for i := range k.Clusters {
		beside(path, &k.Clusters[i].Cluster.CAFile)
	}
	for i := range k.Users {
		u := &k.Users[i].User
		beside(path, &u.TokenFile, &u.CertFile, &u.KeyFile)
	}
	return &k, nil
}

func beside(config string, names ...*string) {
	for _, name := range names {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(filepath.Dir(config), *name)
		}
	}
}

// current are the cluster, the user and the namespace of the current context.
func (k *kubeconfig) current() (cluster, user, namespace string) {
	for _, c := range k.Contexts {
		if c.Name == k.Current {
			return c.Context.Cluster, c.Context.User, c.Context.Namespace
		}
	}
	return "", "", ""
}

func (k *kubeconfig) cluster(name string) cluster {
	for _, c := range k.Clusters {
		if c.Name == name {
			return c.Cluster
		}
	}
	return cluster{}
}

func (k *kubeconfig) user(name string) user {
	for _, u := range k.Users {
		if u.Name == name {
			return u.User
		}
	}
	return user{}
}

// fromFiles makes the client of the current context.
func fromFiles(list []string) (*Client, error) {
	k, err := load(list)
	if err != nil {
		return nil, err
	}
	at, by, namespace := k.current()
	cl, where := k.cluster(at), strings.Join(list, ", ")
	if cl.Server == "" {
		return nil, fmt.Errorf("%s has no current context with a server", where)
	}
	ca, err := content(cl.CA, cl.CAFile)
	if err != nil {
		return nil, err
	}
	c := &Client{base: strings.TrimSuffix(cl.Server, "/"), namespace: namespace, token: func() (string, error) { return "", nil }}
	var pair tls.Certificate
	if by != "" { // a context without a user is of a proxy that has the credentials
		if pair, err = c.logIn(k.user(by), by, where); err != nil {
			return nil, err
		}
	}
	return c, c.connect(ca, pair)
}

// logIn takes the credentials of a user.
func (c *Client) logIn(u user, name, where string) (pair tls.Certificate, err error) {
	cert, err := content(u.Cert, u.CertFile)
	if err != nil {
		return pair, err
	}
	key, err := content(u.Key, u.KeyFile)
	if err != nil {
		return pair, err
	}
	if len(cert) > 0 {
		if pair, err = tls.X509KeyPair(cert, key); err != nil {
			return pair, fmt.Errorf("the client certificate of user %s of %s cannot be used", name, where)
		}
	}
	switch {
	case u.TokenFile != "":
		c.token = tokenFile(u.TokenFile)
	case u.Token != "":
		c.token = func() (string, error) { return u.Token, nil }
	case len(cert) == 0:
		return pair, fail.As(fail.Usage, "give the user a token, a tokenFile or a client certificate; programs that make credentials (exec, auth-provider) are not run",
			fmt.Errorf("user %s of %s has no credentials that this program reads", name, where))
	}
	return pair, nil
}

// content is what is in the kubeconfig, or else in the file that it names.
func content(data []byte, path string) ([]byte, error) {
	if len(data) > 0 || path == "" {
		return data, nil
	}
	return os.ReadFile(path)
}
