package config

// File is a backup.toml. A field with a setting is what the variable of that name
// says, and doc is its line in the schema. There is no field for a secret: a field
// that ends in _file names the file that has it.
type File struct {
	Environment string            `toml:"environment" setting:"TAKUMI_ENV" doc:"development, test, staging or production"`
	StateHome   string            `toml:"state_home" setting:"XDG_STATE_HOME" doc:"folder in which the state folder takumi-backup is"`
	Stores      []Store           `toml:"store" doc:"where backups go: to the first store, and at the same time to each other one"`
	Keys        Keys              `toml:"keys" doc:"who can open backups, and who vouches for them"`
	Databases   []Database        `toml:"database" doc:"the databases to back up"`
	Uploads     []Uploads         `toml:"uploads" doc:"the folders to back up"`
	Contracts   []Contracts       `toml:"contracts" doc:"the projects of contracts to back up"`
	Retention   Retention         `toml:"retention" doc:"what prune keeps"`
	MaxAge      map[string]string `toml:"max_age" setting:"TAKUMI_MAX_AGE" doc:"how old the newest backup of a kind may be, as database = \"26h\"; default is for all kinds"`
	Schedule    Schedule          `toml:"schedule" doc:"when the timers start, as systemd.time has it (OnCalendar)"`
	Notify      Notify            `toml:"notify" doc:"whom --notify notifies"`
	Hooks       Hooks             `toml:"hooks" doc:"commands that backup all runs by /bin/sh"`
	Limits      Limits            `toml:"limits" doc:"what a backup may use"`
	Audit       Audit             `toml:"audit" doc:"the audit log"`
	Settings    map[string]string `toml:"settings" doc:"further variables of this program and of libpq, the AWS SDK and Vault; no secrets"`
}

// Store is a place for backups.
type Store struct {
	Name         string `toml:"name" doc:"what reports call it"`
	URL          string `toml:"url" doc:"a folder, or s3://BUCKET/PREFIX"`
	Endpoint     string `toml:"endpoint" doc:"URL of an S3 server that is not AWS"`
	Region       string `toml:"region" doc:"region of the bucket"`
	Profile      string `toml:"profile" doc:"profile of ~/.aws that has the credentials"`
	PathStyle    bool   `toml:"path_style" doc:"the bucket is in the path, not in the host's name"`
	ObjectLock   string `toml:"object_lock" doc:"governance or compliance"`
	Retain       string `toml:"retain" doc:"how long that lock keeps, as 30d"`
	StorageClass string `toml:"storage_class" doc:"S3 storage class, as STANDARD_IA"`
	SSE          string `toml:"sse" doc:"AES256 or aws:kms"`
	SSEKey       string `toml:"sse_kms_key" doc:"KMS key for that"`
	PartSize     string `toml:"part_size" doc:"size of a part, from 5M to 1G"`
}

// Keys say who opens and who signs.
type Keys struct {
	URIs           []string `toml:"uris" setting:"BACKUP_KEYS" doc:"key URIs, as file:PATH, awssm:ID or vault:PATH"`
	Recipients     []string `toml:"recipients" setting:"BACKUP_RECIPIENTS" doc:"age and SSH recipients to seal for"`
	RecipientsFile string   `toml:"recipients_file" setting:"BACKUP_RECIPIENTS_FILE" doc:"file of recipients"`
	PassphraseFile string   `toml:"passphrase_file" setting:"TAKUMI_PASSPHRASE_FILE" doc:"file with the passphrase of a passfile: key"`
	Signers        string   `toml:"signers" setting:"TAKUMI_SIGNERS" doc:"allowed_signers file of those who may sign"`
	SignKey        string   `toml:"sign_key" setting:"TAKUMI_SIGN_KEY" doc:"SSH key that signs, or agent:SHA256:… of one in the agent"`
}

// Database is one database, or several of one server.
type Database struct {
	Name               string   `toml:"name" setting:"DB_NAME" doc:"name of the database"`
	Names              []string `toml:"names" doc:"names and patterns, as shop_*"`
	Exclude            []string `toml:"exclude" doc:"names and patterns to leave out"`
	All                bool     `toml:"all" doc:"every database of the server"`
	Host               string   `toml:"host" setting:"DB_HOST" doc:"host, or folder of a socket"`
	Port               int      `toml:"port" setting:"DB_PORT" doc:"port"`
	User               string   `toml:"user" setting:"DB_USER" doc:"role that connects"`
	PasswordFile       string   `toml:"password_file" setting:"DB_PASSWORD_FILE" doc:"file with its password"`
	SSL                *bool    `toml:"ssl" setting:"DB_SSL" doc:"connect by TLS, and verify the certificate"`
	RejectUnauthorized *bool    `toml:"ssl_reject_unauthorized" setting:"DB_SSL_REJECT_UNAUTHORIZED" doc:"false: do not verify it"`
	Jobs               int      `toml:"jobs" doc:"connections that dump at the same time"`
}

