// Package verify proves that backups are what they should be, and remembers what
// it has proved.
package verify
