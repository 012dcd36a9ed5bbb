package export

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// jsonNote is what the JSON form says of itself.
const jsonNote = "The files of an evidence bundle as one document, for programs that read it. " +
	"The verifiable form is the ZIP: it has the same files under the same names, and README.txt says how to check it."

// writeJSON writes the bundle as one document:
//
//	{"format":"json","verifiable_form":"zip","note":…,
//	 "manifest":{…},           manifest.json, verbatim
//	 "files":{"<path>":"…"}}   every other file, as text, in the order of the ZIP;
//	                           time stamps, which are none, as {"base64":"…"}
//
// So a ZIP can be made from it, and that verifies. It has no reports for people.
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
		fmt.Fprintf(out, "%s:", evidence.QuoteJSON(f.path))
		if err := writeJSONFile(out, f); err != nil {
			return fmt.Errorf("json: %s: %w", f.path, err)
		}
	}
	fmt.Fprint(out, "}}\n")
	return out.Flush() // and the first error of what was written
}

// writeJSONFile writes a file as a JSON value.
func writeJSONFile(out *bufio.Writer, f *file) error {
	before, after := `"`, `"`
	var w io.Writer = escaper{out}
	if strings.HasSuffix(f.path, ".tsr") {
		before, after = `{"base64":"`, `"}`
		encoder := base64.NewEncoder(base64.StdEncoding, out)
		w = encoder
	}
	fmt.Fprint(out, before)
	if _, err := io.Copy(w, f.open()); err != nil {
		return err
	}
	if c, ok := w.(io.Closer); ok {
		if err := c.Close(); err != nil {
			return err
		}
	}
	fmt.Fprint(out, after)
	return nil
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
