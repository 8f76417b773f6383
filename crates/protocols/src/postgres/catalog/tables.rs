//! The columns of the catalog's tables, as PostgreSQL 16 has them.
//!
//! Those clients ask for. A list (`oids`, `ints`, `texts`) is NULL everywhere.

pub(super) const PG_CATALOG: &[(&str, &str)] = &[
    ("pg_am", "oid oid, amname text, amhandler oid, amtype text"),
    ("pg_attrdef", "oid oid, adrelid oid, adnum int2, adbin text"),
    (
        "pg_attribute",
        "attrelid oid, attname text, atttypid oid, attlen int2, attnum int2, attcacheoff int4, atttypmod int4, attndims int2, \
         attbyval bool, attalign text, attstorage text, attcompression text, attnotnull bool, atthasdef bool, \
         atthasmissing bool, attidentity text, attgenerated text, attisdropped bool, attislocal bool, attinhcount int2, \
         attcollation oid, attstattarget int2, attacl texts, attoptions texts, attfdwoptions texts, attmissingval text",
    ),
    ("pg_auth_members", "oid oid, roleid oid, member oid, grantor oid, admin_option bool"),
    (
        "pg_authid",
        "oid oid, rolname text, rolsuper bool, rolinherit bool, rolcreaterole bool, rolcreatedb bool, rolcanlogin bool, \
         rolreplication bool, rolbypassrls bool, rolconnlimit int4, rolpassword text, rolvaliduntil text",
    ),
    ("pg_aggregate", "aggfnoid oid, aggkind text, aggnumdirectargs int2"),
    (
        "pg_amop",
        "oid oid, amopfamily oid, amoplefttype oid, amoprighttype oid, amopstrategy int2, amopopr oid, amopmethod oid",
    ),
    ("pg_amproc", "oid oid, amprocfamily oid, amproclefttype oid, amprocrighttype oid, amprocnum int2, amproc oid"),
    (
        "pg_conversion",
        "oid oid, conname text, connamespace oid, conowner oid, conforencoding int4, contoencoding int4, condefault bool",
    ),
    ("pg_db_role_setting", "setdatabase oid, setrole oid, setconfig texts"),
    ("pg_largeobject_metadata", "oid oid, lomowner oid, lomacl texts"),
    ("pg_opfamily", "oid oid, opfmethod oid, opfname text, opfnamespace oid, opfowner oid"),
    ("pg_parameter_acl", "oid oid, parname text, paracl texts"),
    ("pg_seclabel", "objoid oid, classoid oid, objsubid int4, provider text, label text"),
    ("pg_statistic_ext_data", "stxoid oid, stxdinherit bool"),
    ("pg_ts_config", "oid oid, cfgname text, cfgnamespace oid, cfgowner oid, cfgparser oid"),
    ("pg_ts_dict", "oid oid, dictname text, dictnamespace oid, dictowner oid, dicttemplate oid, dictinitoption text"),
    ("pg_ts_parser", "oid oid, prsname text, prsnamespace oid"),
    ("pg_ts_template", "oid oid, tmplname text, tmplnamespace oid"),
    ("pg_user_mapping", "oid oid, umuser oid, umserver oid, umoptions texts"),
    ("pg_user_mappings", "umid oid, srvid oid, srvname text, umuser oid, usename text, umoptions texts"),
    ("pg_cast", "oid oid, castsource oid, casttarget oid, castfunc oid, castcontext text, castmethod text"),
    (
        "pg_class",
        "oid oid, relname text, relnamespace oid, reltype oid, reloftype oid, relowner oid, relam oid, relfilenode oid, \
         reltablespace oid, relpages int4, reltuples float4, relallvisible int4, reltoastrelid oid, relhasindex bool, \
         relisshared bool, relpersistence text, relkind text, relnatts int2, relchecks int2, relhasrules bool, \
         relhastriggers bool, relhassubclass bool, relrowsecurity bool, relforcerowsecurity bool, relispopulated bool, \
         relreplident text, relispartition bool, relrewrite oid, relfrozenxid oid, relminmxid oid, relacl texts, \
         reloptions texts, relpartbound text",
    ),
    (
        "pg_collation",
        "oid oid, collname text, collnamespace oid, collowner oid, collprovider text, collisdeterministic bool, \
         collencoding int4, collcollate text, collctype text, colliculocale text, collversion text",
    ),
    (
        "pg_constraint",
        "oid oid, conname text, connamespace oid, contype text, condeferrable bool, condeferred bool, convalidated bool, \
         conrelid oid, contypid oid, conindid oid, conparentid oid, confrelid oid, confupdtype text, confdeltype text, \
         confmatchtype text, conislocal bool, coninhcount int2, connoinherit bool, conkey ints, confkey ints, conbin text",
    ),
    (
        "pg_database",
        "oid oid, datname text, datdba oid, encoding int4, datlocprovider text, datistemplate bool, datallowconn bool, \
         datconnlimit int4, datfrozenxid oid, datminmxid oid, dattablespace oid, datcollate text, datctype text, \
         daticulocale text, daticurules text, datcollversion text, datacl texts",
    ),
    ("pg_default_acl", "oid oid, defaclrole oid, defaclnamespace oid, defaclobjtype text, defaclacl texts"),
    (
        "pg_depend",
        "classid oid, objid oid, objsubid int4, refclassid oid, refobjid oid, refobjsubid int4, deptype text",
    ),
    ("pg_description", "objoid oid, classoid oid, objsubid int4, description text"),
    ("pg_enum", "oid oid, enumtypid oid, enumsortorder float4, enumlabel text"),
    (
        "pg_event_trigger",
        "oid oid, evtname text, evtevent text, evtowner oid, evtfoid oid, evtenabled text, evttags texts",
    ),
    (
        "pg_extension",
        "oid oid, extname text, extowner oid, extnamespace oid, extrelocatable bool, extversion text, extconfig oids, \
         extcondition texts",
    ),
    (
        "pg_foreign_data_wrapper",
        "oid oid, fdwname text, fdwowner oid, fdwhandler oid, fdwvalidator oid, fdwoptions texts",
    ),
    (
        "pg_foreign_server",
        "oid oid, srvname text, srvowner oid, srvfdw oid, srvtype text, srvversion text, srvacl texts, srvoptions texts",
    ),
    ("pg_foreign_table", "ftrelid oid, ftserver oid, ftoptions texts"),
    (
        "pg_index",
        "indexrelid oid, indrelid oid, indnatts int2, indnkeyatts int2, indisunique bool, indnullsnotdistinct bool, \
         indisprimary bool, indisexclusion bool, indimmediate bool, indisclustered bool, indisvalid bool, indcheckxmin bool, \
         indisready bool, indislive bool, indisreplident bool, indkey ints, indcollation oids, indclass oids, \
         indoption ints, indexprs text, indpred text",
    ),
    ("pg_indexes", "schemaname text, tablename text, indexname text, tablespace text, indexdef text"),
    ("pg_inherits", "inhrelid oid, inhparent oid, inhseqno int4, inhdetachpending bool"),
    ("pg_language", "oid oid, lanname text, lanowner oid, lanispl bool, lanpltrusted bool"),
    ("pg_locks", "locktype text, database oid, relation oid, pid int4, mode text, granted bool"),
    (
        "pg_matviews",
        "schemaname text, matviewname text, matviewowner text, tablespace text, hasindexes bool, ispopulated bool, \
         definition text",
    ),
    ("pg_namespace", "oid oid, nspname text, nspowner oid, nspacl texts"),
    ("pg_opclass", "oid oid, opcmethod oid, opcname text, opcnamespace oid, opcintype oid, opcdefault bool"),
    ("pg_operator", "oid oid, oprname text, oprnamespace oid, oprkind text, oprleft oid, oprright oid, oprresult oid"),
    ("pg_partitioned_table", "partrelid oid, partstrat text, partnatts int2, partdefid oid, partattrs ints"),
    (
        "pg_policy",
        "oid oid, polname text, polrelid oid, polcmd text, polpermissive bool, polroles oids, polqual text, polwithcheck text",
    ),
    (
        "pg_proc",
        "oid oid, proname text, pronamespace oid, proowner oid, prolang oid, procost float4, prorows float4, \
         provariadic oid, prokind text, prosecdef bool, proleakproof bool, proisstrict bool, proretset bool, \
         provolatile text, proparallel text, pronargs int2, pronargdefaults int2, prorettype oid, proargtypes oids, \
         proallargtypes oids, proargmodes texts, proargnames texts, prosrc text, proacl texts",
    ),
    (
        "pg_publication",
        "oid oid, pubname text, pubowner oid, puballtables bool, pubinsert bool, pubupdate bool, pubdelete bool, \
         pubtruncate bool, pubviaroot bool",
    ),
    ("pg_publication_namespace", "oid oid, pnpubid oid, pnnspid oid"),
    ("pg_publication_rel", "oid oid, prpubid oid, prrelid oid, prqual text, prattrs ints"),
    ("pg_range", "rngtypid oid, rngsubtype oid, rngmultitypid oid, rngcollation oid"),
    ("pg_rewrite", "oid oid, rulename text, ev_class oid, ev_type text, ev_enabled text, is_instead bool"),
    (
        "pg_roles",
        "oid oid, rolname text, rolsuper bool, rolinherit bool, rolcreaterole bool, rolcreatedb bool, rolcanlogin bool, \
         rolreplication bool, rolconnlimit int4, rolpassword text, rolvaliduntil text, rolbypassrls bool, rolconfig texts",
    ),
    ("pg_rules", "schemaname text, tablename text, rulename text, definition text"),
    (
        "pg_sequence",
        "seqrelid oid, seqtypid oid, seqstart int8, seqincrement int8, seqmax int8, seqmin int8, seqcycle bool",
    ),
    ("pg_sequences", "schemaname text, sequencename text, sequenceowner text, last_value int8"),
    ("pg_settings", "name text, setting text, unit text, category text, short_desc text, context text, vartype text"),
    ("pg_shdescription", "objoid oid, classoid oid, description text"),
    (
        "pg_stat_activity",
        "datid oid, datname text, pid int4, usename text, application_name text, state text, query text",
    ),
    ("pg_stat_user_tables", "relid oid, schemaname text, relname text, n_live_tup int8"),
    (
        "pg_statistic_ext",
        "oid oid, stxrelid oid, stxname text, stxnamespace oid, stxowner oid, stxstattarget int4, stxkeys ints, stxkind texts",
    ),
    ("pg_subscription", "oid oid, subdbid oid, subname text, subowner oid, subenabled bool"),
    (
        "pg_tables",
        "schemaname text, tablename text, tableowner text, tablespace text, hasindexes bool, hasrules bool, \
         hastriggers bool, rowsecurity bool",
    ),
    ("pg_tablespace", "oid oid, spcname text, spcowner oid, spcacl texts, spcoptions texts"),
    (
        "pg_trigger",
        "oid oid, tgrelid oid, tgparentid oid, tgname text, tgfoid oid, tgtype int2, tgenabled text, tgisinternal bool, \
         tgconstrrelid oid, tgconstrindid oid, tgconstraint oid, tgdeferrable bool, tginitdeferred bool, tgnargs int2",
    ),
    (
        "pg_type",
        "oid oid, typname text, typnamespace oid, typowner oid, typlen int2, typbyval bool, typtype text, typcategory text, \
         typispreferred bool, typisdefined bool, typdelim text, typrelid oid, typsubscript text, typelem oid, typarray oid, \
         typinput text, typoutput text, typreceive text, typsend text, typmodin text, typmodout text, typanalyze text, \
         typalign text, typstorage text, typnotnull bool, typbasetype oid, typtypmod int4, typndims int4, typcollation oid, \
         typdefault text, typacl texts",
    ),
    (
        "pg_user",
        "usename text, usesysid oid, usecreatedb bool, usesuper bool, userepl bool, passwd text, valuntil text",
    ),
    ("pg_views", "schemaname text, viewname text, viewowner text, definition text"),
];

