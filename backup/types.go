package backup

import (
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
)

// What the signatures of this package and of those beside it are made of.
type (
	// GuardOptions say what of a source has to be whole.
	GuardOptions = guard.Options
	// Format is what a source begins as.
	Format = guard.Format
	// Contents are what a dump of PostgreSQL holds.
	Contents = guard.Contents
	// TreeOptions say what of a folder is backed up, and TreeStats what was.
	TreeOptions = tree.Options
	TreeStats   = tree.Stats
	// DatabaseSettings say which database is meant.
	DatabaseSettings = postgres.Settings
	// TableName names a table of a database.
	TableName = postgres.TableName
	// ChainNode is asked for the state of contracts, which is a ChainState.
	ChainNode  = contracts.Node
	ChainState = contracts.State
	// Settings are those of the program; a nil one has none.
	Settings = config.Settings
)

var (
	// DatabaseFromURI reads a connection URI as libpq has it.
	DatabaseFromURI = postgres.FromURI
	// DialChain connects to a node's RPC.
	DialChain = contracts.Dial
	// LoadSettings reads an environment and a file of settings.
	LoadSettings = config.Load
)
