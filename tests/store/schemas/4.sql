BEGIN TRANSACTION;
CREATE TABLE tsdiag_curves (
	run VARCHAR(32) NOT NULL, 
	chunk INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	"where" VARCHAR(255) NOT NULL, 
	unit VARCHAR(128) NOT NULL, 
	first_step DOUBLE NOT NULL, 
	last_step DOUBLE NOT NULL, 
	length INTEGER NOT NULL, 
	checksum BIGINT NOT NULL, 
	steps BLOB NOT NULL, 
	"values" BLOB NOT NULL, 
	PRIMARY KEY (run, chunk, name, "where")
);
CREATE TABLE tsdiag_findings (
	run VARCHAR(32) NOT NULL, 
	study VARCHAR(255) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	cause VARCHAR(64), 
	validation_loss DOUBLE, 
	diagnosis TEXT NOT NULL, 
	written DATETIME NOT NULL, 
	PRIMARY KEY (run)
);
CREATE TABLE tsdiag_interventions (
	run VARCHAR(32) NOT NULL, 
	study VARCHAR(255) NOT NULL, 
	"plan" TEXT NOT NULL, 
	settled TEXT, 
	verification TEXT, 
	written DATETIME NOT NULL, 
	PRIMARY KEY (run)
);
INSERT INTO "tsdiag_interventions" VALUES('012dddaa0b7d47e083b57334b3769c95','kept','a plan','a set','{"version":1,"run":"012dddaa0b7d47e083b57334b3769c95","complete":true,"repair":null,"verdicts":{},"tried":[],"left_out":{},"random":null,"runs":0,"seconds":0.0,"summary":""}','2026-11-26 04:39:50.900516');
CREATE TABLE tsdiag_leases (
	"key" VARCHAR(255) NOT NULL, 
	owner VARCHAR(255) NOT NULL, 
	claimed DATETIME NOT NULL, 
	expires DATETIME NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE tsdiag_runs (
	id VARCHAR(32) NOT NULL, 
	study VARCHAR(255) NOT NULL, 
	trial INTEGER, 
	role VARCHAR(16) NOT NULL, 
	label VARCHAR(255) NOT NULL, 
	seed BIGINT NOT NULL, 
	config TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	max_steps BIGINT NOT NULL, 
	validation_loss DOUBLE, 
	last_validation_loss DOUBLE, 
	metrics TEXT NOT NULL, 
	parameters BIGINT, 
	seconds DOUBLE, 
	cpu_seconds DOUBLE, 
	environment TEXT NOT NULL, 
	checkpoint VARCHAR(255), 
	weights VARCHAR(255), 
	parent VARCHAR(32), 
	origin VARCHAR(32), 
	started DATETIME NOT NULL, 
	updated DATETIME NOT NULL, 
	finished DATETIME, 
	PRIMARY KEY (id)
);
INSERT INTO "tsdiag_runs" VALUES('012dddaa0b7d47e083b57334b3769c95','kept',0,'trial','',0,'{}','completed','',0,0,NULL,NULL,'{}',NULL,0.0,0.0,'{}',NULL,NULL,NULL,NULL,'2026-11-26 04:39:50.809069','2026-11-26 04:39:50.809069','2026-11-26 04:39:50.809069');
CREATE TABLE tsdiag_schema (
	version INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	applied DATETIME NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "tsdiag_schema" VALUES(1,'first-tables','2026-11-26 04:39:50.743528');
INSERT INTO "tsdiag_schema" VALUES(2,'findings','2026-11-26 04:39:50.745103');
INSERT INTO "tsdiag_schema" VALUES(3,'interventions','2026-11-26 04:39:50.746339');
INSERT INTO "tsdiag_schema" VALUES(4,'run-indices','2026-11-26 04:39:50.756741');
CREATE TABLE tsdiag_studies (
	name VARCHAR(255) NOT NULL, 
	created DATETIME NOT NULL, 
	spec TEXT NOT NULL, 
	summary TEXT, 
	floors TEXT, 
	verdict TEXT, 
	attributes TEXT NOT NULL, 
	looks INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "tsdiag_studies" VALUES('kept','2026-11-26 04:39:50.783202','{"search":{"trials":3}}',NULL,NULL,NULL,'{}',0);
CREATE INDEX tsdiag_runs_by_state ON tsdiag_runs (study, state, role);
CREATE INDEX tsdiag_runs_by_loss ON tsdiag_runs (study, role, validation_loss, trial, state);
CREATE INDEX tsdiag_runs_by_parent ON tsdiag_runs (study, parent);
CREATE INDEX tsdiag_runs_of_study ON tsdiag_runs (study, role, trial);
CREATE INDEX tsdiag_findings_of_study ON tsdiag_findings (study, kind, state, validation_loss);
CREATE INDEX tsdiag_interventions_of_study ON tsdiag_interventions (study);
COMMIT;
