package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A report is composed once, as blocks; HTML and PDF only draw them. So the two
// always say the same.
type (
	block any

	// heading opens a section (level 1, in the contents) or a part of one.
	heading struct {
		Level  int
		Text   string
		Anchor string
	}
	// para is running text.
	para struct {
		Text string
		Tone tone
	}
	// notice is text that must not be overlooked.
	notice struct {
		Text string
		Tone tone
	}
	facts    struct{ Rows []Fact }
	verbatim struct {
		Text    string
		Command bool
	}
	table struct {
		Columns []column
		Rows    [][]cell
	}
	column struct {
		Title string
		Width float64 // relative to the others
		Right bool    // numbers
		Whole bool    // not broken in the page
	}
	cell struct {
		Text   string
		Sub    string // below, smaller in meaning
		Tone   tone
		Indent int
	}
	// field is a sealed field of a step.
	field struct {
		Path string
		Text string
		Code bool   // Text is JSON with indents
		Note string // why there is no text, or not all of it
	}
	picture struct{ *drawing }
)

// composer collects the blocks of one report.
type composer struct {
	blocks  []block
	anchors int
	content int // bytes of sealed content shown so far
}

func (c *composer) add(b ...block) { c.blocks = append(c.blocks, b...) }

func (c *composer) section(title string) {
	c.anchors++
	c.add(heading{1, title, fmt.Sprintf("s%d", c.anchors)})
}

// compose returns the blocks after the cover, and never fails: a report of an empty
// model says what there is not.
func compose(m *Model) []block {
	c := &composer{}
	c.glance(m)
	if m.Window != nil {
		c.window(m)
	}
	if m.Profile == "run" {
		c.steps(m)
		c.entries("Governance", "What policies, limits and people decided about this run.", m.Governance, int64(len(m.Governance)), "No governance entry is bound to this run.")
		c.access(m)
		if len(m.System) > 0 {
			c.entries("System events", "What the infrastructure reported in the window.", m.System, int64(len(m.System)), "")
		}
		c.contents(m)
		c.controls(m)
	} else {
		c.controls(m)
		c.period(m)
	}
	c.integrity(m)
	c.verify(m)
	return c.blocks
}

func (c *composer) glance(m *Model) {
	c.section("At a glance")
	for _, n := range m.Notices {
		c.add(notice{short(n, maxFact), warn})
	}
	if len(m.Summary) > 0 {
		c.facts(m.Summary)
	}
	if len(m.Notices) == 0 && len(m.Summary) == 0 {
		c.add(para{"The evidence holds no summary.", quiet})
	}
}

func (c *composer) facts(rows []Fact) {
	out := make([]Fact, len(rows))
	for i, f := range rows {
		out[i] = Fact{oneLine(short(f.Name, maxCell)), short(f.Value, maxFact)}
	}
	c.add(facts{out})
}

func (c *composer) window(m *Model) {
	w := m.Window
	c.section("Around the turning point")
	c.add(para{fmt.Sprintf("The window from %s to %s, around %s (%s). Times in the drawing are offsets from that point.",
		Clock(w.Start), Clock(w.End), Clock(w.Center), oneLine(short(w.Why, maxCell))), neutral})
	d := draw(w)
	c.add(picture{d})
	if d.Unlabelled > 0 {
		c.add(para{fmt.Sprintf("%s marks are drawn without a label for want of room; see the lists below.", count(int64(d.Unlabelled))), quiet})
	}
	if d.Outside > 0 {
		c.add(para{fmt.Sprintf("%s marks lie outside the window and are not drawn.", count(int64(d.Outside))), quiet})
	}
}

func (c *composer) steps(m *Model) {
	c.section("Steps")
	if len(m.Steps) == 0 {
		c.add(para{"No step of this run is recorded.", quiet})
		return
	}
	if m.StepsTotal > int64(len(m.Steps)) {
		c.add(notice{fmt.Sprintf("%s of %s steps are listed. The ZIP and CSV forms hold them all.", count(int64(len(m.Steps))), count(m.StepsTotal)), warn})
	}
	t := table{Columns: []column{
		{"#", 26, true, true},
		{"Step", 154, false, false},
		{"Time, UTC", 72, false, true},
		{"Duration", 50, true, true},
		{"Status", 56, false, false},
		{"Tokens in / out", 62, true, false},
		{"Cost, USD", 64, true, false},
		{"Leaf", 42, true, true},
	}}
	for _, s := range m.Steps {
		t.Rows = append(t.Rows, []cell{
			{Text: fmt.Sprint(s.Index)},
			{Text: oneLine(short(s.Name, maxCell)), Sub: joined(s.Kind, s.Model, strings.Join(s.Flags, ", ")), Indent: min(max(s.Depth, 0), 8)},
			timeCell(s.At),
			{Text: span(s.DurationUS)},
			{Text: oneLine(short(s.Status, maxCell)), Tone: toneOf(s.Status)},
			{Text: oneLine(short(s.Tokens, maxCell))},
			{Text: oneLine(short(s.Cost, maxCell))},
			{Text: fmt.Sprint(s.LeafIndex)},
		})
	}
	c.add(t)
}

