package api

// guardLogs registers the adapter for consoles: the facade's own answers under
// other paths. It adds nothing, and has no way to.
func (a *API) guardLogs() {
	const tag = "guard"
	get(a, route{id: "guard-list", path: "/guard/logs", tag: tag, summary: "The list of runs."}, a.listRuns)
	get(a, route{id: "guard-run", path: "/guard/logs/{run_id}", tag: tag, summary: "The envelope of a run."}, a.envelope)
}
