// Package archive writes stretches of a log to storage that is cheaper and longer-lived
// than the database, checks them there, and reads them back. An archive is a directory or a
// prefix of an S3 bucket; what is in it can be checked and read without this program's
// database, and most of it without this program.
//
// # Layout
//
// A unit is a stretch of a log's leaves, From <= leaf index < To. Units of a log follow one
// another without gap or overlap, the first from 0. A unit named
//
//	<tenant>/<log number>-<12 hex digits of the origin>/<From, 12 digits>-<To, 12 digits>
//
// has these objects below its name:
//
//	checkpoint          signed note of the log (formats.md section 4), of a size >= To
//	log.zip             ZIP with the paths of C2SP tlog-tiles: unzipped it is a part of that log
//	<kind>.jsonl.gz     the leaves of a kind, verbatim, one a line
//	<kind>.parquet      the same as columns
//	manifest.json       names all others with size and digest; written last
//
// There are files of those kinds only that the unit has records of. A unit without
// manifest.json is not one: writing it was interrupted, or the manifest is missing.
//
// # manifest.json
//
// RFC 8785 (JCS), one object:
//
//	format           "runledger archive unit v1"
//	tenant_id        text
//	log              {"log_no": int, "origin": text, "vkey": text}
//	from, to         leaf indexes
//	first_at         recorded_at of leaf From      last_at   of leaf To-1
//	checkpoint_size  tree size of checkpoint
//	previous         "sha256:" and the digest of the manifest of the unit that ends at From; "" where From is 0
//	sealed           false: no content is in an archive
//	at               when it was written
//	files            [{"path","sha256" (hex),"size"}], by path
//	kinds            {"<kind>": {"records": int}}
//
// # log.zip
//
// Entries one behind another from byte 0, without extra fields, comments and data
// descriptors, times zero: entry bundles are deflated, all else is stored. In this order:
//
//	tile/entries/<N>[.p/<W>]  then  tile/0/<N>[.p/<W>]   for each bundle with leaves of the unit
//	tile/<L>/…                upwards, what leads from those tiles to the root: the tiles that
//	                          hold the hash of one below, and at each level the partial tile at
//	                          the right edge of the tree
//	checkpoint                the same bytes as the object
//
// Bundles are whole, so the first begins at From rounded down to 256; the last ends at To.
// Tiles are those of the checkpoint's tree.
//
// # Parquet
//
// A row a leaf, in order of the leaf index; columns, zstd:
//
//	tenant_id    text             log_no      int64
//	leaf_index   int64            leaf_hash   32 bytes
//	id           UUID             recorded_at, occurred_at  timestamp, µs, UTC
//	run_id       text?            n           int64?
//	and the public fields of the kind as in fields.md: names, enumerations and digits as
//	text, counts as int64, times as timestamps, arrays as lists
//
// Each row group has the least and greatest value, and the number of nulls, of each column. Files have
// nothing else that readers go by: no page indexes, bloom filters, metadata or other files (ADR 046).
//
// # What checking shows, and what not
//
// A unit is good if each object has the digest that the manifest says, the checkpoint is
// signed by the log's key, each leaf is in the tree that it signs, and each line and each
// column says what its leaf says. Digests of manifests chain the units of a log. That the
// last units of a log are missing, all objects of them, only who knows where it ended can
// tell: the database has the units on record ([store.ArchiveUnit]), and Archive.Verify
// compares with that.
//
// What is read of an object is bounded by what a unit can have, also where no record says which
// digest it must have: somebody may have made it to harm who checks it. Of a Parquet file a
// library reads the footer only, after it was looked through for lists that are longer than
// theirs can be; its pages are read here, column by column, and may take maxFilePages at once.
//
// What Write reads back it compares with the signed tree as Check does. That a leaf is in
// form it found when it parsed it, before it wrote it. Of Parquet columns both compare keyed
// digests of the values that the leaves have with those of the values that the file has.
package archive