// joined puts what is there side by side.
func joined(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, oneLine(short(p, maxCell)))
		}
	}
	return strings.Join(out, " · ")
}

// contents shows the sealed content of the steps, in their order.
func (c *composer) contents(m *Model) {
	titled := false
	for _, s := range m.Steps {
		if len(s.Content) == 0 {
			continue
		}
		if !titled {
			c.section("Content of the steps")
			c.add(para{"Sealed fields that were disclosed to whoever made this export, as they stand in the evidence. Structures are shown with indents; the exact bytes are in disclosures.jsonl of the ZIP form.", quiet})
			titled = true
		}
		c.add(heading{2, oneLine(fmt.Sprintf("%d  %s", s.Index, short(s.Name, 200))), ""})
		for _, f := range s.Content {
			c.add(c.field(f, s.LeafIndex))
		}
	}
}

func (c *composer) field(f Content, leaf int64) field {
	out := field{Path: oneLine(short(f.Path, 200))}
	if f.Withheld != "" {
		out.Note = "Not shown (" + oneLine(short(f.Withheld, maxCell)) + "). Its commitment is in the evidence."
		return out
	}
	text := readable(f.Value)
	out.Code = text != "" && (text[0] == '{' || text[0] == '[')
	kept, _ := cut(text, max(min(maxContent, maxAll-c.content), 0))
	kept, _ = cutLines(kept, maxLines)
	c.content += len(kept)
	if len(kept) < len(text) {
		follow := len(f.Value) - len(kept)
		if out.Code {
			follow = len(f.Value) - written(f.Value, kept)
		}
		out.Note = fmt.Sprintf("Cut here: %s more bytes follow. The whole text is in disclosures.jsonl of the ZIP form: seq %d, path %s.", count(int64(follow)), leaf, out.Path)
	} else if text == "" {
		out.Note = "(empty)"
	}
	out.Text = strings.TrimRight(visible(kept), "\n")
	return out
}

func (c *composer) access(m *Model) {
	if m.AccessesHidden {
		c.section("Access")
		c.add(para{"Who looked at this run is not shown: whoever made this export may not read the audit topic.", quiet})
		return
	}
	c.entries("Access", "Who viewed or exported this run before this export.", m.Accesses, int64(len(m.Accesses)), "No access to this run was recorded before this export.")
}

func (c *composer) period(m *Model) {
	if len(m.Counts) > 0 {
		c.section("Records of the period")
		c.facts(m.Counts)
	}
	groups := []struct {
		title, intro string
		entries      []Entry
	}{
		{"System events", "What the infrastructure reported, in the order of the log.", m.System},
		{"Governance", "What policies, limits and people decided.", m.Governance},
		{"Access", "Who viewed or exported records.", m.Accesses},
	}
	var listed int64
	for _, g := range groups {
		listed += int64(len(g.entries))
	}
	if m.EntriesTotal > listed {
		c.add(notice{fmt.Sprintf("%s of %s records are listed. The ZIP and CSV forms hold them all.", count(listed), count(m.EntriesTotal)), warn})
	}
	for i, g := range groups {
		if len(g.entries) > 0 || (i == 0 && listed == 0) {
			c.entries(g.title, g.intro, g.entries, int64(len(g.entries)), "The period holds no record of this scope.")
		}
	}
	if m.AccessesHidden {
		c.add(para{"Who looked at records is not shown: whoever made this export may not read the audit topic.", quiet})
	}
}

