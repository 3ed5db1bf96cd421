package named

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

// schemes are what key URIs begin with.
var schemes = []string{"file:", "passfile:", "awssm:", "vault:", "env:", "age:", "awskms:", "transit:"}

// Completions returns what key URIs may begin with word: those of the settings, further
// ones, and the files that a URI may go on with; whole says that they need nothing behind
// them. No key is read.
func Completions(conf *config.Settings, uris []string, word string) (words []string, whole bool) {
	for _, scheme := range []string{"file:", "passfile:", "age:"} {
		if path, found := strings.CutPrefix(word, scheme); found {
			return filesAt(scheme, path), false
		}
	}
	uris = append(config.List(conf.Get("BACKUP_KEYS")), uris...)
	if path := conf.Get("BACKUP_ENCRYPTION_KEY_FILE"); path != "" {
		uris = append(uris, "file:"+path)
	}
	uris = slices.DeleteFunc(uris, func(uri string) bool {
		return !slices.ContainsFunc(schemes, func(scheme string) bool { return strings.HasPrefix(uri, scheme) })
	})
	if words := Beginning(uris, word); len(words) > 0 && word != "" {
		return words, true
	}
	return Beginning(append(uris, schemes...), word), false
}

func filesAt(scheme, path string) (words []string) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Join(dir, "."))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) || strings.HasPrefix(e.Name(), ".") && base == "" {
			continue
		}
		word := scheme + dir + e.Name()
		if e.IsDir() {
			word += "/"
		}
		words = append(words, word)
	}
	return words
}

// Beginning returns those of the words that begin so, each once.
func Beginning(words []string, with string) []string {
	var found []string
	for _, word := range words {
		if strings.HasPrefix(word, with) && !slices.Contains(found, word) {
			found = append(found, word)
		}
	}
	return found
}
