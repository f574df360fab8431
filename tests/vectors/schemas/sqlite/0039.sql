BEGIN TRANSACTION;
CREATE TABLE account_certificates (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	fingerprint BLOB NOT NULL, 
	subject TEXT NOT NULL, 
	serial TEXT NOT NULL, 
	not_after BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	FOREIGN KEY(account_id) REFERENCES accounts (id), 
	UNIQUE (fingerprint)
);
INSERT INTO "account_certificates" VALUES(1,1,X'0102','some subject','some serial',1,1);
CREATE TABLE accounts (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	username TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	email TEXT NOT NULL, 
	role TEXT NOT NULL, 
	source TEXT NOT NULL, 
	state TEXT NOT NULL, 
	password_hash TEXT, 
	created_at BIGINT NOT NULL, 
	last_login_at BIGINT, directory_id TEXT, suspended_by_directory SMALLINT DEFAULT '0' NOT NULL, must_change_password SMALLINT DEFAULT '0' NOT NULL, has_second_factor SMALLINT DEFAULT '0' NOT NULL, 
	UNIQUE (name_key)
);
INSERT INTO "accounts" VALUES(1,'some username','some name_key','some email','some role','some source','some state','some password_hash',1,1,NULL,0,0,0);
CREATE TABLE audit_events (
	id INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	resource_type TEXT NOT NULL, 
	resource_name TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	details TEXT NOT NULL, 
	owner_id INTEGER, 
	actor_id INTEGER, 
	about_account SMALLINT NOT NULL, 
	previous BLOB NOT NULL, 
	hash BLOB NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit_events" VALUES(1,1,'some type','some resource_type','some resource_name','some actor','some details',1,1,1,X'0102',X'0102');
CREATE TABLE audit_head (
	id INTEGER NOT NULL, 
	count INTEGER NOT NULL, 
	hash BLOB NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit_head" VALUES(1,0,X'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE audit_keys (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	sealed BLOB NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit_keys" VALUES(1,'some name',X'0102',1);
CREATE TABLE audit_pruning (
	id INTEGER NOT NULL, 
	count BIGINT NOT NULL, 
	hash BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	note TEXT NOT NULL, 
	mac BLOB NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit_pruning" VALUES(1,1,X'0102',1,'some note',X'0102');
CREATE TABLE backfills (
	name TEXT NOT NULL, 
	"before" INTEGER NOT NULL, 
	total INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "backfills" VALUES('search',2,1);
INSERT INTO "backfills" VALUES('fingerprints',2,1);
INSERT INTO "backfills" VALUES('devices',2,1);
CREATE TABLE batches (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	label TEXT NOT NULL, 
	policy TEXT NOT NULL, 
	owner_id INTEGER, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	total BIGINT NOT NULL, 
	created BIGINT DEFAULT '0' NOT NULL, 
	enrolled BIGINT DEFAULT '0' NOT NULL, 
	ended_at BIGINT, 
	problem TEXT DEFAULT '' NOT NULL, 
	names TEXT
, created_by_id INTEGER);
INSERT INTO "batches" VALUES(1,'some label','some policy',1,1,1,1,1,1,1,'some problem','some names',NULL);
PRAGMA writable_schema=ON;
INSERT INTO sqlite_master(type,name,tbl_name,rootpage,sql)VALUES('table','certificate_search','certificate_search',0,'CREATE VIRTUAL TABLE certificate_search USING fts5(content, content = '''', tokenize = ''trigram'', detail = none)');
CREATE TABLE 'certificate_search_config'(k PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO "certificate_search_config" VALUES('version',4);
CREATE TABLE 'certificate_search_data'(id INTEGER PRIMARY KEY, block BLOB);
INSERT INTO "certificate_search_data" VALUES(1,X'');
INSERT INTO "certificate_search_data" VALUES(10,X'00000000000000');
CREATE TABLE 'certificate_search_docsize'(id INTEGER PRIMARY KEY, sz BLOB);
CREATE TABLE 'certificate_search_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID;
CREATE TABLE certificates (
	id INTEGER NOT NULL, 
	serial TEXT NOT NULL, 
	issuer_id INTEGER NOT NULL, 
	subject TEXT NOT NULL, 
	common_name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	key_type TEXT NOT NULL, 
	key_id BLOB NOT NULL, 
	not_before BIGINT NOT NULL, 
	not_after BIGINT NOT NULL, 
	method TEXT NOT NULL, 
	owner_id INTEGER, 
	policy TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	reason SMALLINT, 
	deleted_at BIGINT, 
	der BLOB NOT NULL, infrastructure TEXT, sans TEXT, search_text TEXT, fingerprint BLOB, device_id INTEGER, 
	PRIMARY KEY (id), 
	FOREIGN KEY(issuer_id) REFERENCES issuers (id)
);
INSERT INTO "certificates" VALUES(1,'some serial',1,'some subject','some common_name','some name_key','some key_type',X'0102',1,1,'some method',1,'some policy',1,1,1,1,X'0102',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE challenges (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	lookup BLOB NOT NULL, 
	prefix TEXT NOT NULL, 
	sealed BLOB NOT NULL, 
	owner_id INTEGER, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	reserved_by INTEGER, 
	consumed_at BIGINT, 
	consumed_serial TEXT, label TEXT DEFAULT '' NOT NULL, subject TEXT, sans TEXT, subject_der BLOB, san_der BLOB, policy TEXT, batch_id INTEGER, device_key TEXT, created_by_id INTEGER, 
	UNIQUE (lookup)
);
INSERT INTO "challenges" VALUES(1,X'0102','some prefix',X'0102',1,1,1,1,1,'some consumed_serial','',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE crl_entries (
	serial TEXT NOT NULL, 
	issuer_id INTEGER NOT NULL, 
	change_id INTEGER NOT NULL, 
	not_after BIGINT NOT NULL, 
	entry BLOB NOT NULL, shard SMALLINT, 
	PRIMARY KEY (serial)
);
INSERT INTO "crl_entries" VALUES('some serial',1,1,1,X'0102',NULL);
CREATE TABLE crl_parts (
	issuer_id INTEGER NOT NULL, 
	part TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	last_change INTEGER NOT NULL, 
	PRIMARY KEY (issuer_id, part)
);
INSERT INTO "crl_parts" VALUES(1,'some part',1,1);
CREATE TABLE crl_shards (
	issuer_id INTEGER NOT NULL, 
	url TEXT NOT NULL, 
	shard SMALLINT NOT NULL, 
	PRIMARY KEY (issuer_id, url)
);
INSERT INTO "crl_shards" VALUES(1,'some url',1);
CREATE TABLE crls (
	issuer_id INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	this_update BIGINT NOT NULL, 
	next_update BIGINT NOT NULL, 
	entries BIGINT NOT NULL, 
	last_change INTEGER NOT NULL, 
	PRIMARY KEY (issuer_id, number)
);
INSERT INTO "crls" VALUES(1,1,1,1,1,1);
CREATE TABLE csrs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	der BLOB NOT NULL, 
	subject TEXT NOT NULL, 
	key_type TEXT NOT NULL, 
	owner_id INTEGER, 
	created_at BIGINT NOT NULL, 
	state TEXT NOT NULL
, key_id INTEGER, template TEXT, certificate_id INTEGER);
INSERT INTO "csrs" VALUES(1,'some name',X'0102','some subject','some key_type',1,1,'some state',NULL,NULL,NULL);
CREATE TABLE default_policy (
	id BIGINT NOT NULL, 
	roles TEXT NOT NULL, lint_override TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "default_policy" VALUES(1,'some roles',NULL);
CREATE TABLE devices (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name_key TEXT NOT NULL, 
	owner_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	policy TEXT NOT NULL, 
	method TEXT NOT NULL, 
	address TEXT NOT NULL, 
	certificates BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	enrolled_at BIGINT NOT NULL, 
	not_after BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	overdue_at BIGINT NOT NULL, 
	retired_at BIGINT, 
	retired_reason SMALLINT
);
INSERT INTO "devices" VALUES(1,'some name_key',1,'some name','some policy','some method','some address',1,1,1,1,1,1,1,1);
CREATE TABLE drafts (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	created_at BIGINT NOT NULL
);
INSERT INTO "drafts" VALUES(1,1,X'0102',1);
CREATE TABLE ended_sessions (
	digest BLOB NOT NULL, 
	account_id INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	ended_at BIGINT NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "ended_sessions" VALUES(X'0102',1,'some reason',1);
CREATE TABLE expired_crl_entries (
	issuer_id INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	serial TEXT NOT NULL, 
	PRIMARY KEY (issuer_id, number, serial)
);
INSERT INTO "expired_crl_entries" VALUES(1,1,'some serial');
CREATE TABLE external_identities (
	issuer TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	account_id INTEGER NOT NULL, 
	PRIMARY KEY (issuer, subject), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "external_identities" VALUES('some issuer','some subject',1);
CREATE TABLE idempotency_keys (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	digest BLOB NOT NULL, 
	fingerprint BLOB NOT NULL, 
	process TEXT NOT NULL, 
	answer BLOB, 
	began_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	UNIQUE (digest)
);
INSERT INTO "idempotency_keys" VALUES(1,X'0102',X'0102','some process',X'0102',1,1);
CREATE TABLE identities (
	version BIGINT NOT NULL, 
	identity_key TEXT NOT NULL, 
	PRIMARY KEY (version, identity_key)
);
INSERT INTO "identities" VALUES(1,'some identity_key');
CREATE TABLE identity_lists (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	entries BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	updated_by TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	UNIQUE (name)
);
INSERT INTO "identity_lists" VALUES(1,'some name',1,1,'some updated_by',1);
CREATE TABLE issuers (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	key_identifier BLOB NOT NULL, 
	certificate BLOB NOT NULL, 
	created_at BIGINT NOT NULL, 
	crl_number BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (key_identifier)
);
INSERT INTO "issuers" VALUES(1,'some name',X'0102',X'0102',1,1);
CREATE TABLE job_files (
	row_id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	content BLOB NOT NULL, 
	PRIMARY KEY (row_id)
);
INSERT INTO "job_files" VALUES(1,1,X'0102');
CREATE TABLE job_rows (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job_id INTEGER NOT NULL, 
	object_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	state TEXT NOT NULL, 
	message TEXT NOT NULL, 
	ended_at BIGINT, 
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "job_rows" VALUES(1,1,1,'some name','some state','some message',1);
CREATE TABLE jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	action TEXT NOT NULL, 
	resource TEXT NOT NULL, 
	arguments TEXT NOT NULL, 
	state TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	owner_id INTEGER NOT NULL, 
	scopes TEXT NOT NULL, 
	address TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	total BIGINT NOT NULL, 
	done BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	message TEXT NOT NULL
, size BIGINT DEFAULT '0' NOT NULL);
INSERT INTO "jobs" VALUES(1,'some action','some resource','some arguments','some state','some actor',1,'some scopes','some address',1,1,1,1,1,'some message',0);
CREATE TABLE keys (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	key_type TEXT NOT NULL, 
	key_id BLOB NOT NULL, 
	spki BLOB NOT NULL, 
	sealed BLOB NOT NULL, 
	owner_id INTEGER, 
	created_at BIGINT NOT NULL
);
INSERT INTO "keys" VALUES(1,'some name','some key_type',X'0102',X'0102',X'0102',1,1);
CREATE TABLE leases (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	until BIGINT NOT NULL, 
	terms BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('some name','some holder',1,1);
CREATE TABLE lint_overrides (
	certificate_id BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (certificate_id), 
	FOREIGN KEY(certificate_id) REFERENCES certificates (id)
);
INSERT INTO "lint_overrides" VALUES(1,'some reason');
CREATE TABLE log_entries (
	position INTEGER NOT NULL, 
	kind SMALLINT NOT NULL, 
	ref BIGINT NOT NULL, 
	PRIMARY KEY (position), 
	UNIQUE (kind, ref)
);
INSERT INTO "log_entries" VALUES(1,1,1);
CREATE TABLE log_tiles (
	level SMALLINT NOT NULL, 
	position BIGINT NOT NULL, 
	hashes BLOB NOT NULL, 
	PRIMARY KEY (level, position)
);
INSERT INTO "log_tiles" VALUES(1,1,X'0102');
CREATE TABLE message_cursors (
	issuer_id INTEGER NOT NULL, 
	last_change BIGINT NOT NULL, 
	seq BIGINT NOT NULL, 
	topic TEXT NOT NULL, 
	PRIMARY KEY (issuer_id)
);
INSERT INTO "message_cursors" VALUES(1,1,1,'some topic');
CREATE TABLE nodes (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	started_at BIGINT NOT NULL, 
	seen_at BIGINT NOT NULL
);
INSERT INTO "nodes" VALUES(1,'some name',1,1);
CREATE TABLE notice_messages (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	uid TEXT NOT NULL, 
	channel TEXT NOT NULL, 
	recipient TEXT NOT NULL, 
	state TEXT NOT NULL, 
	count BIGINT NOT NULL, 
	entries TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	attempts BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	done_at BIGINT NOT NULL, 
	answer TEXT NOT NULL
);
INSERT INTO "notice_messages" VALUES(1,'some uid','some channel','some recipient','some state',1,'[]',1,1,1,1,'some answer');
CREATE TABLE notice_rules (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	enabled SMALLINT NOT NULL, 
	choices TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	updated_by TEXT NOT NULL, 
	UNIQUE (name)
);
INSERT INTO "notice_rules" VALUES(1,'some name','some kind',1,'{}',1,1,'some updated_by');
CREATE TABLE noticed (
	rule_id INTEGER NOT NULL, 
	object_id BIGINT NOT NULL, 
	ends_at BIGINT NOT NULL, 
	step SMALLINT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (rule_id, object_id, ends_at, step)
);
INSERT INTO "noticed" VALUES(1,1,1,1,1);
CREATE TABLE owner_revocations (
	account_id INTEGER NOT NULL, 
	reason SMALLINT NOT NULL, 
	actor TEXT NOT NULL, 
	actor_id INTEGER, 
	PRIMARY KEY (account_id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "owner_revocations" VALUES(1,1,'some actor',1);
CREATE TABLE passkeys (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	host TEXT NOT NULL, 
	credential_id BLOB NOT NULL, 
	public_key BLOB NOT NULL, 
	sign_count BIGINT NOT NULL, 
	user_handle BLOB NOT NULL, 
	challenged_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	last_used_at BIGINT, 
	UNIQUE (account_id, name_key), 
	UNIQUE (credential_id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "passkeys" VALUES(1,1,'some name','some name_key','some host',X'0102',X'0102',1,X'0102',1,1,1);
CREATE TABLE password_resets (
	account_id INTEGER NOT NULL, 
	digest BLOB NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (account_id), 
	UNIQUE (digest), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "password_resets" VALUES(1,X'0102',1);
CREATE TABLE pikachu_schema (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT pikachu_schema_pkc PRIMARY KEY (version_num)
);
INSERT INTO "pikachu_schema" VALUES('0039');
CREATE TABLE policies (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	days BIGINT NOT NULL, 
	extensions TEXT NOT NULL, 
	system SMALLINT NOT NULL, 
	use_for_est SMALLINT NOT NULL, 
	use_for_scep SMALLINT NOT NULL, 
	owner_id INTEGER, 
	issuer TEXT, 
	approval TEXT NOT NULL, 
	limits TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, version BIGINT DEFAULT 1 NOT NULL, updated_by TEXT, default_for_est SMALLINT DEFAULT 0 NOT NULL, default_for_scep SMALLINT DEFAULT 0 NOT NULL, roles TEXT DEFAULT 'user operator admin' NOT NULL, lint_override TEXT, 
	UNIQUE (name)
);
INSERT INTO "policies" VALUES(1,'some name',1,'some extensions',1,1,1,1,'some issuer','some approval','{}',1,1,1,NULL,1,1,'user operator admin',NULL);
CREATE TABLE preferences (
	account_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (account_id, name), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "preferences" VALUES(1,'some name','some value');
CREATE TABLE published_crls (
	key_identifier BLOB NOT NULL, 
	version BIGINT NOT NULL, 
	der BLOB NOT NULL, 
	PRIMARY KEY (key_identifier)
);
INSERT INTO "published_crls" VALUES(X'0102',1,X'0102');
CREATE TABLE recovered_revocations (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	issuer_id INTEGER NOT NULL, 
	serial TEXT NOT NULL, 
	revoked_at BIGINT NOT NULL, 
	reason SMALLINT NOT NULL, 
	not_after BIGINT NOT NULL, 
	was_on_hold SMALLINT NOT NULL, 
	recovered_at BIGINT NOT NULL, 
	decision TEXT
);
INSERT INTO "recovered_revocations" VALUES(1,1,'some serial',1,1,1,1,1,'some decision');
CREATE TABLE recovery_codes (
	account_id INTEGER NOT NULL, 
	digest BLOB NOT NULL, 
	PRIMARY KEY (account_id, digest), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "recovery_codes" VALUES(1,X'0102');
CREATE TABLE requests (
	id INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	method TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	key_type TEXT NOT NULL, 
	key_id BLOB NOT NULL, 
	policy TEXT NOT NULL, 
	issuer TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	owner_id INTEGER, 
	address TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	dedupe BLOB, 
	dedupe_until BIGINT, 
	transaction_digest BLOB, 
	requester_key BLOB, 
	challenge_id INTEGER, 
	label TEXT, 
	validity_days BIGINT, 
	details TEXT, 
	serial TEXT, 
	issuer_id INTEGER, 
	certified_subject TEXT, 
	common_name TEXT, 
	not_before BIGINT, 
	not_after BIGINT, 
	process TEXT, 
	certificate_id INTEGER, 
	decided_at BIGINT, 
	decided_by TEXT, 
	reason TEXT, 
	revoked_at BIGINT, 
	revocation_reason SMALLINT, 
	csr BLOB, 
	tbs BLOB, csr_id INTEGER, added_names BLOB, approvals SMALLINT, requester_ids TEXT, first_approver_id INTEGER, first_approved_by TEXT, first_approved_at BIGINT, 
	PRIMARY KEY (id), 
	UNIQUE (dedupe)
);
INSERT INTO "requests" VALUES(1,'some state','some method','some subject','some key_type',X'0102','some policy','some issuer','some principal',1,'some address',1,X'0102',1,X'0102',X'0102',1,'some label',1,'some details','some serial',1,'some certified_subject','some common_name',1,1,'some process',1,1,'some decided_by','some reason',1,1,X'0102',X'0102',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE revocation_messages (
	issuer_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	serial TEXT NOT NULL, 
	revoked_at BIGINT, 
	reason INTEGER, 
	crl_number BIGINT NOT NULL, 
	PRIMARY KEY (issuer_id, seq)
);
INSERT INTO "revocation_messages" VALUES(1,1,'some serial',1,1,1);
CREATE TABLE saved_filters (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	list_name TEXT NOT NULL, 
	name TEXT NOT NULL, 
	"query" TEXT NOT NULL, 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "saved_filters" VALUES(1,1,'some list_name','some name','some query');
CREATE TABLE service_credentials (
	id INTEGER NOT NULL, 
	key_identifier BLOB NOT NULL, 
	purpose TEXT NOT NULL, 
	certificate BLOB NOT NULL, 
	sealed_key BLOB NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "service_credentials" VALUES(1,X'0102','some purpose',X'0102',X'0102',1);
CREATE TABLE sessions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	digest BLOB NOT NULL, 
	account_id INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	last_seen_at BIGINT NOT NULL, 
	confirmed_at BIGINT, 
	address TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	FOREIGN KEY(account_id) REFERENCES accounts (id), 
	UNIQUE (digest)
);
INSERT INTO "sessions" VALUES(1,X'0102',1,1,1,1,'some address','some agent');
CREATE TABLE setup_marks (
	name TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "setup_marks" VALUES('some name',1,'some actor');
CREATE TABLE status_changes (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	issuer_id INTEGER NOT NULL, 
	serial TEXT NOT NULL, 
	replaces INTEGER NOT NULL
, shard SMALLINT);
INSERT INTO "status_changes" VALUES(1,1,'some serial',1,NULL);
CREATE TABLE templates (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	profile_type TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	content TEXT NOT NULL, 
	for_requests SMALLINT NOT NULL, 
	for_extensions SMALLINT NOT NULL, 
	owner_id INTEGER, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL
, version BIGINT DEFAULT 1 NOT NULL, updated_by TEXT);
INSERT INTO "templates" VALUES(1,'some name','some profile_type','some origin','some content',1,1,1,1,1,1,NULL);
CREATE TABLE tokens (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	digest BLOB NOT NULL, 
	scopes TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	last_used_at BIGINT, 
	FOREIGN KEY(account_id) REFERENCES accounts (id), 
	CONSTRAINT tokens_name UNIQUE (account_id, name), 
	UNIQUE (digest)
);
INSERT INTO "tokens" VALUES(1,1,'some name',X'0102','some scopes',1,1,1);
CREATE TABLE totp_secrets (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	account_id INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	last_step BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	UNIQUE (account_id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "totp_secrets" VALUES(1,1,X'0102',1,1);
CREATE INDEX audit_events_account ON audit_events (id) WHERE about_account = 1;
CREATE INDEX audit_events_kind ON audit_events (resource_type, type, id);
CREATE INDEX audit_events_name ON audit_events (resource_name, id);
CREATE INDEX audit_events_owner ON audit_events (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX challenges_end ON challenges (expires_at, id);
CREATE INDEX challenges_owner ON challenges (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX challenges_prefix ON challenges (prefix);
CREATE INDEX challenges_unused ON challenges (id) WHERE consumed_at IS NULL;
CREATE INDEX crl_entries_end ON crl_entries (issuer_id, not_after);
CREATE INDEX crl_entries_order ON crl_entries (issuer_id, change_id);
CREATE UNIQUE INDEX requests_serial ON requests (serial) WHERE state <> 'issued';
CREATE INDEX requests_open ON requests (state, id) WHERE state <> 'issued';
CREATE INDEX requests_open_key ON requests (key_id) WHERE state <> 'issued';
CREATE INDEX requests_method ON requests (method, id);
CREATE INDEX requests_owner ON requests (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX requests_transaction ON requests (transaction_digest) WHERE transaction_digest IS NOT NULL;
CREATE INDEX service_credentials_purpose ON service_credentials (key_identifier, purpose);
CREATE INDEX status_changes_replacing ON status_changes (issuer_id, id) WHERE replaces > 0;
CREATE INDEX certificates_issuer ON certificates (issuer_id, id);
CREATE INDEX certificates_key ON certificates (key_id);
CREATE INDEX certificates_method ON certificates (method, id);
CREATE UNIQUE INDEX certificates_serial ON certificates (serial);
CREATE INDEX certificates_name ON certificates (name_key, id);
CREATE INDEX certificates_owner ON certificates (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX certificates_revoked ON certificates (id) WHERE revoked_at IS NOT NULL;
CREATE INDEX requests_approvals ON requests (id) WHERE decided_by IS NOT NULL OR state = 'pending';
CREATE INDEX sessions_account ON sessions (account_id, id);
CREATE INDEX sessions_seen ON sessions (last_seen_at);
CREATE INDEX account_certificates_account ON account_certificates (account_id, id);
CREATE INDEX keys_owner ON keys (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX keys_key ON keys (key_id);
CREATE INDEX keys_name ON keys (name, id);
CREATE INDEX templates_name ON templates (name, id);
CREATE INDEX templates_owner ON templates (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX csrs_owner ON csrs (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX policies_owner ON policies (owner_id, id) WHERE owner_id IS NOT NULL;
CREATE INDEX challenges_unused_owner ON challenges (owner_id) WHERE consumed_at IS NULL;
CREATE INDEX certificates_infrastructure ON certificates (infrastructure, revoked_at, id) WHERE infrastructure IS NOT NULL;
CREATE UNIQUE INDEX policies_est_default ON policies (owner_id) WHERE default_for_est = 1 AND system = 0;
CREATE UNIQUE INDEX policies_est_system_default ON policies (system) WHERE default_for_est = 1 AND system = 1;
CREATE UNIQUE INDEX policies_scep_default ON policies (owner_id) WHERE default_for_scep = 1 AND system = 0;
CREATE UNIQUE INDEX policies_scep_system_default ON policies (system) WHERE default_for_scep = 1 AND system = 1;
CREATE UNIQUE INDEX recovered_revocations_serial ON recovered_revocations (serial, issuer_id);
CREATE INDEX recovered_revocations_undecided ON recovered_revocations (issuer_id, id) WHERE decision IS NULL;
CREATE INDEX recovered_revocations_waiting ON recovered_revocations (id) WHERE decision IS NULL;
CREATE INDEX recovered_revocations_date ON recovered_revocations (revoked_at, id);
CREATE INDEX jobs_owner ON jobs (owner_id, id);
CREATE INDEX jobs_unended ON jobs (id) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_at);
CREATE INDEX job_rows_job ON job_rows (job_id, id);
CREATE INDEX job_rows_unended ON job_rows (job_id, id) WHERE ended_at IS NULL;
CREATE INDEX challenges_label ON challenges (label, id);
CREATE INDEX challenges_owner_label ON challenges (owner_id, label, id);
CREATE INDEX certificates_kind ON certificates (policy, method, key_type, id, not_after, revoked_at, deleted_at, owner_id, issuer_id, created_at, name_key);
CREATE INDEX certificates_issued ON certificates (created_at, id, not_after, revoked_at, deleted_at, method, owner_id, issuer_id, policy, key_type);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_end ON certificates (not_after, id, revoked_at, deleted_at, name_key, method, owner_id, issuer_id, policy, key_type, created_at);
CREATE INDEX certificates_revocation ON certificates (revoked_at, id, deleted_at, not_after, name_key, method, owner_id, issuer_id, serial, policy, key_type, created_at, reason) WHERE revoked_at IS NOT NULL;
CREATE INDEX certificates_deleted ON certificates (owner_id, key_type, method, created_at, infrastructure) WHERE deleted_at IS NOT NULL;
CREATE INDEX csrs_certificate ON csrs (certificate_id);
CREATE INDEX batches_unfinished ON batches (id) WHERE names IS NOT NULL;
CREATE INDEX batches_owner ON batches (owner_id, id);
CREATE INDEX batches_end ON batches (expires_at, id);
CREATE INDEX batches_label ON batches (label, id);
CREATE INDEX challenges_batch ON challenges (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX ended_sessions_end ON ended_sessions (ended_at);
CREATE INDEX drafts_account ON drafts (account_id, id);
CREATE INDEX drafts_end ON drafts (created_at);
CREATE UNIQUE INDEX devices_name ON devices (name_key, owner_id);
CREATE INDEX devices_due ON devices (due_at, id, overdue_at, retired_at, certificates, policy, method, owner_id);
CREATE INDEX devices_enrolled ON devices (enrolled_at, id);
CREATE INDEX devices_owner ON devices (owner_id, id);
CREATE INDEX devices_kind ON devices (policy, method, id);
CREATE INDEX devices_retired ON devices (id) WHERE retired_at IS NOT NULL;
CREATE INDEX certificates_device ON certificates (device_id, id) WHERE device_id IS NOT NULL;
CREATE INDEX challenges_device ON challenges (device_key, id) WHERE device_key IS NOT NULL;
CREATE INDEX job_files_job ON job_files (job_id, row_id);
CREATE INDEX jobs_filed ON jobs (ended_at) WHERE size > 0;
CREATE UNIQUE INDEX saved_filters_name ON saved_filters (account_id, list_name, name);
CREATE INDEX external_identities_account ON external_identities (account_id);
CREATE INDEX noticed_at ON noticed (at);
CREATE INDEX notice_messages_due ON notice_messages (state, due_at, id);
CREATE INDEX notice_messages_recipient ON notice_messages (channel, recipient, state);
CREATE INDEX notice_messages_done ON notice_messages (done_at, id);
CREATE INDEX status_changes_issuer ON status_changes (issuer_id, id);
CREATE INDEX crl_entries_shard ON crl_entries (issuer_id, shard, change_id) WHERE shard IS NOT NULL;
CREATE INDEX csrs_pending ON csrs (id) WHERE state = 'pending';
CREATE INDEX csrs_pending_owner ON csrs (owner_id, id) WHERE state = 'pending';
CREATE INDEX idempotency_keys_begin ON idempotency_keys (began_at);
PRAGMA writable_schema=OFF;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('accounts',1);
INSERT INTO "sqlite_sequence" VALUES('challenges',1);
INSERT INTO "sqlite_sequence" VALUES('csrs',1);
INSERT INTO "sqlite_sequence" VALUES('policies',1);
INSERT INTO "sqlite_sequence" VALUES('status_changes',1);
INSERT INTO "sqlite_sequence" VALUES('tokens',1);
INSERT INTO "sqlite_sequence" VALUES('keys',1);
INSERT INTO "sqlite_sequence" VALUES('templates',1);
INSERT INTO "sqlite_sequence" VALUES('account_certificates',1);
INSERT INTO "sqlite_sequence" VALUES('sessions',1);
INSERT INTO "sqlite_sequence" VALUES('nodes',1);
INSERT INTO "sqlite_sequence" VALUES('recovered_revocations',1);
INSERT INTO "sqlite_sequence" VALUES('jobs',1);
INSERT INTO "sqlite_sequence" VALUES('job_rows',1);
INSERT INTO "sqlite_sequence" VALUES('batches',1);
INSERT INTO "sqlite_sequence" VALUES('drafts',1);
INSERT INTO "sqlite_sequence" VALUES('devices',1);
INSERT INTO "sqlite_sequence" VALUES('saved_filters',1);
INSERT INTO "sqlite_sequence" VALUES('identity_lists',1);
INSERT INTO "sqlite_sequence" VALUES('totp_secrets',1);
INSERT INTO "sqlite_sequence" VALUES('passkeys',1);
INSERT INTO "sqlite_sequence" VALUES('notice_messages',1);
INSERT INTO "sqlite_sequence" VALUES('notice_rules',1);
INSERT INTO "sqlite_sequence" VALUES('idempotency_keys',1);
COMMIT;