// entries lists audit entries or system events.
func (c *composer) entries(title, intro string, list []Entry, total int64, none string) {
	c.section(title)
	if len(list) == 0 {
		c.add(para{none, quiet})
		return
	}
	c.add(para{intro + " " + count(total) + " in all.", quiet})
	t := table{Columns: []column{
		{"Time, UTC", 76, false, true},
		{"Event", 96, false, false},
		{"Subject", 104, false, false},
		{"Actor", 68, false, false},
		{"Decision", 62, false, false},
		{"Detail", 110, false, false},
		{"Leaf", 42, true, true},
	}}
	for _, e := range list {
		detail := cell{Text: oneLine(short(e.Detail, maxCell))}
		if e.Log != "" {
			detail.Sub = "in log " + oneLine(short(e.Log, 120))
		}
		t.Rows = append(t.Rows, []cell{
			timeCell(e.At),
			{Text: oneLine(short(e.Event, maxCell))},
			{Text: oneLine(short(e.Subject, maxCell))},
			{Text: oneLine(short(e.Actor, maxCell))},
			{Text: oneLine(short(e.Decision, maxCell)), Tone: toneOf(e.Decision)},
			detail,
			{Text: fmt.Sprint(e.LeafIndex)},
		})
	}
	c.add(t)
}

func (c *composer) controls(m *Model) {
	if len(m.Controls) == 0 {
		return
	}
	c.section("Controls")
	c.add(para{"Clauses of laws and standards that these records support. The mapping says where to look; whether a clause is met is for an assessor to judge.", quiet})
	t := table{Columns: []column{{"Clause", 104, false, false}, {"How the records support it", 238, false, false}, {"Where", 120, false, false}, {"Records", 50, true, true}}}
	for _, k := range m.Controls {
		t.Rows = append(t.Rows, []cell{
			{Text: oneLine(short(k.Framework+" "+k.ID, maxCell)), Sub: oneLine(short(k.Title, maxCell))},
			{Text: oneLine(short(k.Supports, 2*maxCell))},
			{Text: oneLine(short(k.Evidence, maxCell))},
			{Text: count(k.Records)},
		})
	}
	c.add(t)
}

func (c *composer) integrity(m *Model) {
	c.section("Integrity")
	if len(m.Integrity) > 0 {
		c.facts(m.Integrity)
	}
	if m.Checkpoint != "" {
		c.add(heading{2, "Checkpoint, word for word", ""}, verbatim{short(strings.TrimRight(m.Checkpoint, "\n"), maxFact), false})
	}
	if len(m.VKeys) > 0 {
		c.add(heading{2, "Verifier keys, as the operator states them", ""}, verbatim{keyLines(m.VKeys), false},
			para{"Obtain each key from the operator by another way and compare: a key that comes with the evidence proves nothing.", quiet})
	}
	if len(m.Withheld) > 0 {
		c.add(heading{2, "Fields that are not shown", ""})
		c.facts(m.Withheld)
	}
}

// keyLines names each key as the commands of Model.Verify do.
func keyLines(keys []string) string {
	var b strings.Builder
	for k, key := range keys {
		fmt.Fprintf(&b, "$KEY%d  %s\n", k, oneLine(short(key, maxFact)))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (c *composer) verify(m *Model) {
	c.section("How to verify")
	if len(m.Verify) == 0 {
		c.add(para{"This report is a view for people and proves nothing by itself. What verifies is the ZIP form of the same export, with a key obtained independently of it.", neutral})
	}
	for _, l := range m.Verify {
		if l.Command {
			c.add(verbatim{short(l.Text, maxFact), true})
			continue
		}
		c.add(para{short(l.Text, maxFact), neutral})
	}
}

// cover are the facts of the first page.
func cover(m *Model) (title, subtitle string, rows []Fact) {
	title = "Evidence report"
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, Fact{name, oneLine(short(value, 300))})
		}
	}
	add("Tenant", m.TenantID)
	if m.Profile == "run" {
		subtitle = "Run " + oneLine(short(m.RunID, 300))
		add("Run", m.RunID)
	} else {
		subtitle = strings.TrimSpace(scopeTitle(m.Scope) + " records")
		add("Scope", m.Scope)
		add("Period", Clock(m.From)+"  to  "+Clock(m.Until)+" (exclusive)")
	}
	add("Export", m.ExportID)
	add("Newest record shown", Clock(m.MadeAt))
	add("Log", m.Log)
	add("Size of the log", count(m.Size)+" records")
	add("Root hash", m.Root)
	return title, subtitle, rows
}

func scopeTitle(scope string) string {
	if scope == "" {
		return ""
	}
	s := oneLine(short(scope, 100))
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:]
}