// Uploads is one folder.
type Uploads struct {
	Name        string   `toml:"name" doc:"what the files of its backups begin with (default uploads)"`
	Path        string   `toml:"path" setting:"UPLOADS_DIR" doc:"the folder"`
	Exclude     []string `toml:"exclude" setting:"UPLOADS_EXCLUDE" doc:"patterns to leave out, as gitignore has them"`
	ExcludeFrom string   `toml:"exclude_from" setting:"UPLOADS_EXCLUDE_FROM" doc:"file of such patterns"`
	Strict      *bool    `toml:"strict" setting:"UPLOADS_STRICT" doc:"exit code 6 also when a file changed or vanished; the backup is kept"`
	Incremental *bool    `toml:"incremental" setting:"UPLOADS_INCREMENTAL" doc:"store what has changed since the last backup"`
	FullEvery   string   `toml:"full_every" setting:"UPLOADS_FULL_EVERY" doc:"how often all of it is stored then, as 7d"`
}

// Contracts is one project.
type Contracts struct {
	Name       string `toml:"name" doc:"what the files of its backups begin with (default contract_snapshot)"`
	Path       string `toml:"path" setting:"CONTRACTS_DIR" doc:"the folder of the project"`
	Network    string `toml:"network" setting:"NETWORK" doc:"the chain, as metadata.json names it"`
	ChainID    int    `toml:"chain_id" setting:"CHAIN_ID" doc:"the id that the chain must have"`
	RPCURLFile string `toml:"rpc_url_file" doc:"file with the URL of a node"`
}

// Rules are what is kept.
type Rules struct {
	Days    int `toml:"days" setting:"RETENTION_DAYS" doc:"what is less than so many days older than the newest"`
	Last    int `toml:"last" doc:"the newest so many"`
	Daily   int `toml:"daily" doc:"the newest of each of so many days"`
	Weekly  int `toml:"weekly" doc:"the newest of each of so many weeks"`
	Monthly int `toml:"monthly" doc:"the newest of each of so many months"`
	Yearly  int `toml:"yearly" doc:"the newest of each of so many years"`
}

// Retention is the rules for all kinds, and those of one kind in their place.
type Retention struct {
	Rules
	Kind map[string]Rules `toml:"kind" doc:"the rules of one kind, as retention.kind.uploads"`
}

// Schedule is when the timers start.
type Schedule struct {
	Backup string `toml:"backup" doc:"when backups are made, as 02:00 or *-*-* 02:00:00"`
	Verify string `toml:"verify" doc:"when they are verified, as Sun 04:00"`
	Drill  string `toml:"drill" doc:"when a restore is rehearsed"`
}

// Notify is who is notified.
type Notify struct {
	SlackURLFile       string `toml:"slack_url_file" setting:"SLACK_WEBHOOK_URL_FILE" doc:"file with the URL of Slack's webhook"`
	WebhookURLFile     string `toml:"webhook_url_file" setting:"ALERT_WEBHOOK_URL_FILE" doc:"file with a URL that gets JSON"`
	HealthcheckURLFile string `toml:"healthcheck_url_file" setting:"HEALTHCHECK_URL_FILE" doc:"file with the URL of a health check"`
	EmailTo            string `toml:"email_to" setting:"ALERT_EMAIL_TO" doc:"addresses, with commas"`
	EmailFrom          string `toml:"email_from" setting:"ALERT_EMAIL_FROM" doc:"sender of mail"`
	SMTPHost           string `toml:"smtp_host" setting:"ALERT_SMTP_HOST" doc:"mail server"`
	SMTPPort           int    `toml:"smtp_port" setting:"ALERT_SMTP_PORT" doc:"its port"`
	SMTPUser           string `toml:"smtp_user" setting:"ALERT_SMTP_USER" doc:"who logs in there"`
	SMTPPasswordFile   string `toml:"smtp_password_file" setting:"ALERT_SMTP_PASSWORD_FILE" doc:"file with the password"`
	SMTPTLS            string `toml:"smtp_tls" setting:"ALERT_SMTP_TLS" doc:"starttls, tls or off"`
}

// Hooks are commands. They have the environment without this program's secrets, and
// TAKUMI_OUTCOME (good or failed) once that is known.
type Hooks struct {
	Before    string `toml:"before" doc:"runs first; when it fails, nothing is backed up"`
	After     string `toml:"after" doc:"runs last, whatever happened"`
	OnError   string `toml:"on_error" doc:"runs when something failed"`
	OnSuccess string `toml:"on_success" doc:"runs when all is well"`
}

// Limits are what a backup may use.
type Limits struct {
	Bandwidth string `toml:"bandwidth" setting:"TAKUMI_BANDWIDTH" doc:"bytes a second to buckets, as 20MB"`
	Nice      int    `toml:"nice" setting:"TAKUMI_NICE" doc:"priority of the processor, from 1 to 19"`
	IONice    string `toml:"ionice" setting:"TAKUMI_IONICE" doc:"class of the disk: idle or best-effort"`
}

// Audit is the audit log.
type Audit struct {
	Dir    string `toml:"dir" setting:"TAKUMI_AUDIT_DIR" doc:"its folder"`
	Key    string `toml:"key" setting:"TAKUMI_AUDIT_KEY" doc:"key URI that signs checkpoints"`
	Syslog string `toml:"syslog" setting:"TAKUMI_AUDIT_SYSLOG" doc:"true, or the path of a socket"`
}
