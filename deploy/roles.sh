#!/bin/sh
# Makes the two roles and the database. The image of PostgreSQL runs it once, in a new
# data directory; by hand, as a superuser, with PGHOST and the like and the two passwords:
#
#     RUNLEDGER_OWNER_PASSWORD=… RUNLEDGER_APP_PASSWORD=… ./roles.sh
set -eu
: "${RUNLEDGER_OWNER_PASSWORD:?}" "${RUNLEDGER_APP_PASSWORD:?}"
# psql reads the passwords from the environment: an argument could be seen by other users.
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv owner_password RUNLEDGER_OWNER_PASSWORD
\getenv app_password RUNLEDGER_APP_PASSWORD
CREATE ROLE runledger_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE runledger_app LOGIN PASSWORD :'app_password';
CREATE DATABASE runledger OWNER runledger_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE runledger FROM PUBLIC;
GRANT CONNECT ON DATABASE runledger TO runledger_app;
SQL
