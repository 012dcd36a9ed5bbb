// Package storetest is the conformance suite of package store. A backend is
// one if it passes [Run]; nothing in here knows which backend it runs on.
package storetest

import (
	"slices"
	"testing"

	"github.com/runledger/runledger/internal/store"
)

// Open returns a store that is new and empty. It closes and removes it when
// the test ends; a test may close it before.
type Open func(t *testing.T) store.Store

// Run runs the suite. Each test opens a store of its own.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"Empty", testEmpty},
		{"Logs", testLogs},
		{"OpenTwice", testOpenTwice},
		{"HeadSwap", testHeadSwap},
		{"HeadOnly", testHeadOnly},
		{"Malformed", testMalformed},
		{"Segments", testSegments},
		{"Tiles", testTiles},
		{"Checkpoints", testCheckpoints},
		{"Attestations", testAttestations},
		{"AttestationsRefused", testAttestationsRefused},
		{"EveryField", testEveryField},
		{"AbsentFields", testAbsentFields},
		{"Texts", testTexts},
		{"Times", testTimes},
		{"RowsInOrder", testRowsInOrder},
		{"DuplicateID", testDuplicateID},
		{"DuplicateSpan", testDuplicateSpan},
		{"DuplicateRevision", testDuplicateRevision},
		{"FindIDs", testFindIDs},
		{"FindSpans", testFindSpans},
		{"FindFilters", testFindFilters},
		{"FindPages", testFindPages},
		{"FindWindow", testFindWindow},
		{"FindRevision", testFindRevision},
		{"FindState", testFindState},
		{"FindIndex", testFindIndex},
		{"FindInvalid", testFindInvalid},
		{"FindRandom", FindRandom},
		{"Components", testComponents},
		{"RunOf", testRunOf},
		{"OpenRunsOf", testOpenRunsOf},
		{"Runs", testRuns},
		{"OpenRuns", testOpenRuns},
		{"SettleRuns", testSettleRuns},
		{"RunRecords", testRunRecords},
		{"DataKeys", testDataKeys},
		{"SealedSegments", testSealedSegments},
		{"SealedTwice", testSealedTwice},
		{"Index", testIndex},
		{"IndexOnceATrace", testIndexOnceATrace},
		{"IndexNewestFirst", testIndexNewestFirst},
		{"RemoveSegments", testRemoveSegments},
		{"RemoveKeysAndIndex", testRemoveKeysAndIndex},
		{"RemoveWithoutOrder", testRemoveWithoutOrder},
		{"SealedRange", testSealedRange},
		{"Removals", testRemovals},
		{"RemovalsRefused", testRemovalsRefused},
		{"KeepCheckpoints", testKeepCheckpoints},
		{"Settings", testSettings},
		{"SettingsUnder", testSettingsUnder},
		{"APIKeys", testAPIKeys},
		{"APIKeyFixed", testAPIKeyFixed},
		{"APIKeyTenants", testAPIKeyTenants},
		{"APIKeySnapshot", testAPIKeySnapshot},
		{"APIKeysParallel", testAPIKeysParallel},
		{"APIKeysClosed", testAPIKeysClosed},
		{"Atomic", testAtomic},
		{"SeveralLogs", testSeveralLogs},
		{"Tenants", testTenants},
		{"Snapshot", testSnapshot},
		{"CallbackErrors", testCallbackErrors},
		{"Cancelled", testCancelled},
		{"Parallel", testParallel},
		{"ReadWhileWriting", testReadWhileWriting},
		{"Guards", testGuards},
		{"Scrub", testScrub},
		{"Claims", testClaims},
		{"Successor", testSuccessor},
		{"KeyGone", testKeyGone},
		{"Leases", testLeases},
		{"LeaseRace", testLeaseRace},
		{"Closed", testClosed},
	}
	for _, test := range slices.Concat(tests, lifecycleTests) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}
