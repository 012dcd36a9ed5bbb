package dialect

import (
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// TestMany: reading takes time in proportion to what there is. Each of these
// took a minute or more when it did not.
func TestMany(t *testing.T) {
	const many = 250_000
	tests := map[string]func(ptrace.Span){
		"policies": func(s ptrace.Span) {
			list := s.Attributes().PutEmptySlice("runledger.policy_ids")
			for i := range many {
				list.AppendEmpty().SetStr(fmt.Sprint(i))
			}
		},
		"policies of events": func(s ptrace.Span) {
			for i := range many {
				s.Events().AppendEmpty().Attributes().PutStr("runledger.incident_id", fmt.Sprint(i))
			}
		},
		"parts":         numbered("contents.%d.message_content.text", many),
		"calls":         numbered("tool_calls.%d.tool_call.id", many),
		"members":       numbered("contents.0.message_content.x%d", many),
		"other members": numbered("x%d", many),
	}
	for name, fill := range tests {
		t.Run(name, func(t *testing.T) {
			span := ptrace.NewSpan()
			fill(span)
			start := time.Now()
			Default().ReadSpan(pcommon.NewResource(), pcommon.NewInstrumentationScope(), span)
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %s", took)
			}
		})
	}
}

func numbered(format string, many int) func(ptrace.Span) {
	return func(s ptrace.Span) {
		list := make(map[string]any, many+1)
		list["openinference.span.kind"] = "LLM"
		for i := range many {
			list["llm.input_messages.0.message."+fmt.Sprintf(format, i)] = "x"
		}
		_ = s.Attributes().FromRaw(list)
	}
}
