package report

import (
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
)

func at(s string) evidence.Micros {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return evidence.MicrosOf(t)
}

const testLog = "ledger.example/4f1c09a2b7de"

// base has what every report has.
func base() *Model {
	return &Model{
		TenantID: "acme-travel", ExportID: "0192f3c4-7a11-7c52-9d0e-3f6b1c2a9e77",
		MadeAt: at("2026-11-23T16:05:11.204518Z"),
		Log:    testLog, Size: 48213, Root: "deadbeef00000000000000000000000000000000000000000000000000000000",
		Checkpoint: testLog + "\n48213\n3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n" +
			"— " + testLog + " kz8mYpN0vHn2xq3b7QmYdF5cYx0c3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n" +
			"— witness.example.org/w1 aUZ5c2l0ZAAAAABnQfFB3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
		VKeys: []string{
			testLog + "+93cf2662+AZOYnVsbGV0aW4gYm9hcmQgb2YgYW4gZXZpZGVuY2UgbG9n",
			"ledger.example/system000000+0b1c2d3e+AZOYnVsbGV0aW4gYm9hcmQgb2YgYW4gZXZpZGVuY2UgbG9n",
		},
		Integrity: []Fact{
			{"Records in this export", "31, each with an inclusion proof"},
			{"Witnesses", "2 of 3 of the policy cosigned (w1.example.org, w2.example.net)"},
			{"Time stamps", "2026-11-23 16:04:58.000000 UTC by tsa.example.com for size 48,190"},
			{"Completeness", "n = 0 … 24 of 25 records, none missing, 1 late"},
		},
		Withheld: []Fact{{"requested", "2 fields"}, {"erased", "1 field"}},
		Verify: []Line{
			{"Ask the operator for the verifier key by another way than this file, then:", false},
			{"runledger verify export.zip --key \"$KEY0\" --key \"$KEY1\"", true},
			{"Without runledger, compare the digests of the files with the manifest:", false},
			{"sha256sum --check digests.txt", true},
		},
	}
}

