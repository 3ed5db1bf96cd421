package pgtest

import (
	_ "embed"
	"testing"
)

//go:embed torture_cluster.sql
var tortureCluster string

//go:embed torture.sql
var torture string

// Torture makes the database "torture" in a cluster that has none, with its roles and
// its tablespace: it has one of every kind of object of PostgreSQL 15.
func (c *Cluster) Torture(t testing.TB) {
	t.Helper()
	c.Psql(t, "postgres", tortureCluster)
	c.Psql(t, "torture", torture)
}
