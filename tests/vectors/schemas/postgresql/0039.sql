CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';
CREATE TABLE public.account_certificates (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    fingerprint bytea NOT NULL,
    subject text NOT NULL,
    serial text NOT NULL COLLATE pg_catalog."C",
    not_after bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE SEQUENCE public.account_certificates_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.account_certificates_id_seq OWNED BY public.account_certificates.id;
CREATE TABLE public.accounts (
    id bigint NOT NULL,
    username text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    email text NOT NULL,
    role text NOT NULL,
    source text NOT NULL,
    state text NOT NULL,
    password_hash text,
    created_at bigint NOT NULL,
    last_login_at bigint,
    directory_id text,
    suspended_by_directory smallint DEFAULT '0'::smallint NOT NULL,
    must_change_password smallint DEFAULT '0'::smallint NOT NULL,
    has_second_factor smallint DEFAULT '0'::smallint NOT NULL
);
CREATE SEQUENCE public.accounts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.accounts_id_seq OWNED BY public.accounts.id;
CREATE TABLE public.audit_events (
    id bigint NOT NULL,
    at bigint NOT NULL,
    type text NOT NULL,
    resource_type text NOT NULL,
    resource_name text NOT NULL COLLATE pg_catalog."C",
    actor text NOT NULL,
    details text NOT NULL,
    owner_id bigint,
    actor_id bigint,
    about_account smallint NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL
);
CREATE TABLE public.audit_head (
    id bigint NOT NULL,
    count bigint NOT NULL,
    hash bytea NOT NULL
);
CREATE TABLE public.audit_keys (
    id bigint NOT NULL,
    name text NOT NULL,
    sealed bytea NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.audit_pruning (
    id bigint NOT NULL,
    count bigint NOT NULL,
    hash bytea NOT NULL,
    at bigint NOT NULL,
    note text NOT NULL,
    mac bytea NOT NULL
);
CREATE SEQUENCE public.audit_pruning_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_pruning_id_seq OWNED BY public.audit_pruning.id;
CREATE TABLE public.backfills (
    name text NOT NULL COLLATE pg_catalog."C",
    before bigint NOT NULL,
    total bigint NOT NULL
);
CREATE TABLE public.batches (
    id bigint NOT NULL,
    label text NOT NULL COLLATE pg_catalog."C",
    policy text NOT NULL,
    owner_id bigint,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    total bigint NOT NULL,
    created bigint DEFAULT '0'::bigint NOT NULL,
    enrolled bigint DEFAULT '0'::bigint NOT NULL,
    ended_at bigint,
    problem text DEFAULT ''::text NOT NULL,
    names text,
    created_by_id bigint
);
CREATE SEQUENCE public.batches_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.batches_id_seq OWNED BY public.batches.id;
CREATE TABLE public.certificate_search (
    certificate_id bigint NOT NULL,
    entries bigint[] NOT NULL
);
CREATE TABLE public.certificates (
    id bigint NOT NULL,
    serial text NOT NULL COLLATE pg_catalog."C",
    issuer_id bigint NOT NULL,
    subject text NOT NULL,
    common_name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    key_type text NOT NULL,
    key_id bytea NOT NULL,
    not_before bigint NOT NULL,
    not_after bigint NOT NULL,
    method text NOT NULL,
    owner_id bigint,
    policy text NOT NULL,
    created_at bigint NOT NULL,
    revoked_at bigint,
    reason smallint,
    deleted_at bigint,
    der bytea NOT NULL,
    infrastructure text,
    sans text,
    search_text text,
    fingerprint bytea,
    device_id bigint
);
CREATE SEQUENCE public.certificates_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.certificates_id_seq OWNED BY public.certificates.id;
CREATE TABLE public.challenges (
    id bigint NOT NULL,
    lookup bytea NOT NULL,
    prefix text NOT NULL COLLATE pg_catalog."C",
    sealed bytea NOT NULL,
    owner_id bigint,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    reserved_by bigint,
    consumed_at bigint,
    consumed_serial text COLLATE pg_catalog."C",
    label text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    subject text,
    sans text,
    subject_der bytea,
    san_der bytea,
    policy text,
    batch_id bigint,
    device_key text COLLATE pg_catalog."C",
    created_by_id bigint
);
CREATE SEQUENCE public.challenges_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.challenges_id_seq OWNED BY public.challenges.id;
CREATE TABLE public.crl_entries (
    serial text NOT NULL COLLATE pg_catalog."C",
    issuer_id bigint NOT NULL,
    change_id bigint NOT NULL,
    not_after bigint NOT NULL,
    entry bytea NOT NULL,
    shard smallint
);
CREATE TABLE public.crl_parts (
    issuer_id bigint NOT NULL,
    part text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    last_change bigint NOT NULL
);
CREATE TABLE public.crl_shards (
    issuer_id bigint NOT NULL,
    url text NOT NULL COLLATE pg_catalog."C",
    shard smallint NOT NULL
);
CREATE TABLE public.crls (
    issuer_id bigint NOT NULL,
    number bigint NOT NULL,
    this_update bigint NOT NULL,
    next_update bigint NOT NULL,
    entries bigint NOT NULL,
    last_change bigint NOT NULL
);
CREATE TABLE public.csrs (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    der bytea NOT NULL,
    subject text NOT NULL,
    key_type text NOT NULL,
    owner_id bigint,
    created_at bigint NOT NULL,
    state text NOT NULL,
    key_id bigint,
    template text,
    certificate_id bigint
);
CREATE SEQUENCE public.csrs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.csrs_id_seq OWNED BY public.csrs.id;
CREATE TABLE public.default_policy (
    id bigint NOT NULL,
    roles text NOT NULL,
    lint_override text
);
CREATE TABLE public.devices (
    id bigint NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    owner_id bigint NOT NULL,
    name text NOT NULL,
    policy text NOT NULL,
    method text NOT NULL,
    address text NOT NULL,
    certificates bigint NOT NULL,
    created_at bigint NOT NULL,
    enrolled_at bigint NOT NULL,
    not_after bigint NOT NULL,
    due_at bigint NOT NULL,
    overdue_at bigint NOT NULL,
    retired_at bigint,
    retired_reason smallint
);
CREATE SEQUENCE public.devices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.devices_id_seq OWNED BY public.devices.id;
CREATE TABLE public.drafts (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    sealed bytea NOT NULL,
    created_at bigint NOT NULL
);
CREATE SEQUENCE public.drafts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.drafts_id_seq OWNED BY public.drafts.id;
CREATE TABLE public.ended_sessions (
    digest bytea NOT NULL,
    account_id bigint NOT NULL,
    reason text NOT NULL,
    ended_at bigint NOT NULL
);
CREATE TABLE public.expired_crl_entries (
    issuer_id bigint NOT NULL,
    number bigint NOT NULL,
    serial text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.external_identities (
    issuer text NOT NULL,
    subject text NOT NULL,
    account_id bigint NOT NULL
);
CREATE TABLE public.idempotency_keys (
    id bigint NOT NULL,
    digest bytea NOT NULL,
    fingerprint bytea NOT NULL,
    process text NOT NULL,
    answer bytea,
    began_at bigint NOT NULL,
    ended_at bigint
);
CREATE SEQUENCE public.idempotency_keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.idempotency_keys_id_seq OWNED BY public.idempotency_keys.id;
CREATE TABLE public.identities (
    version bigint NOT NULL,
    identity_key text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.identity_lists (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    entries bigint NOT NULL,
    updated_at bigint NOT NULL,
    updated_by text NOT NULL,
    version bigint NOT NULL
);
CREATE SEQUENCE public.identity_lists_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.identity_lists_id_seq OWNED BY public.identity_lists.id;
CREATE TABLE public.issuers (
    id bigint NOT NULL,
    name text NOT NULL,
    key_identifier bytea NOT NULL,
    certificate bytea NOT NULL,
    created_at bigint NOT NULL,
    crl_number bigint NOT NULL
);
CREATE SEQUENCE public.issuers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.issuers_id_seq OWNED BY public.issuers.id;
CREATE TABLE public.job_files (
    row_id bigint NOT NULL,
    job_id bigint NOT NULL,
    content bytea NOT NULL
);
CREATE TABLE public.job_rows (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    object_id bigint NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    message text NOT NULL,
    ended_at bigint
);
CREATE SEQUENCE public.job_rows_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.job_rows_id_seq OWNED BY public.job_rows.id;
CREATE TABLE public.jobs (
    id bigint NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    arguments text NOT NULL,
    state text NOT NULL,
    actor text NOT NULL,
    owner_id bigint NOT NULL,
    scopes text NOT NULL,
    address text NOT NULL,
    created_at bigint NOT NULL,
    ended_at bigint,
    total bigint NOT NULL,
    done bigint NOT NULL,
    failed bigint NOT NULL,
    message text NOT NULL,
    size bigint DEFAULT '0'::bigint NOT NULL
);
CREATE SEQUENCE public.jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.jobs_id_seq OWNED BY public.jobs.id;
CREATE TABLE public.keys (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    key_type text NOT NULL,
    key_id bytea NOT NULL,
    spki bytea NOT NULL,
    sealed bytea NOT NULL,
    owner_id bigint,
    created_at bigint NOT NULL
);
CREATE SEQUENCE public.keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.keys_id_seq OWNED BY public.keys.id;
CREATE TABLE public.leases (
    name text NOT NULL COLLATE pg_catalog."C",
    holder text NOT NULL,
    until bigint NOT NULL,
    terms bigint NOT NULL
);
CREATE TABLE public.lint_overrides (
    certificate_id bigint NOT NULL,
    reason text NOT NULL
);
CREATE TABLE public.log_entries (
    "position" bigint NOT NULL,
    kind smallint NOT NULL,
    ref bigint NOT NULL
);
CREATE SEQUENCE public.log_entries_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.log_entries_position_seq OWNED BY public.log_entries."position";
CREATE TABLE public.log_tiles (
    level smallint NOT NULL,
    "position" bigint NOT NULL,
    hashes bytea NOT NULL
);
CREATE TABLE public.message_cursors (
    issuer_id bigint NOT NULL,
    last_change bigint NOT NULL,
    seq bigint NOT NULL,
    topic text NOT NULL
);
CREATE TABLE public.nodes (
    id bigint NOT NULL,
    name text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL
);
CREATE SEQUENCE public.nodes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.nodes_id_seq OWNED BY public.nodes.id;
CREATE TABLE public.notice_messages (
    id bigint NOT NULL,
    uid text NOT NULL COLLATE pg_catalog."C",
    channel text NOT NULL COLLATE pg_catalog."C",
    recipient text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    count bigint NOT NULL,
    entries text NOT NULL,
    created_at bigint NOT NULL,
    attempts bigint NOT NULL,
    due_at bigint NOT NULL,
    done_at bigint NOT NULL,
    answer text NOT NULL
);
CREATE SEQUENCE public.notice_messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.notice_messages_id_seq OWNED BY public.notice_messages.id;
CREATE TABLE public.notice_rules (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    enabled smallint NOT NULL,
    choices text NOT NULL,
    version bigint NOT NULL,
    updated_at bigint NOT NULL,
    updated_by text NOT NULL
);
CREATE SEQUENCE public.notice_rules_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.notice_rules_id_seq OWNED BY public.notice_rules.id;
CREATE TABLE public.noticed (
    rule_id bigint NOT NULL,
    object_id bigint NOT NULL,
    ends_at bigint NOT NULL,
    step smallint NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.owner_revocations (
    account_id bigint NOT NULL,
    reason smallint NOT NULL,
    actor text NOT NULL,
    actor_id bigint
);
CREATE TABLE public.passkeys (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    name text NOT NULL,
    name_key text NOT NULL,
    host text NOT NULL,
    credential_id bytea NOT NULL,
    public_key bytea NOT NULL,
    sign_count bigint NOT NULL,
    user_handle bytea NOT NULL,
    challenged_at bigint NOT NULL,
    created_at bigint NOT NULL,
    last_used_at bigint
);
CREATE SEQUENCE public.passkeys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.passkeys_id_seq OWNED BY public.passkeys.id;
CREATE TABLE public.password_resets (
    account_id bigint NOT NULL,
    digest bytea NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.pikachu_schema (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.policies (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    days bigint NOT NULL,
    extensions text NOT NULL,
    system smallint NOT NULL,
    use_for_est smallint NOT NULL,
    use_for_scep smallint NOT NULL,
    owner_id bigint,
    issuer text,
    approval text NOT NULL,
    limits text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    updated_by text,
    default_for_est smallint DEFAULT 0 NOT NULL,
    default_for_scep smallint DEFAULT 0 NOT NULL,
    roles text DEFAULT 'user operator admin'::text NOT NULL,
    lint_override text
);
CREATE SEQUENCE public.policies_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.policies_id_seq OWNED BY public.policies.id;
CREATE TABLE public.preferences (
    account_id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL
);
CREATE TABLE public.published_crls (
    key_identifier bytea NOT NULL,
    version bigint NOT NULL,
    der bytea NOT NULL
);
CREATE TABLE public.recovered_revocations (
    id bigint NOT NULL,
    issuer_id bigint NOT NULL,
    serial text NOT NULL COLLATE pg_catalog."C",
    revoked_at bigint NOT NULL,
    reason smallint NOT NULL,
    not_after bigint NOT NULL,
    was_on_hold smallint NOT NULL,
    recovered_at bigint NOT NULL,
    decision text
);
CREATE SEQUENCE public.recovered_revocations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.recovered_revocations_id_seq OWNED BY public.recovered_revocations.id;
CREATE TABLE public.recovery_codes (
    account_id bigint NOT NULL,
    digest bytea NOT NULL
);
CREATE TABLE public.requests (
    id bigint NOT NULL,
    state text NOT NULL,
    method text NOT NULL,
    subject text NOT NULL,
    key_type text NOT NULL,
    key_id bytea NOT NULL,
    policy text NOT NULL,
    issuer text NOT NULL,
    principal text NOT NULL,
    owner_id bigint,
    address text NOT NULL,
    created_at bigint NOT NULL,
    dedupe bytea,
    dedupe_until bigint,
    transaction_digest bytea,
    requester_key bytea,
    challenge_id bigint,
    label text,
    validity_days bigint,
    details text,
    serial text COLLATE pg_catalog."C",
    issuer_id bigint,
    certified_subject text,
    common_name text,
    not_before bigint,
    not_after bigint,
    process text,
    certificate_id bigint,
    decided_at bigint,
    decided_by text,
    reason text,
    revoked_at bigint,
    revocation_reason smallint,
    csr bytea,
    tbs bytea,
    csr_id bigint,
    added_names bytea,
    approvals smallint,
    requester_ids text,
    first_approver_id bigint,
    first_approved_by text,
    first_approved_at bigint
);
CREATE SEQUENCE public.requests_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.requests_id_seq OWNED BY public.requests.id;
CREATE TABLE public.revocation_messages (
    issuer_id bigint NOT NULL,
    seq bigint NOT NULL,
    serial text NOT NULL,
    revoked_at bigint,
    reason integer,
    crl_number bigint NOT NULL
);
CREATE TABLE public.saved_filters (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    list_name text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    query text NOT NULL
);
CREATE SEQUENCE public.saved_filters_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.saved_filters_id_seq OWNED BY public.saved_filters.id;
CREATE TABLE public.service_credentials (
    id bigint NOT NULL,
    key_identifier bytea NOT NULL,
    purpose text NOT NULL,
    certificate bytea NOT NULL,
    sealed_key bytea NOT NULL,
    created_at bigint NOT NULL
);
CREATE SEQUENCE public.service_credentials_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.service_credentials_id_seq OWNED BY public.service_credentials.id;
CREATE TABLE public.sessions (
    id bigint NOT NULL,
    digest bytea NOT NULL,
    account_id bigint NOT NULL,
    created_at bigint NOT NULL,
    last_seen_at bigint NOT NULL,
    confirmed_at bigint,
    address text NOT NULL,
    agent text NOT NULL
);
CREATE SEQUENCE public.sessions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.sessions_id_seq OWNED BY public.sessions.id;
CREATE TABLE public.setup_marks (
    name text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    actor text NOT NULL
);
CREATE TABLE public.status_changes (
    id bigint NOT NULL,
    issuer_id bigint NOT NULL,
    serial text NOT NULL COLLATE pg_catalog."C",
    replaces bigint NOT NULL,
    shard smallint
);
CREATE SEQUENCE public.status_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.status_changes_id_seq OWNED BY public.status_changes.id;
CREATE TABLE public.templates (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    profile_type text NOT NULL COLLATE pg_catalog."C",
    origin text NOT NULL,
    content text NOT NULL,
    for_requests smallint NOT NULL,
    for_extensions smallint NOT NULL,
    owner_id bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    updated_by text
);
CREATE SEQUENCE public.templates_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.templates_id_seq OWNED BY public.templates.id;
CREATE TABLE public.tokens (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    scopes text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    last_used_at bigint
);
CREATE SEQUENCE public.tokens_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.tokens_id_seq OWNED BY public.tokens.id;
CREATE TABLE public.totp_secrets (
    id bigint NOT NULL,
    account_id bigint NOT NULL,
    sealed bytea NOT NULL,
    last_step bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE SEQUENCE public.totp_secrets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.totp_secrets_id_seq OWNED BY public.totp_secrets.id;
ALTER TABLE ONLY public.account_certificates ALTER COLUMN id SET DEFAULT nextval('public.account_certificates_id_seq'::regclass);
ALTER TABLE ONLY public.accounts ALTER COLUMN id SET DEFAULT nextval('public.accounts_id_seq'::regclass);
ALTER TABLE ONLY public.audit_pruning ALTER COLUMN id SET DEFAULT nextval('public.audit_pruning_id_seq'::regclass);
ALTER TABLE ONLY public.batches ALTER COLUMN id SET DEFAULT nextval('public.batches_id_seq'::regclass);
ALTER TABLE ONLY public.certificates ALTER COLUMN id SET DEFAULT nextval('public.certificates_id_seq'::regclass);
ALTER TABLE ONLY public.challenges ALTER COLUMN id SET DEFAULT nextval('public.challenges_id_seq'::regclass);
ALTER TABLE ONLY public.csrs ALTER COLUMN id SET DEFAULT nextval('public.csrs_id_seq'::regclass);
ALTER TABLE ONLY public.devices ALTER COLUMN id SET DEFAULT nextval('public.devices_id_seq'::regclass);
ALTER TABLE ONLY public.drafts ALTER COLUMN id SET DEFAULT nextval('public.drafts_id_seq'::regclass);
ALTER TABLE ONLY public.idempotency_keys ALTER COLUMN id SET DEFAULT nextval('public.idempotency_keys_id_seq'::regclass);
ALTER TABLE ONLY public.identity_lists ALTER COLUMN id SET DEFAULT nextval('public.identity_lists_id_seq'::regclass);
ALTER TABLE ONLY public.issuers ALTER COLUMN id SET DEFAULT nextval('public.issuers_id_seq'::regclass);
ALTER TABLE ONLY public.job_rows ALTER COLUMN id SET DEFAULT nextval('public.job_rows_id_seq'::regclass);
ALTER TABLE ONLY public.jobs ALTER COLUMN id SET DEFAULT nextval('public.jobs_id_seq'::regclass);
ALTER TABLE ONLY public.keys ALTER COLUMN id SET DEFAULT nextval('public.keys_id_seq'::regclass);
ALTER TABLE ONLY public.log_entries ALTER COLUMN "position" SET DEFAULT nextval('public.log_entries_position_seq'::regclass);
ALTER TABLE ONLY public.nodes ALTER COLUMN id SET DEFAULT nextval('public.nodes_id_seq'::regclass);
ALTER TABLE ONLY public.notice_messages ALTER COLUMN id SET DEFAULT nextval('public.notice_messages_id_seq'::regclass);
ALTER TABLE ONLY public.notice_rules ALTER COLUMN id SET DEFAULT nextval('public.notice_rules_id_seq'::regclass);
ALTER TABLE ONLY public.passkeys ALTER COLUMN id SET DEFAULT nextval('public.passkeys_id_seq'::regclass);
ALTER TABLE ONLY public.policies ALTER COLUMN id SET DEFAULT nextval('public.policies_id_seq'::regclass);
ALTER TABLE ONLY public.recovered_revocations ALTER COLUMN id SET DEFAULT nextval('public.recovered_revocations_id_seq'::regclass);
ALTER TABLE ONLY public.requests ALTER COLUMN id SET DEFAULT nextval('public.requests_id_seq'::regclass);
ALTER TABLE ONLY public.saved_filters ALTER COLUMN id SET DEFAULT nextval('public.saved_filters_id_seq'::regclass);
ALTER TABLE ONLY public.service_credentials ALTER COLUMN id SET DEFAULT nextval('public.service_credentials_id_seq'::regclass);
ALTER TABLE ONLY public.sessions ALTER COLUMN id SET DEFAULT nextval('public.sessions_id_seq'::regclass);
ALTER TABLE ONLY public.status_changes ALTER COLUMN id SET DEFAULT nextval('public.status_changes_id_seq'::regclass);
ALTER TABLE ONLY public.templates ALTER COLUMN id SET DEFAULT nextval('public.templates_id_seq'::regclass);
ALTER TABLE ONLY public.tokens ALTER COLUMN id SET DEFAULT nextval('public.tokens_id_seq'::regclass);
ALTER TABLE ONLY public.totp_secrets ALTER COLUMN id SET DEFAULT nextval('public.totp_secrets_id_seq'::regclass);
INSERT INTO public.account_certificates VALUES (1, 1, '\x0102', 'some subject', 'some serial', 1, 1);
INSERT INTO public.accounts VALUES (1, 'some username', 'some name_key', 'some email', 'some role', 'some source', 'some state', 'some password_hash', 1, 1, NULL, 0, 0, 0);
INSERT INTO public.audit_events VALUES (1, 1, 'some type', 'some resource_type', 'some resource_name', 'some actor', 'some details', 1, 1, 1, '\x0102', '\x0102');
INSERT INTO public.audit_head VALUES (1, 0, '\x0000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO public.audit_keys VALUES (1, 'some name', '\x0102', 1);
INSERT INTO public.audit_pruning VALUES (1, 1, '\x0102', 1, 'some note', '\x0102');
INSERT INTO public.backfills VALUES ('search', 2, 1);
INSERT INTO public.backfills VALUES ('fingerprints', 2, 1);
INSERT INTO public.backfills VALUES ('devices', 2, 1);
INSERT INTO public.batches VALUES (1, 'some label', 'some policy', 1, 1, 1, 1, 1, 1, 1, 'some problem', 'some names', NULL);
INSERT INTO public.certificate_search VALUES (1, '{1}');
INSERT INTO public.certificates VALUES (1, 'some serial', 1, 'some subject', 'some common_name', 'some name_key', 'some key_type', '\x0102', 1, 1, 'some method', 1, 'some policy', 1, 1, 1, 1, '\x0102', NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.challenges VALUES (1, '\x0102', 'some prefix', '\x0102', 1, 1, 1, 1, 1, 'some consumed_serial', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.crl_entries VALUES ('some serial', 1, 1, 1, '\x0102', NULL);
INSERT INTO public.crl_parts VALUES (1, 'some part', 1, 1);
INSERT INTO public.crl_shards VALUES (1, 'some url', 1);
INSERT INTO public.crls VALUES (1, 1, 1, 1, 1, 1);
INSERT INTO public.csrs VALUES (1, 'some name', '\x0102', 'some subject', 'some key_type', 1, 1, 'some state', NULL, NULL, NULL);
INSERT INTO public.default_policy VALUES (1, 'some roles', NULL);
INSERT INTO public.devices VALUES (1, 'some name_key', 1, 'some name', 'some policy', 'some method', 'some address', 1, 1, 1, 1, 1, 1, 1, 1);
INSERT INTO public.drafts VALUES (1, 1, '\x0102', 1);
INSERT INTO public.ended_sessions VALUES ('\x0102', 1, 'some reason', 1);
INSERT INTO public.expired_crl_entries VALUES (1, 1, 'some serial');
INSERT INTO public.external_identities VALUES ('some issuer', 'some subject', 1);
INSERT INTO public.idempotency_keys VALUES (1, '\x0102', '\x0102', 'some process', '\x0102', 1, 1);
INSERT INTO public.identities VALUES (1, 'some identity_key');
INSERT INTO public.identity_lists VALUES (1, 'some name', 1, 1, 'some updated_by', 1);
INSERT INTO public.issuers VALUES (1, 'some name', '\x0102', '\x0102', 1, 1);
INSERT INTO public.job_files VALUES (1, 1, '\x0102');
INSERT INTO public.job_rows VALUES (1, 1, 1, 'some name', 'some state', 'some message', 1);
INSERT INTO public.jobs VALUES (1, 'some action', 'some resource', 'some arguments', 'some state', 'some actor', 1, 'some scopes', 'some address', 1, 1, 1, 1, 1, 'some message', 0);
INSERT INTO public.keys VALUES (1, 'some name', 'some key_type', '\x0102', '\x0102', '\x0102', 1, 1);
INSERT INTO public.leases VALUES ('some name', 'some holder', 1, 1);
INSERT INTO public.lint_overrides VALUES (1, 'some reason');
INSERT INTO public.log_entries VALUES (1, 1, 1);
INSERT INTO public.log_tiles VALUES (1, 1, '\x0102');
INSERT INTO public.message_cursors VALUES (1, 1, 1, 'some topic');
INSERT INTO public.nodes VALUES (1, 'some name', 1, 1);
INSERT INTO public.notice_messages VALUES (1, 'some uid', 'some channel', 'some recipient', 'some state', 1, '[]', 1, 1, 1, 1, 'some answer');
INSERT INTO public.notice_rules VALUES (1, 'some name', 'some kind', 1, '{}', 1, 1, 'some updated_by');
INSERT INTO public.noticed VALUES (1, 1, 1, 1, 1);
INSERT INTO public.owner_revocations VALUES (1, 1, 'some actor', 1);
INSERT INTO public.passkeys VALUES (1, 1, 'some name', 'some name_key', 'some host', '\x0102', '\x0102', 1, '\x0102', 1, 1, 1);
INSERT INTO public.password_resets VALUES (1, '\x0102', 1);
INSERT INTO public.pikachu_schema VALUES ('0039');
INSERT INTO public.policies VALUES (1, 'some name', 1, 'some extensions', 1, 1, 1, 1, 'some issuer', 'some approval', '{}', 1, 1, 1, NULL, 1, 1, 'user operator admin', NULL);
INSERT INTO public.preferences VALUES (1, 'some name', 'some value');
INSERT INTO public.published_crls VALUES ('\x0102', 1, '\x0102');
INSERT INTO public.recovered_revocations VALUES (1, 1, 'some serial', 1, 1, 1, 1, 1, 'some decision');
INSERT INTO public.recovery_codes VALUES (1, '\x0102');
INSERT INTO public.requests VALUES (1, 'some state', 'some method', 'some subject', 'some key_type', '\x0102', 'some policy', 'some issuer', 'some principal', 1, 'some address', 1, '\x0102', 1, '\x0102', '\x0102', 1, 'some label', 1, 'some details', 'some serial', 1, 'some certified_subject', 'some common_name', 1, 1, 'some process', 1, 1, 'some decided_by', 'some reason', 1, 1, '\x0102', '\x0102', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.revocation_messages VALUES (1, 1, 'some serial', 1, 1, 1);
INSERT INTO public.saved_filters VALUES (1, 1, 'some list_name', 'some name', 'some query');
INSERT INTO public.service_credentials VALUES (1, '\x0102', 'some purpose', '\x0102', '\x0102', 1);
INSERT INTO public.sessions VALUES (1, '\x0102', 1, 1, 1, 1, 'some address', 'some agent');
INSERT INTO public.setup_marks VALUES ('some name', 1, 'some actor');
INSERT INTO public.status_changes VALUES (1, 1, 'some serial', 1, NULL);
INSERT INTO public.templates VALUES (1, 'some name', 'some profile_type', 'some origin', 'some content', 1, 1, 1, 1, 1, 1, NULL);
INSERT INTO public.tokens VALUES (1, 1, 'some name', '\x0102', 'some scopes', 1, 1, 1);
INSERT INTO public.totp_secrets VALUES (1, 1, '\x0102', 1, 1);
SELECT pg_catalog.setval('public.account_certificates_id_seq', 1, false);
SELECT pg_catalog.setval('public.accounts_id_seq', 1, false);
SELECT pg_catalog.setval('public.audit_pruning_id_seq', 1, false);
SELECT pg_catalog.setval('public.batches_id_seq', 1, false);
SELECT pg_catalog.setval('public.certificates_id_seq', 1, false);
SELECT pg_catalog.setval('public.challenges_id_seq', 1, false);
SELECT pg_catalog.setval('public.csrs_id_seq', 1, false);
SELECT pg_catalog.setval('public.devices_id_seq', 1, false);
SELECT pg_catalog.setval('public.drafts_id_seq', 1, false);
SELECT pg_catalog.setval('public.idempotency_keys_id_seq', 1, false);
SELECT pg_catalog.setval('public.identity_lists_id_seq', 1, false);
SELECT pg_catalog.setval('public.issuers_id_seq', 1, false);
SELECT pg_catalog.setval('public.job_rows_id_seq', 1, false);
SELECT pg_catalog.setval('public.jobs_id_seq', 1, false);
SELECT pg_catalog.setval('public.keys_id_seq', 1, false);
SELECT pg_catalog.setval('public.log_entries_position_seq', 1, false);
SELECT pg_catalog.setval('public.nodes_id_seq', 1, false);
SELECT pg_catalog.setval('public.notice_messages_id_seq', 1, false);
SELECT pg_catalog.setval('public.notice_rules_id_seq', 1, false);
SELECT pg_catalog.setval('public.passkeys_id_seq', 1, false);
SELECT pg_catalog.setval('public.policies_id_seq', 1, false);
SELECT pg_catalog.setval('public.recovered_revocations_id_seq', 1, false);
SELECT pg_catalog.setval('public.requests_id_seq', 1, false);
SELECT pg_catalog.setval('public.saved_filters_id_seq', 1, false);
SELECT pg_catalog.setval('public.service_credentials_id_seq', 1, false);
SELECT pg_catalog.setval('public.sessions_id_seq', 1, false);
SELECT pg_catalog.setval('public.status_changes_id_seq', 1, false);
SELECT pg_catalog.setval('public.templates_id_seq', 1, false);
SELECT pg_catalog.setval('public.tokens_id_seq', 1, false);
SELECT pg_catalog.setval('public.totp_secrets_id_seq', 1, false);
ALTER TABLE ONLY public.account_certificates
    ADD CONSTRAINT account_certificates_fingerprint_key UNIQUE (fingerprint);
ALTER TABLE ONLY public.account_certificates
    ADD CONSTRAINT account_certificates_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_name_key_key UNIQUE (name_key);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_head
    ADD CONSTRAINT audit_head_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_keys
    ADD CONSTRAINT audit_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_pruning
    ADD CONSTRAINT audit_pruning_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backfills
    ADD CONSTRAINT backfills_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.certificate_search
    ADD CONSTRAINT certificate_search_pkey PRIMARY KEY (certificate_id);
ALTER TABLE ONLY public.certificates
    ADD CONSTRAINT certificates_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.challenges
    ADD CONSTRAINT challenges_lookup_key UNIQUE (lookup);
ALTER TABLE ONLY public.challenges
    ADD CONSTRAINT challenges_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.crl_entries
    ADD CONSTRAINT crl_entries_pkey PRIMARY KEY (serial);
ALTER TABLE ONLY public.crl_parts
    ADD CONSTRAINT crl_parts_pkey PRIMARY KEY (issuer_id, part);
ALTER TABLE ONLY public.crl_shards
    ADD CONSTRAINT crl_shards_pkey PRIMARY KEY (issuer_id, url);
ALTER TABLE ONLY public.crls
    ADD CONSTRAINT crls_pkey PRIMARY KEY (issuer_id, number);
ALTER TABLE ONLY public.csrs
    ADD CONSTRAINT csrs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.default_policy
    ADD CONSTRAINT default_policy_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ended_sessions
    ADD CONSTRAINT ended_sessions_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.expired_crl_entries
    ADD CONSTRAINT expired_crl_entries_pkey PRIMARY KEY (issuer_id, number, serial);
ALTER TABLE ONLY public.external_identities
    ADD CONSTRAINT external_identities_pkey PRIMARY KEY (issuer, subject);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_pkey PRIMARY KEY (version, identity_key);
ALTER TABLE ONLY public.identity_lists
    ADD CONSTRAINT identity_lists_name_key UNIQUE (name);
ALTER TABLE ONLY public.identity_lists
    ADD CONSTRAINT identity_lists_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.issuers
    ADD CONSTRAINT issuers_key_identifier_key UNIQUE (key_identifier);
ALTER TABLE ONLY public.issuers
    ADD CONSTRAINT issuers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.job_files
    ADD CONSTRAINT job_files_pkey PRIMARY KEY (row_id);
ALTER TABLE ONLY public.job_rows
    ADD CONSTRAINT job_rows_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.lint_overrides
    ADD CONSTRAINT lint_overrides_pkey PRIMARY KEY (certificate_id);
ALTER TABLE ONLY public.log_entries
    ADD CONSTRAINT log_entries_kind_ref_key UNIQUE (kind, ref);
ALTER TABLE ONLY public.log_entries
    ADD CONSTRAINT log_entries_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY public.log_tiles
    ADD CONSTRAINT log_tiles_pkey PRIMARY KEY (level, "position");
ALTER TABLE ONLY public.message_cursors
    ADD CONSTRAINT message_cursors_pkey PRIMARY KEY (issuer_id);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.notice_messages
    ADD CONSTRAINT notice_messages_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.notice_rules
    ADD CONSTRAINT notice_rules_name_key UNIQUE (name);
ALTER TABLE ONLY public.notice_rules
    ADD CONSTRAINT notice_rules_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.noticed
    ADD CONSTRAINT noticed_pkey PRIMARY KEY (rule_id, object_id, ends_at, step);
ALTER TABLE ONLY public.owner_revocations
    ADD CONSTRAINT owner_revocations_pkey PRIMARY KEY (account_id);
ALTER TABLE ONLY public.passkeys
    ADD CONSTRAINT passkeys_account_id_name_key_key UNIQUE (account_id, name_key);
ALTER TABLE ONLY public.passkeys
    ADD CONSTRAINT passkeys_credential_id_key UNIQUE (credential_id);
ALTER TABLE ONLY public.passkeys
    ADD CONSTRAINT passkeys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.password_resets
    ADD CONSTRAINT password_resets_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.password_resets
    ADD CONSTRAINT password_resets_pkey PRIMARY KEY (account_id);
ALTER TABLE ONLY public.pikachu_schema
    ADD CONSTRAINT pikachu_schema_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.policies
    ADD CONSTRAINT policies_name_key UNIQUE (name);
ALTER TABLE ONLY public.policies
    ADD CONSTRAINT policies_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.preferences
    ADD CONSTRAINT preferences_pkey PRIMARY KEY (account_id, name);
ALTER TABLE ONLY public.published_crls
    ADD CONSTRAINT published_crls_pkey PRIMARY KEY (key_identifier);
ALTER TABLE ONLY public.recovered_revocations
    ADD CONSTRAINT recovered_revocations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.recovery_codes
    ADD CONSTRAINT recovery_codes_pkey PRIMARY KEY (account_id, digest);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT requests_dedupe_key UNIQUE (dedupe);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.revocation_messages
    ADD CONSTRAINT revocation_messages_pkey PRIMARY KEY (issuer_id, seq);
ALTER TABLE ONLY public.saved_filters
    ADD CONSTRAINT saved_filters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.service_credentials
    ADD CONSTRAINT service_credentials_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.setup_marks
    ADD CONSTRAINT setup_marks_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.status_changes
    ADD CONSTRAINT status_changes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.templates
    ADD CONSTRAINT templates_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_name UNIQUE (account_id, name);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.totp_secrets
    ADD CONSTRAINT totp_secrets_account_id_key UNIQUE (account_id);
ALTER TABLE ONLY public.totp_secrets
    ADD CONSTRAINT totp_secrets_pkey PRIMARY KEY (id);
CREATE INDEX account_certificates_account ON public.account_certificates USING btree (account_id, id);
CREATE INDEX audit_events_account ON public.audit_events USING btree (id) WHERE (about_account = 1);
CREATE INDEX audit_events_kind ON public.audit_events USING btree (resource_type, type, id);
CREATE INDEX audit_events_name ON public.audit_events USING btree (resource_name, id);
CREATE INDEX audit_events_owner ON public.audit_events USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
CREATE INDEX batches_end ON public.batches USING btree (expires_at, id);
CREATE INDEX batches_label ON public.batches USING btree (label, id);
CREATE INDEX batches_owner ON public.batches USING btree (owner_id, id);
CREATE INDEX batches_unfinished ON public.batches USING btree (id) WHERE (names IS NOT NULL);
CREATE INDEX certificate_search_entries ON public.certificate_search USING gin (entries);
CREATE INDEX certificates_deleted ON public.certificates USING btree (owner_id, key_type, method, created_at, infrastructure) WHERE (deleted_at IS NOT NULL);
CREATE INDEX certificates_device ON public.certificates USING btree (device_id, id) WHERE (device_id IS NOT NULL);
CREATE INDEX certificates_end ON public.certificates USING btree (not_after, id, revoked_at, deleted_at, name_key, method, owner_id, issuer_id, policy, key_type, created_at);
CREATE INDEX certificates_fingerprint ON public.certificates USING btree (fingerprint);
CREATE INDEX certificates_infrastructure ON public.certificates USING btree (infrastructure, revoked_at, id) WHERE (infrastructure IS NOT NULL);
CREATE INDEX certificates_issued ON public.certificates USING btree (created_at, id, not_after, revoked_at, deleted_at, method, owner_id, issuer_id, policy, key_type);
CREATE INDEX certificates_issuer ON public.certificates USING btree (issuer_id, id);
CREATE INDEX certificates_key ON public.certificates USING btree (key_id);
CREATE INDEX certificates_kind ON public.certificates USING btree (policy, method, key_type, id, not_after, revoked_at, deleted_at, owner_id, issuer_id, created_at, name_key);
CREATE INDEX certificates_method ON public.certificates USING btree (method, id);
CREATE INDEX certificates_name ON public.certificates USING btree (name_key, id);
CREATE INDEX certificates_owner ON public.certificates USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
CREATE INDEX certificates_revocation ON public.certificates USING btree (revoked_at, id, deleted_at, not_after, name_key, method, owner_id, issuer_id, serial, policy, key_type, created_at, reason) WHERE (revoked_at IS NOT NULL);
CREATE INDEX certificates_revoked ON public.certificates USING btree (id) WHERE (revoked_at IS NOT NULL);
CREATE UNIQUE INDEX certificates_serial ON public.certificates USING btree (serial);
CREATE INDEX challenges_batch ON public.challenges USING btree (batch_id, id) WHERE (batch_id IS NOT NULL);
CREATE INDEX challenges_device ON public.challenges USING btree (device_key, id) WHERE (device_key IS NOT NULL);
CREATE INDEX challenges_end ON public.challenges USING btree (expires_at, id);
CREATE INDEX challenges_label ON public.challenges USING btree (label, id);
CREATE INDEX challenges_owner ON public.challenges USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
CREATE INDEX challenges_owner_label ON public.challenges USING btree (owner_id, label, id);
CREATE INDEX challenges_prefix ON public.challenges USING btree (prefix);
CREATE INDEX challenges_unused ON public.challenges USING btree (id) WHERE (consumed_at IS NULL);
CREATE INDEX challenges_unused_owner ON public.challenges USING btree (owner_id) WHERE (consumed_at IS NULL);
CREATE INDEX crl_entries_end ON public.crl_entries USING btree (issuer_id, not_after);
CREATE INDEX crl_entries_order ON public.crl_entries USING btree (issuer_id, change_id);
CREATE INDEX crl_entries_shard ON public.crl_entries USING btree (issuer_id, shard, change_id) WHERE (shard IS NOT NULL);
CREATE INDEX csrs_certificate ON public.csrs USING btree (certificate_id);
CREATE INDEX csrs_owner ON public.csrs USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
CREATE INDEX csrs_pending ON public.csrs USING btree (id) WHERE (state = 'pending'::text);
CREATE INDEX csrs_pending_owner ON public.csrs USING btree (owner_id, id) WHERE (state = 'pending'::text);
CREATE INDEX devices_due ON public.devices USING btree (due_at, id, overdue_at, retired_at, certificates, policy, method, owner_id);
CREATE INDEX devices_enrolled ON public.devices USING btree (enrolled_at, id);
CREATE INDEX devices_kind ON public.devices USING btree (policy, method, id);
CREATE UNIQUE INDEX devices_name ON public.devices USING btree (name_key, owner_id);
CREATE INDEX devices_owner ON public.devices USING btree (owner_id, id);
CREATE INDEX devices_retired ON public.devices USING btree (id) WHERE (retired_at IS NOT NULL);
CREATE INDEX drafts_account ON public.drafts USING btree (account_id, id);
CREATE INDEX drafts_end ON public.drafts USING btree (created_at);
CREATE INDEX ended_sessions_end ON public.ended_sessions USING btree (ended_at);
CREATE INDEX external_identities_account ON public.external_identities USING btree (account_id);
CREATE INDEX idempotency_keys_begin ON public.idempotency_keys USING btree (began_at);
CREATE INDEX job_files_job ON public.job_files USING btree (job_id, row_id);
CREATE INDEX job_rows_job ON public.job_rows USING btree (job_id, id);
CREATE INDEX job_rows_unended ON public.job_rows USING btree (job_id, id) WHERE (ended_at IS NULL);
CREATE INDEX jobs_ended ON public.jobs USING btree (ended_at);
CREATE INDEX jobs_filed ON public.jobs USING btree (ended_at) WHERE (size > 0);
CREATE INDEX jobs_owner ON public.jobs USING btree (owner_id, id);
CREATE INDEX jobs_unended ON public.jobs USING btree (id) WHERE (ended_at IS NULL);
CREATE INDEX keys_key ON public.keys USING btree (key_id);
CREATE INDEX keys_name ON public.keys USING btree (name, id);
CREATE INDEX keys_owner ON public.keys USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
CREATE INDEX notice_messages_done ON public.notice_messages USING btree (done_at, id);
CREATE INDEX notice_messages_due ON public.notice_messages USING btree (state, due_at, id);
CREATE INDEX notice_messages_recipient ON public.notice_messages USING btree (channel, recipient, state);
CREATE INDEX noticed_at ON public.noticed USING btree (at);
CREATE UNIQUE INDEX policies_est_default ON public.policies USING btree (owner_id) WHERE ((default_for_est = 1) AND (system = 0));
CREATE UNIQUE INDEX policies_est_system_default ON public.policies USING btree (system) WHERE ((default_for_est = 1) AND (system = 1));
CREATE INDEX policies_owner ON public.policies USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
CREATE UNIQUE INDEX policies_scep_default ON public.policies USING btree (owner_id) WHERE ((default_for_scep = 1) AND (system = 0));
CREATE UNIQUE INDEX policies_scep_system_default ON public.policies USING btree (system) WHERE ((default_for_scep = 1) AND (system = 1));
CREATE INDEX recovered_revocations_date ON public.recovered_revocations USING btree (revoked_at, id);
CREATE UNIQUE INDEX recovered_revocations_serial ON public.recovered_revocations USING btree (serial, issuer_id);
CREATE INDEX recovered_revocations_undecided ON public.recovered_revocations USING btree (issuer_id, id) WHERE (decision IS NULL);
CREATE INDEX recovered_revocations_waiting ON public.recovered_revocations USING btree (id) WHERE (decision IS NULL);
CREATE INDEX requests_approvals ON public.requests USING btree (id) WHERE ((decided_by IS NOT NULL) OR (state = 'pending'::text));
CREATE INDEX requests_method ON public.requests USING btree (method, id);
CREATE INDEX requests_open ON public.requests USING btree (state, id) WHERE (state <> 'issued'::text);
CREATE INDEX requests_open_key ON public.requests USING btree (key_id) WHERE (state <> 'issued'::text);
CREATE INDEX requests_owner ON public.requests USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
CREATE UNIQUE INDEX requests_serial ON public.requests USING btree (serial) WHERE (state <> 'issued'::text);
CREATE INDEX requests_transaction ON public.requests USING btree (transaction_digest) WHERE (transaction_digest IS NOT NULL);
CREATE UNIQUE INDEX saved_filters_name ON public.saved_filters USING btree (account_id, list_name, name);
CREATE INDEX service_credentials_purpose ON public.service_credentials USING btree (key_identifier, purpose);
CREATE INDEX sessions_account ON public.sessions USING btree (account_id, id);
CREATE INDEX sessions_seen ON public.sessions USING btree (last_seen_at);
CREATE INDEX status_changes_issuer ON public.status_changes USING btree (issuer_id, id);
CREATE INDEX status_changes_replacing ON public.status_changes USING btree (issuer_id, id) WHERE (replaces > 0);
CREATE INDEX templates_name ON public.templates USING btree (name, id);
CREATE INDEX templates_owner ON public.templates USING btree (owner_id, id) WHERE (owner_id IS NOT NULL);
ALTER TABLE ONLY public.account_certificates
    ADD CONSTRAINT account_certificates_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.certificates
    ADD CONSTRAINT certificates_issuer_id_fkey FOREIGN KEY (issuer_id) REFERENCES public.issuers(id);
ALTER TABLE ONLY public.external_identities
    ADD CONSTRAINT external_identities_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.job_rows
    ADD CONSTRAINT job_rows_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id);
ALTER TABLE ONLY public.lint_overrides
    ADD CONSTRAINT lint_overrides_certificate_id_fkey FOREIGN KEY (certificate_id) REFERENCES public.certificates(id);
ALTER TABLE ONLY public.owner_revocations
    ADD CONSTRAINT owner_revocations_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.passkeys
    ADD CONSTRAINT passkeys_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.password_resets
    ADD CONSTRAINT password_resets_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.preferences
    ADD CONSTRAINT preferences_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.recovery_codes
    ADD CONSTRAINT recovery_codes_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.saved_filters
    ADD CONSTRAINT saved_filters_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.totp_secrets
    ADD CONSTRAINT totp_secrets_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);