// runModel is a run of twelve steps: one fails, and a policy blocks the payment.
func runModel() *Model {
	m := base()
	m.Profile, m.RunID = "run", "run-7f3a9c"
	m.Summary = []Fact{
		{"Outcome", "failure"},
		{"Status", "FAILED"},
		{"Agent", "travel-booker 2.4.1"},
		{"Started", "2026-11-23 16:00:02.000000 UTC"},
		{"Completed", "2026-11-23 16:00:41.337000 UTC"},
		{"Models", "gpt-5-mini, claude-sonnet-4-5"},
		{"Tokens in / out", "18,204 / 2,977"},
		{"Cost", "0.0841 USD"},
		{"Turning point", "step 8, charge_card: policy spend-limit blocked it"},
	}
	m.Notices = []string{
		"1 record arrived after the run's end and is counted as late.",
		"3 sealed fields are not shown: 2 as requested, 1 erased.",
	}
	start := at("2026-11-23T16:00:02Z")
	names := []struct {
		kind, name, status, model string
		depth                     int
		from, ms                  int64
	}{
		{"agent", "plan trip", "success", "", 0, 0, 39337},
		{"llm", "understand request", "success", "gpt-5-mini", 1, 120, 2210},
		{"retrieval", "traveller profile", "success", "", 1, 2400, 340},
		{"tool", "search_flights", "retry", "", 1, 2800, 5200},
		{"tool", "search_flights", "success", "", 1, 8100, 3100},
		{"llm", "rank offers", "success", "claude-sonnet-4-5", 1, 11300, 6100},
		{"tool", "hold_seat", "success", "", 1, 17600, 1900},
		{"guardrail", "spend check", "success", "", 1, 19600, 80},
		{"tool", "charge_card", "failure", "", 1, 19900, 2400},
		{"agent", "recover", "success", "", 1, 22500, 12000},
		{"llm", "explain to the traveller", "success", "gpt-5-mini", 2, 22700, 7800},
		{"tool", "release_seat", "success", "", 2, 31000, 1500},
	}
	for i, s := range names {
		step := Step{
			Index: int64(i), Depth: s.depth, At: start + evidence.Micros(s.from*1000), DurationUS: s.ms * 1000,
			Kind: s.kind, Name: s.name, Status: s.status, Model: s.model, LeafIndex: int64(48150 + 2*i),
		}
		if s.kind == "llm" {
			step.Tokens, step.Cost = "6,068 / 992", "0.0280"
			step.Content = []Content{
				{Path: "/prompt", Value: "You book trips. The traveller asks:\n\n“Zürich to Lisbon on 4 December, back on the 8th, aisle seat, at most 400 €.”\n\nAnswer with a plan."},
				{Path: "/response", Value: "1. Find flights ZRH–LIS.\n2. Hold the cheapest with an aisle seat.\n3. Ask before paying more than 400 €."},
			}
		}
		if s.kind == "tool" {
			step.Content = []Content{
				{Path: "/params", Value: fmt.Sprintf(`{"from":"ZRH","to":"LIS","on":"2026-12-04","max_price":400.00,"seat":"aisle","attempt":%d}`, i)},
				{Path: "/outcome_data", Withheld: "requested"},
			}
		}
		if s.name == "search_flights" && s.status == "success" {
			step.Flags = []string{"late"}
		}
		m.Steps = append(m.Steps, step)
	}
	m.StepsTotal = 12
	m.Window = &Window{
		Center: start + 22_300_000, Start: start - 7_700_000, End: start + 52_300_000, Why: "turning point: step 8 failed",
	}
	for i, s := range m.Steps {
		m.Window.Marks = append(m.Window.Marks, Mark{"step", s.At, s.DurationUS, fmt.Sprintf("%d %s", i, s.Name), s.Status, s.LeafIndex, ""})
	}
	m.Window.Marks = append(m.Window.Marks,
		Mark{"policy", start + 19_650_000, 0, "LimitChecked spend-limit", "near_threshold", 48167, ""},
		Mark{"policy", start + 20_100_000, 0, "PolicyEvaluated spend-limit", "BLOCKED", 48168, ""},
		Mark{"policy", start + 33_000_000, 0, "LimitOverrideGranted", "override", 48175, ""},
		Mark{"system", start - 4_000_000, 0, "api HEALTH_CHECK", "INFO", 48149, ""},
		Mark{"system", start + 6_000_000, 0, "worker RESTART", "WARN", 48158, ""},
		Mark{"system", start + 21_900_000, 0, "db ERROR connection reset", "CRITICAL", 911, "ledger.example/system000000"},
	)
	m.Governance = []Entry{
		{start + 19_650_000, "LimitChecked", "LIMIT spend-limit", "SYSTEM", "near_threshold", "observed 389.00 of 400.00 €", 48167, ""},
		{start + 20_100_000, "PolicyEvaluated", "POLICY_RULE spend-limit/rule-3", "SYSTEM", "BLOCKED", "The card holder did not confirm a payment above 350 €.", 48168, ""},
		{start + 33_000_000, "LimitOverrideGranted", "LIMIT spend-limit", "HUMAN m.keller@acme.example", "granted", "One booking, until 17:00 UTC.", 48175, ""},
	}
	m.Accesses = []Entry{
		{at("2026-11-23T16:03:00Z"), "LOG_VIEW", "LOG /api/v1/logs/llm-runs/run-7f3a9c/trace", "HUMAN m.keller@acme.example", "allowed", "12 records", 48201, ""},
		{at("2026-11-23T16:04:31Z"), "LOG_VIEW", "LOG /api/v1/logs/llm-runs/run-7f3a9c/replay", "HUMAN j.lind@acme.example", "allowed", "21 records", 48207, ""},
	}
	m.System = []Entry{
		{start - 4_000_000, "HEALTH_CHECK", "api", "SYSTEM", "INFO", "all endpoints answer", 48149, ""},
		{start + 6_000_000, "RESTART", "worker", "AUTOMATION", "WARN", "worker-3 restarted after 512 MiB", 48158, ""},
		{start + 21_900_000, "ERROR", "db", "SYSTEM", "CRITICAL", "connection reset by peer, 14 transactions rolled back", 911, "ledger.example/system000000"},
	}
	return m
}

// longModel is a run of n steps with content in several scripts.
func longModel(n int) *Model {
	m := runModel()
	m.Steps, m.Window.Marks = nil, nil
	words := []string{"検索する", "計画を立てる", "search", "résumé", "搜索航班", "예약하기", "проверка"}
	for i := range n {
		at := m.Window.Start + evidence.Micros(int64(i)*60_000_000/int64(n))
		s := Step{
			Index: int64(i), Depth: i % 3, At: at, DurationUS: int64(40_000 + i%7*11_000), Kind: "tool",
			Name: words[i%len(words)] + fmt.Sprintf(" %d", i), Status: "success", Tokens: "812 / 96", Cost: "0.0012", LeafIndex: int64(100 + i),
		}
		if i%97 == 13 {
			s.Status = "failure"
		}
		if i%10 == 0 {
			s.Content = []Content{{Path: "/prompt", Value: fmt.Sprintf("第%d步：请为旅客查找从苏黎世到里斯本的航班，并说明理由。", i)}}
		}
		m.Steps = append(m.Steps, s)
		m.Window.Marks = append(m.Window.Marks, Mark{"step", s.At, s.DurationUS, s.Name, s.Status, s.LeafIndex, ""})
	}
	m.StepsTotal = int64(n) + 400
	return m
}

