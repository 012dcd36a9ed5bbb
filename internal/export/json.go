package export

import (
	"bufio"
	"fmt"
	"io"

	"github.com/runledger/runledger/evidence"
)

// jsonNote is what the JSON form says of itself.
const jsonNote = "The files of an evidence bundle as one document, for programs that read it. " +
	"The verifiable form is the ZIP: it has the same files under the same names, and README.txt says how to check it."

// writeJSON writes the bundle as one document:
//
//	{"format":"json","verifiable_form":"zip","note":…,
//	 "manifest":{…},           manifest.json, verbatim
//	 "files":{"<path>":"…"}}   every other file, as text, in the order of the ZIP
//
// All files of profile run are UTF-8 text, so the ZIP can be made from it.
func (b *Bundle) writeJSON(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintf(out, `{"format":"json","verifiable_form":"zip","note":%s,"manifest":`, evidence.QuoteJSON(jsonNote))
	for i := range b.files {
		f := &b.files[i]
		switch i {
		case 0: // manifest.json
			if _, err := io.Copy(out, f.open()); err != nil {
				return fmt.Errorf("json: %s: %w", f.path, err)
			}
			fmt.Fprint(out, `,"files":{`)
			continue
		case 1:
		default:
			fmt.Fprint(out, ",")
		}
		fmt.Fprintf(out, "%s:\"", evidence.QuoteJSON(f.path))
		if _, err := io.Copy(escaper{out}, f.open()); err != nil {
			return fmt.Errorf("json: %s: %w", f.path, err)
		}
		fmt.Fprint(out, `"`)
	}
	fmt.Fprint(out, "}}\n")
	return out.Flush() // and the first error of what was written
}

// escaper writes UTF-8 text as the inside of a JSON string.
type escaper struct{ w *bufio.Writer }

const hexDigits = "0123456789abcdef"

func (e escaper) Write(p []byte) (int, error) {
	from := 0
	for i, c := range p {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		_, _ = e.w.Write(p[from:i]) // a failed writer stays failed
		from = i + 1
		switch c {
		case '"', '\\':
			_, _ = e.w.Write([]byte{'\\', c})
		case '\n':
			_, _ = e.w.WriteString(`\n`)
		default:
			_, _ = e.w.Write([]byte{'\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	if _, err := e.w.Write(p[from:]); err != nil {
		return 0, err
	}
	return len(p), nil
}
