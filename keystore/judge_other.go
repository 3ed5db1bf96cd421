//go:build !unix

package keystore

import "os"

const openFlags = os.O_RDONLY
