package main

import (
	"context"
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/runledger/runledger/internal/store/pgtest"
)

// TestPostgresScripts runs testdata/postgres, each script on a database of its own: the
// DSNs of its roles are $APP, $OWNER and $SUPER, and that of a second database $OTHER
// with $OTHEROWNER. Beside the commands of TestScripts there is
//
//	psql ROLE STATEMENTS  runs SQL as one of the three, on the tables of runledger
func TestPostgresScripts(t *testing.T) {
	pgtest.Get(t)
	cmds := map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"exits": cmdExits, "field": cmdField, "waitserver": cmdWaitServer, "term": cmdTerm, "psql": cmdPsql,
	}
	maps.Copy(cmds, readScriptCommands())
	maps.Copy(cmds, registryScriptCommands())
	testscript.Run(t, testscript.Params{
		Dir: "testdata/postgres",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			db, other := pgtest.Database(t), pgtest.Database(t)
			for name, value := range map[string]string{
				"APP": db.App, "OWNER": db.Owner, "SUPER": db.Super, "OTHER": other.App, "OTHEROWNER": other.Owner,
			} {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: cmds,
	})
}

func cmdPsql(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	cfg, err := pgx.ParseConfig(ts.Getenv(args[0]))
	ts.Check(err)
	cfg.RuntimeParams["search_path"] = "runledger"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	ts.Check(err)
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, args[1]).ReadAll(); (err != nil) != neg {
		ts.Fatalf("%v", err)
	}
}
