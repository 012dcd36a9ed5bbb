package postgres

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/store/pgtest"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestSchemaText sees that schema.txt is what the migrations make.
func TestSchemaText(t *testing.T) {
	dsns := pgtest.Database(t)
	cfg := Config{DSN: dsns.App, OwnerDSN: dsns.Owner}
	db, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var lines []string
	if err := db.with(context.Background(), func(r *reader) error {
		list, err := r.readSchema(context.Background())
		for _, o := range list {
			lines = append(lines, o.kind+"\t"+o.name+"\t"+o.definition)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile("schema.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(schemaText, got); diff != "" {
		t.Errorf("schema.txt is not what the migrations make; run the test with -update (-file +made):\n%s", diff)
	}
}