func periodModel() *Model {
	m := base()
	m.Profile, m.Scope = "period", "compliance"
	m.From, m.Until = at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z")
	m.Summary = []Fact{{"Records", "12,931"}, {"Leaves", "35,282 – 48,212"}, {"Compliance tags", "eu-ai-act, soc2"}}
	m.Counts = []Fact{{"llm_run", "1,204"}, {"trace", "1,204"}, {"audit LOG_VIEW", "311"}, {"audit PolicyEvaluated", "9,840"}, {"system HEALTH_CHECK", "372"}}
	m.EntriesTotal = 12931
	for i := range 60 {
		m.System = append(m.System, Entry{
			m.From + evidence.Micros(i)*3_600_000_000, []string{"PolicyEvaluated", "LOG_VIEW", "LOGIN", "HEALTH_CHECK"}[i%4],
			"POLICY_RULE spend-limit", "SYSTEM", []string{"allowed", "allowed", "BLOCKED", "INFO"}[i%4], "within the limit", int64(35282 + i), "",
		})
	}
	m.Controls = []Control{
		{"EU AI Act", "Art. 12", "Record-keeping", "supports automatic recording of events over the lifetime of the system: each run, step, decision and failure is one record with its time.", "logs/0/records.jsonl, kinds llm_run, trace, trace_step", 12049},
		{"EU AI Act", "Art. 26(6)", "Keeping of logs by deployers", "supports keeping logs for a period appropriate to the purpose: retention class and holds are recorded.", "completeness.json", 3},
		{"ISO/IEC 27001", "A.8.15", "Logging", "supports producing, storing and protecting logs of activities, exceptions and faults.", "logs/0/records.jsonl", 12931},
		{"SOC 2", "CC7.2", "Monitoring of components for anomalies", "supports detection of anomalies: INTEGRITY_ANOMALY and CRITICAL records are listed.", "kinds system, audit", 372},
		{"NIST SP 800-53", "AU-10", "Non-repudiation", "supports evidence that an event was recorded: each record has an inclusion proof to a signed checkpoint.", "logs/0/checkpoint", 12931},
	}
	return m
}

// scriptsModel says the same in many scripts.
func scriptsModel() *Model {
	m := runModel()
	texts := []struct{ name, text string }{
		{"Arabic", "تم رفض الدفع لأن حامل البطاقة لم يؤكد مبلغًا يزيد عن 350 يورو (القاعدة رقم 3)."},
		{"Persian", "پرداخت رد شد؛ دارندهٔ کارت مبلغ بیش از ۳۵۰ یورو را تأیید نکرد. می\u200cخواهم گزارش را ببینم."},
		{"Hebrew", "התשלום נדחה כי בעל הכרטיס לא אישר סכום מעל 350 אירו (כלל spend-limit מספר 3)."},
		{"Mixed", "The traveller wrote «שלום עולם 12» and then السلام عليكم 42 and left."},
		{"Chinese", "付款被拒绝，因为持卡人未确认超过350欧元的金额（规则第3条）。系统随后释放了座位，并向旅客说明了原因。本报告仅供人工阅读，证据以压缩包为准。"},
		{"Japanese", "カード所有者が350ユーロを超える支払いを確認しなかったため、支払いは拒否されました（ルール3）。座席は解放されました。"},
		{"Korean", "카드 소유자가 350유로를 초과하는 금액을 확인하지 않아 결제가 거부되었습니다(규칙 3)."},
		{"Russian", "Платёж отклонён: держатель карты не подтвердил сумму свыше 350 евро."},
		{"Greek", "Η πληρωμή απορρίφθηκε επειδή ο κάτοχος της κάρτας δεν επιβεβαίωσε ποσό άνω των 350 ευρώ."},
		{"Armenian, Georgian", "Վճարումը մերժվել է։ გადახდა უარყოფილია."},
		{"Hindi", "भुगतान अस्वीकृत"},
		{"Thai", "ปฏิเสธ"},
		{"Emoji", "done ✓ 🎉 👩‍💻"},
		{"Hostile", "approved\u202edeton\u202c a\u0000b\u001b[31m c\r\nx\tz \xff\xfe \u200bq"},
	}
	m.Steps = nil
	for i, t := range texts {
		m.Steps = append(m.Steps, Step{
			Index: int64(i), At: m.Window.Start + evidence.Micros(i)*1_000_000, Kind: "llm", Name: t.name + " " + t.text, Status: "success",
			LeafIndex: int64(i), Content: []Content{{Path: "/response", Value: t.text}},
		})
	}
	m.StepsTotal = int64(len(texts))
	m.Governance[1].Detail = texts[2].text
	m.Governance[2].Detail = texts[0].text
	return m
}
