package answer

// Problem is an error answer (RFC 9457), as application/problem+json.
type Problem struct {
	Type   string `json:"type" doc:"Always about:blank."`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code" doc:"Stable, for programs."`
	Detail string `json:"detail" doc:"For people. Names no internals."`
	Field  string `json:"field,omitempty" doc:"The parameter or field at fault."`
}
