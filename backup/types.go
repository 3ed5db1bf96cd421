package backup

import (
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// What the signatures of this package and of those beside it are made of.
type (
	// GuardOptions say what of a source has to be whole, and who gets the members of an
	// archive and the pieces of a dump.
	GuardOptions = guard.Options
	TarEntry     = guard.TarEntry
	Piece        = guard.Piece
	// Format is what a source begins as.
	Format = guard.Format
	// Contents are what a dump of PostgreSQL holds.
	Contents = guard.Contents
	Table    = guard.Table
	// TreeOptions say what of a folder is backed up, and TreeStats what was.
	TreeOptions = tree.Options
	TreeStats   = tree.Stats
	Patterns    = tree.Patterns
	Problem     = tree.Problem
	FileFacts   = tree.Facts
	// DatabaseSettings say which database is meant.
	DatabaseSettings = postgres.Settings
	ListedDatabase   = postgres.ListedDatabase
	// TableName names a table of a database.
	TableName = postgres.TableName
	// DatabaseManifest is what a database held when it was backed up, and Needs what a
	// server has to have for it.
	DatabaseManifest = postgres.Manifest
	Needs            = postgres.Needs
	Extension        = postgres.Extension
	Properties       = postgres.Properties
	Counts           = postgres.Contents
	TableCount       = postgres.Table
	Sum              = postgres.Sum
	Grant            = postgres.Grant
	DatabaseSetting  = postgres.Setting
	SecurityLabel    = postgres.Label
	Execer           = postgres.Execer
	// ChainNode is asked for the state of contracts, which is a ChainState.
	ChainNode    = contracts.Node
	ChainOptions = contracts.Options
	ChainState   = contracts.State
	ChainBlock   = contracts.Block
	ChainAccount = contracts.Account
	ChainSubject = contracts.Subject
	Address      = contracts.Address
	Hash         = contracts.Hash
	Quantity     = contracts.Quantity
	Bytes        = contracts.Bytes
	Proxy        = contracts.Proxy
	Slot         = contracts.Slot
	// Settings are those of the program; a nil one has none.
	Settings     = config.Settings
	SettingsFile = config.File
	SettingValue = config.Value
	ShownSetting = config.Shown
	Variable     = config.Variable
	Target       = config.Target
	TargetStore  = config.Store
	TargetDump   = config.Database
	Pace         = config.Pace
	// What a file of settings has sections for.
	KeySettings      = config.Keys
	UploadSettings   = config.Uploads
	ContractSettings = config.Contracts
	RetentionRules   = config.Retention
	RulesOfKind      = config.Rules
	Schedule         = config.Schedule
	Notifications    = config.Notify
	Hooks            = config.Hooks
	Limits           = config.Limits
	AuditSettings    = config.Audit
	// Copy is where else a backup was written, or why it was not.
	Copy = store.Copy
	// Class is the kind of a failure, which decides the exit code; ClassOf returns it.
	Class = fail.Class
)

// The classes of failures.
const (
	ClassFailed  = fail.Failed
	ClassSource  = fail.Source
	ClassKey     = fail.Key
	ClassDamaged = fail.Damaged
	ClassSome    = fail.Some
	ClassStore   = fail.Store
	ClassUsage   = fail.Usage
	ClassStopped = fail.Stopped
)

var (
	// ClassOf returns the class of an error of any package here, and a hint about what to do,
	// which may be empty.
	ClassOf = fail.Of
	// DatabaseFromURI reads a connection URI as libpq has it.
	DatabaseFromURI = postgres.FromURI
	// DialChain connects to a node's RPC.
	DialChain = contracts.Dial
	// LoadSettings reads an environment and a file of settings.
	LoadSettings = config.Load
)
