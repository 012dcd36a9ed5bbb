package export

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// LinkFor is how long a signed link is good.
const LinkFor = 10 * time.Minute

// LinkParameter is the query parameter of a content route that holds the token
// of a signed link.
const LinkParameter = "link"

// linkData is the associated data of a token: a token of another purpose under
// the same keyset is none.
const linkData = "runledger/export-link/v1"

// maxToken bounds a token in bytes.
const maxToken = 2048

// Link is what the token of a signed link stands for.
type Link struct {
	Tenant     string    `json:"t"`
	ExportID   string    `json:"e"`
	Credential string    `json:"c"` // of who asked for the link
	Expires    time.Time `json:"x"`
}

// Link returns a token that stands for a credential, for one export and for
// [LinkFor]. It is encrypted, so it tells nothing to who holds it.
func (x *Exports) Link(tenant, exportID, credential string) (string, error) {
	b, err := json.Marshal(Link{tenant, exportID, credential, x.cfg.Now().Add(LinkFor).UTC()})
	if err != nil {
		return "", err
	}
	sealed, err := x.cfg.Links.Encrypt(b, []byte(linkData))
	if err != nil {
		return "", fmt.Errorf("link: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// OpenLink reads a token. The error wraps problem.ErrUnauthenticated where it is
// none of ours, or has expired.
func (x *Exports) OpenLink(token string) (Link, error) {
	var l Link
	bad := fmt.Errorf("link: %w", problem.ErrUnauthenticated)
	if len(token) > maxToken {
		return l, bad
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return l, bad
	}
	b, err := x.cfg.Links.Decrypt(sealed, []byte(linkData))
	if err != nil || json.Unmarshal(b, &l) != nil {
		return Link{}, bad
	}
	if !x.cfg.Now().Before(l.Expires) {
		return Link{}, fmt.Errorf("link: %w: it has expired", problem.ErrUnauthenticated)
	}
	return l, nil
}

// ContentPath is the path of the bytes of an export.
func ContentPath(exportID string) string { return "/api/v1/exports/" + exportID + "/content" }

// Answer describes a finished export of a run to a credential, with a link of
// its own.
func (x *Exports) Answer(s *Stored, credential string) (answer.EvidenceBundle, error) {
	token, err := x.Link(s.Tenant, s.ExportID, credential)
	if err != nil {
		return answer.EvidenceBundle{}, err
	}
	path := ContentPath(s.ExportID)
	signed := path + "?" + LinkParameter + "=" + token
	return answer.EvidenceBundle{
		RunID: s.Run, ExportID: s.ExportID, Format: s.Format, Checksum: s.Digest,
		RetentionClass: RetentionHot, ComplianceTags: []string{},
		DownloadURL: &path, SignedURL: &signed, SizeBytes: s.Bytes, RecordCount: s.Records,
		Checkpoint: string(s.Checkpoint), Metadata: s.Metadata,
	}, nil
}

// StatusPath is the path of the state of an export.
func StatusPath(exportID string) string { return "/api/v1/exports/" + exportID }

// Status describes the state of an export to a credential; with links to its bytes
// where it may read them.
func (x *Exports) Status(s *State, credential string, mayRead bool) (*answer.ExportStatus, error) {
	l := s.Leaf
	out := &answer.ExportStatus{
		ExportID: l.Text("export_id"), Status: s.Status, Reason: optional(s.Reason),
		Progress: answer.ExportProgress{Done: s.Done, Total: s.Total},
		Scope:    l.Text("scope"), Format: l.Text("format"), RunID: optional(l.Text("about_run")),
		From: timeOf(l, "from"), Until: timeOf(l, "until"),
		RetentionClass: optional(l.Text("retention_class")), ComplianceTags: []string{},
		StatusURL: StatusPath(l.Text("export_id")), Metadata: evidence.MetadataOf(s.Tenant, l, "", s.Hash),
	}
	if tags, ok := l.Fact("compliance_tags"); ok {
		out.ComplianceTags = append(out.ComplianceTags, tags.List...)
	}
	if s.Status != completed {
		return out, nil
	}
	out.Checksum, out.Manifest = optional(l.Text("checksum")), optional(l.Text("manifest"))
	out.SizeBytes, out.RecordCount = numberOf(l, "size_bytes"), numberOf(l, "record_count")
	if s.Stored == nil {
		return out, nil
	}
	out.Checksum, out.SizeBytes, out.RecordCount = &s.Stored.Digest, &s.Stored.Bytes, &s.Stored.Records
	checkpoint, until := string(s.Stored.Checkpoint), evidence.MicrosOf(s.Stored.KeptUntil())
	out.Checkpoint, out.KeptUntil = &checkpoint, &until
	if !mayRead {
		return out, nil
	}
	token, err := x.Link(s.Tenant, s.Stored.ExportID, credential)
	if err != nil {
		return nil, err
	}
	path := ContentPath(s.Stored.ExportID)
	signed := path + "?" + LinkParameter + "=" + token
	out.DownloadURL, out.SignedURL = &path, &signed
	return out, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func numberOf(l *evidence.Leaf, name string) *int64 {
	n, ok := l.Int(name)
	if !ok {
		return nil
	}
	return &n
}

func timeOf(l *evidence.Leaf, name string) *evidence.Micros {
	n, ok := l.Int(name)
	if !ok {
		return nil
	}
	at := evidence.Micros(n)
	return &at
}
