"""The schema of a ledger in PostgreSQL. Texts are bytes there: so any text can be kept, in the order of its characters.

The function `take` does all of one effect: a commit is one round trip. Not here: who calls it.
"""

TAKE = "SELECT {schema}.take($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17)"

_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
SET search_path TO {schema}, pg_catalog;
CREATE TABLE IF NOT EXISTS rows(tab bytea, key bytea, row bytea NOT NULL, PRIMARY KEY(tab, key));
CREATE TABLE IF NOT EXISTS inbox(origin bigint, path bytea, consumer bytea, PRIMARY KEY(origin, path, consumer));
CREATE TABLE IF NOT EXISTS outbox(number bigint PRIMARY KEY, envelope bytea NOT NULL);
CREATE TABLE IF NOT EXISTS outcome(request bytea PRIMARY KEY, answer bytea NOT NULL, at bigint NOT NULL);
CREATE TABLE IF NOT EXISTS record(number bigserial PRIMARY KEY, consumer bytea NOT NULL, origin bigint NOT NULL,
  path bytea NOT NULL, body bytea NOT NULL);
CREATE INDEX IF NOT EXISTS record_origin ON record(origin);
CREATE TABLE IF NOT EXISTS lease(partition int PRIMARY KEY, epoch bigint NOT NULL);
CREATE TABLE IF NOT EXISTS changed(tab bytea, key bytea, number bigint NOT NULL, PRIMARY KEY(tab, key));
CREATE INDEX IF NOT EXISTS changed_number ON changed(tab, number);
CREATE TABLE IF NOT EXISTS marks(one boolean PRIMARY KEY DEFAULT true CHECK (one), owner text NOT NULL DEFAULT '',
  floor bigint NOT NULL DEFAULT 0, number bigint NOT NULL DEFAULT 0, newest bigint NOT NULL DEFAULT 0,
  changes bigint NOT NULL DEFAULT 0);
INSERT INTO marks DEFAULT VALUES ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION take(the_consumer bytea, the_origin bigint, the_path bytea, tables bytea[], keys bytea[],
  news bytea[], events bytea[], the_request bytea, the_outcome bytea, the_at bigint, the_record bytea, part int,
  the_epoch bigint, read_tables bytea[], read_keys bytea[], the_mark bigint, shared boolean) RETURNS int
LANGUAGE plpgsql SET search_path TO {schema}, pg_catalog AS $$
DECLARE now marks%ROWTYPE;
BEGIN
  SELECT * INTO now FROM marks;
  IF the_origin < now.floor THEN RETURN 0; END IF;
  INSERT INTO inbox VALUES(the_origin, the_path, the_consumer) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN 0; END IF;
  IF shared THEN
    IF EXISTS(SELECT 1 FROM lease WHERE partition=part AND epoch>the_epoch) THEN RETURN 2; END IF;
    IF cardinality(read_tables)>0 AND (the_mark < now.changes-100000 OR EXISTS(
      SELECT 1 FROM unnest(read_tables, read_keys) AS read(tab, key) JOIN changed USING (tab)
      WHERE (read.key IS NULL OR read.key=changed.key) AND changed.number>the_mark)) THEN RETURN 3; END IF;
    UPDATE marks SET changes=changes+1;
    INSERT INTO changed SELECT w.tab, w.key, now.changes+1 FROM unnest(tables, keys) AS w(tab, key)
      ON CONFLICT ON CONSTRAINT changed_pkey DO UPDATE SET number=excluded.number;
  END IF;
  IF cardinality(tables)>0 THEN
    DELETE FROM rows USING unnest(tables, keys, news) AS w(tab, key, row)
      WHERE w.row IS NULL AND rows.tab=w.tab AND rows.key=w.key;
    INSERT INTO rows SELECT w.tab, w.key, w.row FROM unnest(tables, keys, news) AS w(tab, key, row)
      WHERE w.row IS NOT NULL ON CONFLICT ON CONSTRAINT rows_pkey DO UPDATE SET row=excluded.row;
  END IF;
  IF cardinality(events)>0 THEN
    INSERT INTO outbox SELECT now.number+e.place, e.event FROM unnest(events) WITH ORDINALITY AS e(event, place);
    UPDATE marks SET number=number+cardinality(events);
  END IF;
  IF length(the_request)>0 THEN
    INSERT INTO outcome VALUES(the_request, the_outcome, the_at)
      ON CONFLICT ON CONSTRAINT outcome_pkey DO UPDATE SET answer=excluded.answer, at=excluded.at;
    UPDATE marks SET newest=greatest(newest, the_at);
  END IF;
  IF length(the_record)>0 THEN
    INSERT INTO record(consumer, origin, path, body) VALUES(the_consumer, the_origin, the_path, the_record);
  END IF;
  RETURN 1;
END $$
"""


def schema_of(schema: str) -> str:
    """Return what makes the tables and the function in a schema, where they are not there yet."""
    return _SCHEMA.format(schema=schema)
