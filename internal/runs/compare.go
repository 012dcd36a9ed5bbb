package runs

import (
	"bytes"
	"slices"

	"github.com/runledger/runledger/evidence"
)

// revision is an llm_run record as stored.
type revision struct {
	number int64
	native bool             // a producer's own completion of the run
	record *evidence.Record // as far as its content still opens
	leaf   *evidence.Leaf
}

// uncompared are the facts of a revision that follow from its being one.
var uncompared = []string{"revision", "record_count", "sealed_by", "conflict_of", "producer", "producer_seq"}

// fromContent are the facts that come from sealed content, or from hints that
// are read from it. Where content was erased they cannot be had again, and stay
// as they were.
var fromContent = []string{
	"agent_name", "conversation_id", "correlation_id", "executor_type", "is_synthetic", "run_alias", "source",
	"synthetic_scenario_id",
}

// copies are the sealed fields that repeat content of other records.
var copies = []string{"/inflection_reason", "/prompt", "/prompt_hash", "/response", "/response_hash"}

// changed reports whether a run now says something else than its newest
// revision did. erased says that content of the run was erased: what can no
// longer be known is then taken over from that revision, if it is public, and
// not said again, if it is not.
func changed(prev *revision, now *evidence.Record, erased bool) bool {
	differ := false
	for _, f := range evidence.PublicFields(evidence.KindLLMRun) {
		if slices.Contains(uncompared, f.Name) || erased && (f.Name == "actor_type" || f.Name == "origin") {
			continue
		}
		differ = differ || !sameFact(prev.record, now, f.Name)
	}
	for _, path := range append([]string{"/actor", "/subject"}, copies...) {
		differ = differ || !erased && !sameSealed(prev, now, path)
	}
	return differ
}

// carry takes over from the newest revision what can no longer be known of a run
// since content was erased, if it is public; content is not said again.
func carry(prev *revision, now *evidence.Record) {
	for _, name := range fromContent {
		f, ok := prev.record.Fact(name)
		switch {
		case !ok:
		case f.Field.Type.IsText():
			now.SetText(name, nameOf(prev.record, &f))
		default:
			now.SetInt(name, f.Int)
		}
	}
	now.Sealed = slices.DeleteFunc(now.Sealed, func(v evidence.SealedValue) bool { return slices.Contains(copies, v.Path) })
}

func sameFact(a, b *evidence.Record, name string) bool {
	fa, oka := a.Fact(name)
	fb, okb := b.Fact(name)
	if oka && fa.Field.Type.IsText() && nameOf(a, &fa) == "" {
		return true // it was erased
	}
	if !oka || !okb {
		return oka == okb
	}
	switch {
	case fa.Field.Type == evidence.TypeNames:
		if gone := a.SealedJSON("/"+name) == nil && slices.ContainsFunc(fa.List, evidence.IsReplacement); gone {
			return true
		}
		return slices.Equal(namesOf(a, &fa), namesOf(b, &fb))
	case fa.Field.Type.IsText():
		return nameOf(a, &fa) == nameOf(b, &fb)
	default:
		return fa.Int == fb.Int
	}
}

func sameSealed(prev *revision, now *evidence.Record, path string) bool {
	_, said := prev.leaf.Commitment(path)
	text := now.SealedJSON(path)
	if !said || text == nil {
		return said == (text != nil)
	}
	old := prev.record.SealedJSON(path)
	return old == nil || bytes.Equal(old, text) // erased, or the same
}
