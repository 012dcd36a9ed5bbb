package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/testneeds"
)

var (
	update = flag.Bool("update", false, "write the golden files anew")
	keep   = flag.String("keep", "", "keep the reports of TestReports in this directory, to be looked at")
)

var testModels = []struct {
	name  string
	model func() *Model
}{
	{"run", runModel},
	{"period", periodModel},
	{"scripts", scriptsModel},
	{"long", func() *Model { return longModel(100) }},
	{"empty", func() *Model { return &Model{Profile: "run"} }},
	{"nothing", func() *Model { return &Model{} }},
}

func pdfOf(t testing.TB, m *Model) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := PDF(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func htmlOf(t testing.TB, m *Model) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReports(t *testing.T) {
	for _, m := range testModels {
		t.Run(m.name, func(t *testing.T) {
			pdf, page := pdfOf(t, m.model()), htmlOf(t, m.model())
			if !bytes.Equal(pdf, pdfOf(t, m.model())) || !bytes.Equal(page, htmlOf(t, m.model())) {
				t.Error("the same model gave other bytes")
			}
			checkPage(t, page)
			if *keep != "" {
				os.WriteFile(filepath.Join(*keep, m.name+".pdf"), pdf, 0o600)
				os.WriteFile(filepath.Join(*keep, m.name+".html"), page, 0o600)
			}
		})
	}
}

// texts are all strings of the blocks, in order.
func texts(m *Model) []string {
	title, subtitle, rows := cover(m)
	out := []string{title, subtitle}
	for _, f := range rows {
		out = append(out, f.Name, f.Value)
	}
	for _, b := range compose(m) {
		switch b := b.(type) {
		case heading:
			out = append(out, b.Text)
		case para:
			out = append(out, b.Text)
		case notice:
			out = append(out, b.Text)
		case facts:
			for _, f := range b.Rows {
				out = append(out, f.Name, f.Value)
			}
		case verbatim:
			out = append(out, b.Text)
		case table:
			for _, c := range b.Columns {
				out = append(out, c.Title)
			}
			for _, r := range b.Rows {
				for _, c := range r {
					out = append(out, c.Text, c.Sub)
				}
			}
		case field:
			out = append(out, b.Path, b.Text, b.Note)
		case picture:
			out = append(out, b.CenterText)
			for _, l := range b.Labels {
				out = append(out, l.Text)
			}
		}
	}
	return out
}

// TestTexts compares what reports say with golden files.
func TestTexts(t *testing.T) {
	for _, m := range testModels[:3] {
		t.Run(m.name, func(t *testing.T) {
			got := strings.Join(texts(m.model()), "\n") + "\n"
			golden := filepath.Join("testdata", m.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the report says other things (-want +got):\n%s", diff)
			}
		})
	}
}

// pdfText is what another program reads in a PDF, in the order of drawing.
func pdfText(t *testing.T, pdf []byte) string {
	t.Helper()
	testneeds.Program(t, "pdftotext")
	name := filepath.Join(t.TempDir(), "report.pdf")
	if err := os.WriteFile(name, pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("pdftotext", "-raw", "-enc", "UTF-8", name, "-")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	text, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("pdftotext: %v %s", err, complaints.String())
	}
	return string(text)
}

func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

// TestPDFText finds every text of the report in the PDF, read by another program.
func TestPDFText(t *testing.T) {
	for _, m := range []*Model{runModel(), periodModel()} {
		text := pdfText(t, pdfOf(t, m))
		_, subtitle, _ := cover(m)
		var kept []string
		for line := range strings.Lines(text) { // without what runs along the edges
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "Evidence report · ") && !strings.HasPrefix(line, "Export "+m.ExportID) && !strings.HasPrefix(line, "A view of evidence") &&
				!regexp.MustCompile(`^\d+ of \d+$`).MatchString(line) {
				kept = append(kept, line)
			}
		}
		body := squeeze(strings.Join(kept, ""))
		for _, want := range append(texts(m), subtitle) {
			if want == "Export" || want == m.ExportID { // looks like an edge, and is looked for below
				continue
			}
			if !strings.Contains(body, squeeze(want)) {
				t.Errorf("%s: the PDF does not say %q", m.Profile, want)
			}
		}
		pages := regexp.MustCompile(`(\d+) of (\d+)`).FindAllStringSubmatch(text, -1)
		if len(pages) < 3 || pages[len(pages)-1][1] != pages[len(pages)-1][2] || !strings.Contains(text, "Export "+m.ExportID) {
			t.Errorf("%s: pages are not numbered, or do not name the export: %v", m.Profile, pages)
		}
	}
}

