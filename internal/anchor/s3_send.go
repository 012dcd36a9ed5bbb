package anchor

import (
	"context"
	"crypto/md5" // what S3 calls Content-MD5
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/evidence"
)

// Sums are what an object, or a part of one, is sent with: its MD5, which a bucket with
// object lock asks for, and its SHA-256, which the request's signature covers and every service
// knows. So what arrives is what was sent.
type Sums struct {
	MD5    string // base64
	SHA256 string // hex
}

// SumsOf reads what is to be sent. The error wraps evidence.ErrUnavailable.
func SumsOf(r io.Reader) (Sums, error) {
	m, s := md5.New(), sha256.New()
	if _, err := io.Copy(io.MultiWriter(m, s), r); err != nil {
		return Sums{}, fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
	}
	return Sums{base64.StdEncoding.EncodeToString(m.Sum(nil)), hex.EncodeToString(s.Sum(nil))}, nil
}

// PutOptions are those of what is sent with Sums.
func PutOptions(contentType string) minio.PutObjectOptions {
	return minio.PutObjectOptions{ContentType: contentType, DisableContentSha256: true}
}

// Send sends an object in one request, once.
func (c *Client) Send(ctx context.Context, key string, r io.Reader, size int64, sums Sums, opts minio.PutObjectOptions) (minio.UploadInfo, error) {
	return c.PutObject(ctx, c.Bucket(), key, r, size, sums.MD5, sums.SHA256, opts)
}

// Listed reports whether the bucket lists a key. Who is answered that there is no such object asks: a
// proxy, or a service that is half up, may answer so to anything.
func (c *Client) Listed(ctx context.Context, key string) (listed bool, err error) {
	err = c.List(ctx, key, func(k string, _ int64) error {
		listed = listed || k == key
		return nil
	})
	return listed, err
}

// Hidden is the error of a key that is listed and cannot be read. It wraps
// evidence.ErrUnavailable.
func (c *Client) Hidden(key string) error {
	return fmt.Errorf("%w: %s cannot be read, yet the bucket lists it", evidence.ErrUnavailable, c.Where(key))
}
