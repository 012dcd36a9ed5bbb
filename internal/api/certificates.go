package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/lifecycle"
)

type certificateInput struct {
	ErasureID string `path:"erasure_id" maxLength:"128"`
	Format    string `query:"format" enum:"json,pdf" default:"json" doc:"json is the form that runledger verify accepts; pdf is for people"`
}

type certificateOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

const pdfType = "application/pdf"

// certificates registers the route of the certificates of erasures.
func (a *API) certificates(tag string) {
	const path = erasuresPath + "/{erasure_id}/certificate"
	anything := &huma.MediaType{Schema: &huma.Schema{}}
	huma.Register(a.huma, huma.Operation{
		OperationID: "erasure-certificate", Method: http.MethodGet, Path: path, Tags: []string{tag},
		Summary:     "The certificate of an erasure, for 30 days: signed statements of the log, which runledger verify checks.",
		Description: "It shows nothing of what was erased, and names nobody but who ordered it, to who may read content.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The certificate.",
			Content:     map[string]*huma.MediaType{jsonType: anything, pdfType: anything},
		}},
		Errors: readErrors,
	}, func(ctx context.Context, in *certificateInput) (*certificateOutput, error) {
		out, err := a.certificate(ctx, access.GrantOf(ctx), in)
		if err != nil {
			return nil, a.fail(ctx, path, err)
		}
		v := access.ViewOf(ctx)
		v.EntityType, v.EntityID, v.Records = "RETENTION", in.ErasureID, 1
		return out, nil
	})
}

func (a *API) certificate(ctx context.Context, grant access.Grant, in *certificateInput) (*certificateOutput, error) {
	text, err := a.cfg.Lifecycle.Certificate(ctx, grant.Tenant, in.ErasureID)
	if err == nil && !grant.Content() {
		text, err = lifecycle.WithoutActor(text)
	}
	if err != nil {
		return nil, err
	}
	out := &certificateOutput{ContentType: jsonType, Body: text}
	if in.Format == "pdf" {
		out.ContentType = pdfType
		if out.Body, err = lifecycle.CertificatePDF(text); err != nil {
			return nil, err
		}
	}
	out.Disposition = fmt.Sprintf("attachment; filename=%q", in.ErasureID+"."+in.Format)
	return out, nil
}
