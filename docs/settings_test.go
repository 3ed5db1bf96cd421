package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// ownEnvironment are the packages that may look into the environment of the process,
// and why. All others get their settings from internal/config, which main fills once.
var ownEnvironment = map[string]string{
	"cmd/takumi-backup":         "main: it hands the environment to internal/config, and the file's settings to libpq, SDKs and children",
	"cmd/takumi-secrets":        "main: what its flags leave out, and the environment of the command that it runs",
	"cmd/age-plugin-pkcs11":     "main of a program that age starts, with settings of its own",
	"keystore":                  "env:NAME is a key URI that means a variable",
	"keystore/awskms":           "the variables of the AWS SDK for an endpoint",
	"keystore/history":          "HOME and XDG_STATE_HOME, as the XDG specification has them",
	"keystore/secrets":          "env is a backend that means variables; VAULT_PATH and others complete what SECRETS_BACKEND says",
	"keystore/secrets/kube":     "KUBECONFIG, and what Kubernetes gives a pod, as its own clients have them",
	"keystore/vault":            "the variables of Vault's own client, and of its ways to log in",
	"internal/fsutil":           "CREDENTIALS_DIRECTORY, by which systemd says where it delivers",
	"internal/postgres":         "libpq's variables, which count for its programs too",
	"internal/postgres/scratch": "PATH of a child",
	"internal/audit":            "SUDO_USER, which sudo sets",
	"internal/store/s3":         "the variables of the AWS SDK",
	"internal/secretenv":        "what a child inherits",
	"verify":                    "PATH of a child",
}

// TestSettingsAreReadOnce: no package of the product reads a setting from the
// environment but internal/config.
func TestSettingsAreReadOnce(t *testing.T) {
	used := make(map[string]bool)
	files := 0
	for _, top := range append([]string{}, floors...) {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			pkg := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
			if strings.HasPrefix(pkg, "internal/testkit") {
				return nil
			}
			files++
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				from, ok := sel.X.(*ast.Ident)
				if !ok || from.Name != "os" && from.Name != "syscall" {
					return true
				}
				switch sel.Sel.Name {
				case "Getenv", "LookupEnv", "Environ", "Setenv", "ExpandEnv":
					if ownEnvironment[pkg] == "" {
						t.Errorf("%s uses %s.%s: settings come from internal/config", path, from.Name, sel.Sel.Name)
					}
					if pkg == "cmd/takumi-backup" && sel.Sel.Name != "Environ" && !strings.HasSuffix(path, "config.go") {
						t.Errorf("%s uses os.%s: settings are those of conf", path, sel.Sel.Name)
					}
					used[pkg] = true
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for pkg := range ownEnvironment {
		if !used[pkg] {
			t.Errorf("%s does not look into the environment any more: take it off the list", pkg)
		}
	}
	if files < 200 {
		t.Errorf("only %d files were looked at", files)
	}
}