pub(super) const INFORMATION_SCHEMA: &[(&str, &str)] = &[
    (
        "columns",
        "table_catalog text, table_schema text, table_name text, column_name text, ordinal_position int4, \
         column_default text, is_nullable text, data_type text, character_maximum_length int4, character_octet_length int4, \
         numeric_precision int4, numeric_precision_radix int4, numeric_scale int4, datetime_precision int4, \
         interval_type text, interval_precision int4, character_set_name text, collation_catalog text, \
         collation_schema text, collation_name text, domain_catalog text, domain_schema text, domain_name text, \
         udt_catalog text, udt_schema text, udt_name text, dtd_identifier text, is_self_referencing text, is_identity text, \
         identity_generation text, is_generated text, generation_expression text, is_updatable text",
    ),
    (
        "constraint_column_usage",
        "table_catalog text, table_schema text, table_name text, column_name text, constraint_catalog text, \
         constraint_schema text, constraint_name text",
    ),
    (
        "key_column_usage",
        "constraint_catalog text, constraint_schema text, constraint_name text, table_catalog text, table_schema text, \
         table_name text, column_name text, ordinal_position int4, position_in_unique_constraint int4",
    ),
    (
        "referential_constraints",
        "constraint_catalog text, constraint_schema text, constraint_name text, unique_constraint_catalog text, \
         unique_constraint_schema text, unique_constraint_name text, match_option text, update_rule text, delete_rule text",
    ),
    (
        "routines",
        "specific_catalog text, specific_schema text, specific_name text, routine_catalog text, routine_schema text, \
         routine_name text, routine_type text, data_type text, type_udt_name text, routine_definition text",
    ),
    (
        "parameters",
        "specific_catalog text, specific_schema text, specific_name text, ordinal_position int4, parameter_mode text, \
         parameter_name text, data_type text, udt_name text",
    ),
    (
        "schemata",
        "catalog_name text, schema_name text, schema_owner text, default_character_set_name text, sql_path text",
    ),
    (
        "sequences",
        "sequence_catalog text, sequence_schema text, sequence_name text, data_type text, start_value text, increment text",
    ),
    (
        "table_constraints",
        "constraint_catalog text, constraint_schema text, constraint_name text, table_catalog text, table_schema text, \
         table_name text, constraint_type text, is_deferrable text, initially_deferred text, enforced text",
    ),
    (
        "table_privileges",
        "grantor text, grantee text, table_catalog text, table_schema text, table_name text, privilege_type text, \
         is_grantable text",
    ),
    (
        "tables",
        "table_catalog text, table_schema text, table_name text, table_type text, self_referencing_column_name text, \
         reference_generation text, user_defined_type_catalog text, user_defined_type_schema text, \
         user_defined_type_name text, is_insertable_into text, is_typed text, commit_action text",
    ),
    ("triggers", "trigger_catalog text, trigger_schema text, trigger_name text, event_object_table text"),
    (
        "views",
        "table_catalog text, table_schema text, table_name text, view_definition text, check_option text, \
         is_updatable text, is_insertable_into text",
    ),
];