// TestPDFScripts: letters are read as letters, also where joined forms are drawn.
func TestPDFScripts(t *testing.T) {
	text := pdfText(t, pdfOf(t, scriptsModel()))
	for _, want := range []string{
		"البطاقة", "القاعدة", "پرداخت", "התשלום", "הכרטיס", "付款被拒绝", "支払いは拒否", "결제가", "Платёж", "απορρίφθηκε", "մերժվել", "უარყოფილია",
		"U+092D", "U+0E1B", "U+1F389", "⟨U+202E⟩deton", "⟨0xFF⟩⟨0xFE⟩", "⟨U+0000⟩",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the PDF does not say %q", want)
		}
	}
	for _, r := range text {
		if r == 0x202e || r == 0 || r == 0x1b {
			t.Errorf("the PDF has the control U+%04X", r)
		}
	}
}

var styleTag = regexp.MustCompile(`(?s)<style>(.*?)</style>`)

// checkPage holds a page to its promises: well formed, no script, nothing loaded, no
// style but the one whose digest its policy names.
func checkPage(t *testing.T, page []byte) {
	t.Helper()
	styles := styleTag.FindAllSubmatch(page, -1)
	if len(styles) != 1 {
		t.Fatalf("%d style sheets", len(styles))
	}
	sum := sha256.Sum256(styles[0][1])
	want := `content="default-src &#39;none&#39;; style-src &#39;sha256-` + base64.StdEncoding.EncodeToString(sum[:])
	if !bytes.Contains(page, []byte(want)) {
		t.Error("the policy does not name the digest of the style sheet")
	}
	rest := bytes.Replace(page, styles[0][0], nil, 1)
	d := xml.NewDecoder(bytes.NewReader(rest))
	d.Strict = false
	d.AutoClose = []string{"meta", "col"}
	d.Entity = xml.HTMLEntity
	depth := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			checkElement(t, token)
		case xml.EndElement:
			depth--
		}
	}
	if depth != 0 {
		t.Errorf("%d elements are left open", depth)
	}
}

var allowed = strings.Fields(`html head meta title body main header p h1 h2 h3 table colgroup col thead tbody tr th td small
	pre nav ol li a section div bdi footer svg rect path polygon text`)

func checkElement(t *testing.T, e xml.StartElement) {
	t.Helper()
	if !strings.Contains(" "+strings.Join(allowed, " ")+" ", " "+e.Name.Local+" ") {
		t.Errorf("element <%s>", e.Name.Local)
	}
	for _, a := range e.Attr {
		name := strings.ToLower(a.Name.Local)
		if strings.HasPrefix(name, "on") || name == "style" || name == "src" || (name == "href" && !strings.HasPrefix(a.Value, "#s")) {
			t.Errorf("<%s %s=%q>", e.Name.Local, a.Name.Local, a.Value)
		}
	}
}

// hostile fills every string of a report with text that tries to get out of its place.
func hostile(text string) *Model {
	m := runModel()
	m.TenantID, m.RunID, m.ExportID, m.Log, m.Root, m.Checkpoint, m.VKeys = text, text, text, text, text, text, []string{text, text}
	f := []Fact{{text, text}}
	m.Summary, m.Integrity, m.Withheld, m.Counts, m.Notices = f, f, f, f, []string{text}
	m.Verify = []Line{{text, true}, {text, false}}
	m.Window.Why = text
	m.Window.Marks = []Mark{
		{text, m.Window.Start, 1 << 62, text, text, 1 << 52, text},
		{"step", m.Window.End, -1, text, text, -1, text},
		{"policy", m.Window.Center, 5, text, text, 1, text},
	}
	e := []Entry{{0, text, text, text, text, text, 1, text}}
	m.Governance, m.Accesses, m.System = e, e, e
	m.Controls = []Control{{text, text, text, text, text, 1}}
	m.Steps = []Step{{
		Depth: 1 << 30, Kind: text, Name: text, Status: text, Model: text, Tokens: text, Cost: text, Flags: []string{text},
		Content: []Content{{text, text, ""}, {"/prompt", text, text}, {"/q", `"` + text, ""}},
	}}
	return m
}

func TestHostile(t *testing.T) {
	for _, text := range []string{
		`</style><script>alert(1)</script><img src=x onerror=alert(1)>"'><svg/onload=x>`,
		"\x00\x01\x7f\u0080\u2028\u202e\ufeff\U000e0001\xc0\xaf\xed\xa0\x80",
		strings.Repeat("x", 1<<14), strings.Repeat("字م🎉", 1<<10),
		strings.Repeat("\n", 1<<10), strings.Repeat("a\u0301\u0301\u0301\u0301\u0301\u0301\u0301", 100), strings.Repeat(" ", 5000),
		"{{.}} ${x} %s %!d(string) (\\) ) Tj ET endstream endobj",
	} {
		m := hostile(text)
		page, pdf := htmlOf(t, m), pdfOf(t, m)
		checkPage(t, page)
		if len(page) > 1<<20 || len(pdf) > 3<<20 {
			t.Errorf("%.20q: %d bytes of HTML and %d of PDF", text, len(page), len(pdf))
		}
		if !bytes.HasPrefix(pdf, []byte("%PDF-")) || !bytes.HasSuffix(pdf, []byte("%%EOF\n")) {
			t.Errorf("%.20q: no PDF", text)
		}
		if bytes.ContainsRune(page, 0x202e) || bytes.ContainsRune(page, 0) {
			t.Errorf("%.20q: a control reached the page", text)
		}
	}
}

