package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/runledger/runledger/internal/access"
)

// AtLeast is the header by which a client says what an answer must know of.
const AtLeast = "Runledger-At-Least"

var atLeast = &huma.Param{
	Name: AtLeast, In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: ptr(256)},
	Description: "LOG:LEAF_INDEX of a receipt: the answer knows of that record. \"primary\": it knows of all that had a receipt when it was asked. " +
		"Without it a read replica of the database may answer, where there is one, which is a little behind.",
}

func ptr[T any](v T) *T { return &v }

// lag lets a replica answer what may be a little behind.
func (a *API) lag(ctx huma.Context, next func(huma.Context)) {
	if a.cfg.Lag != nil {
		more := ctx.Query("cursor") != ""
		c, err := a.cfg.Lag(ctx.Context(), access.GrantOf(ctx.Context()).Tenant, ctx.Header(AtLeast), more)
		if err != nil {
			a.refuse(ctx, err)
			return
		}
		ctx = huma.WithContext(ctx, c)
	}
	next(ctx)
}
