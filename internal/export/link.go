package export

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/runledger/runledger/answer"
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