// TestBounds: sealed content is cut, and what is cut is counted.
func TestBounds(t *testing.T) {
	m := runModel()
	m.Steps = nil
	for i := range 500 {
		m.Steps = append(m.Steps, Step{Index: int64(i), LeafIndex: int64(i), Content: []Content{{"/prompt", `"` + strings.Repeat("w ", 4000) + `"`, ""}}})
	}
	all := 0
	for _, b := range compose(m) {
		f, ok := b.(field)
		if !ok {
			continue
		}
		all += len(f.Text)
		if len(f.Text) > maxContent || (len(f.Text) < 8000 && !strings.Contains(f.Note, "more bytes follow")) {
			t.Fatalf("%d bytes shown, note %q", len(f.Text), f.Note)
		}
	}
	if all > maxAll {
		t.Errorf("%d bytes of content, want at most %d", all, maxAll)
	}
	if pages := bytes.Count(pdfOf(t, m), []byte("/Type /Page\n")); pages > 300 {
		t.Errorf("%d pages", pages)
	}
}

// TestCutJSON: of JSON, which is shown with indents, the bytes that are counted as left
// out are those of the value.
func TestCutJSON(t *testing.T) {
	item := `{"name":"a \"quoted\\\" {text} \\","n":[1,2,{"deep":[[],{}, true]}]}`
	value := `[` + strings.Repeat(item+", ", 300) + item + `]`
	f := (&composer{}).field(Content{Path: "/params", Value: value}, 7)
	var follow int
	digits, _, _ := strings.Cut(strings.TrimPrefix(f.Note, "Cut here: "), " more bytes follow")
	if _, err := fmt.Sscan(strings.ReplaceAll(digits, ",", ""), &follow); err != nil || !f.Code || !strings.Contains(f.Text, "\n    ") {
		t.Fatalf("%v: %+v", err, f)
	}
	squeeze := func(s string) string {
		return strings.NewReplacer(" ", "", "\n", "").Replace(s)
	}
	// All else is white space that was put in or taken out.
	if shown, want := squeeze(f.Text), squeeze(value[:len(value)-follow]); shown != want {
		t.Errorf("%d of %d bytes follow; shown is\n%s\nand before them stands\n%s", follow, len(value), shown, want)
	}
	for i := range len(readable(value)) { // wherever it is cut
		begin := readable(value)[:min(i*50, len(readable(value)))]
		if n := written(value, begin); squeeze(value[:n]) != squeeze(begin) {
			t.Fatalf("%d bytes of the value are %q", n, begin)
		}
		if len(begin) == len(readable(value)) {
			break
		}
	}
	prose := strings.Repeat("two  spaces\n", 1000)
	if f := (&composer{}).field(Content{Path: "/prompt", Value: prose}, 7); !strings.Contains(f.Note, " 11,040 more bytes") {
		t.Errorf("of prose: %s", f.Note)
	}
}

// TestWithheld: what is withheld is never shown, even if a value stands beside it.
func TestWithheld(t *testing.T) {
	m := runModel()
	m.Steps[1].Content = []Content{{Path: "/prompt", Value: "SENTINEL", Withheld: "not_permitted"}}
	m.AccessesHidden = true
	m.Accesses = []Entry{{Actor: "SENTINEL"}}
	page := string(htmlOf(t, m))
	if strings.Contains(page, "SENTINEL") || strings.Contains(pdfText(t, pdfOf(t, m)), "SENTINEL") {
		t.Error("withheld content shows")
	}
	if !strings.Contains(page, "Not shown (not_permitted)") || !strings.Contains(page, "may not read the audit topic") {
		t.Error("the report does not say that something is not shown")
	}
}

func TestConcurrent(t *testing.T) {
	want := pdfOf(t, scriptsModel())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var b bytes.Buffer
			if err := PDF(&b, scriptsModel()); err != nil || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("another report beside it: %v", err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkPDF(b *testing.B) { benchmark(b, pdfOf) }

func BenchmarkHTML(b *testing.B) { benchmark(b, htmlOf) }

func benchmark(b *testing.B, write func(testing.TB, *Model) []byte) {
	for _, c := range []struct {
		name  string
		model *Model
	}{{"steps=12", runModel()}, {"steps=1000", longModel(1000)}} {
		b.Run(c.name, func(b *testing.B) {
			size := len(write(b, c.model)) // fonts are read at their first use
			b.ReportAllocs()
			for b.Loop() {
				write(b, c.model)
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}
