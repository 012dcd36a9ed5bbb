package tsp

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/runledger/runledger/evidence"
)

// MaxResponse bounds the bytes of a response. Authorities answer with 1 to 8 KiB.
const MaxResponse = 64 << 10

// Stamp is what a time-stamping authority said, once it is checked.
type Stamp struct {
	Time      time.Time     // genTime, UTC
	Accuracy  time.Duration // 0 where the authority states none
	Authority string        // subject of the signing certificate
	Serial    *big.Int
	Nonce     *big.Int
}

// request is TimeStampReq, RFC 3161 section 2.4.1.
type request struct {
	Version int
	Imprint imprint
	Nonce   *big.Int
	CertReq bool
}

// imprint is MessageImprint.
type imprint struct {
	Algorithm pkix.AlgorithmIdentifier
	Digest    []byte
}

// Request returns the DER of a TimeStampReq over SHA-256 of message, which asks for
// the certificate. The nonce must be greater than 0.
func Request(message []byte, nonce *big.Int) ([]byte, error) {
	if nonce == nil || nonce.Sign() <= 0 {
		return nil, invalid("a request needs a nonce greater than 0")
	}
	sum := sha256.Sum256(message)
	return asn1.Marshal(request{
		Version: 1, Nonce: nonce, CertReq: true,
		Imprint: imprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, sum[:]},
	})
}

// Verify checks the DER of a TimeStampResp over message: granted, imprint SHA-256,
// a nonce, an embedded certificate that leads to roots at the time of the stamp,
// timeStamping as its sole and critical extended key usage, and the signature. The
// error wraps evidence.ErrTampered, or evidence.ErrInvalid where it is no response
// that grants a stamp, or where roots is nil.
func Verify(response, message []byte, roots *x509.CertPool) (*Stamp, error) {
	if roots == nil {
		return nil, invalid("no roots are given")
	}
	t, err := check(response, message)
	if err != nil {
		return nil, err
	}
	between := x509.NewCertPool()
	for _, c := range t.certificates {
		between.AddCert(c)
	}
	_, err = t.signer.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: t.info.Time,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
	if err != nil {
		return nil, tampered("the certificate of %q does not lead to a given root: %v", t.signer.Subject, err)
	}
	return t.stamp(), nil
}

// Inspect checks all that Verify does but whose authority it is: for who keeps a
// stamp that others will verify with roots of their own.
func Inspect(response, message []byte) (*Stamp, error) {
	t, err := check(response, message)
	if err != nil {
		return nil, err
	}
	return t.stamp(), nil
}

// ParseRoots reads certificates in PEM, and nothing else. The error wraps
// evidence.ErrInvalid.
func ParseRoots(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, invalid("roots: after certificate %d: not PEM", n)
		}
		if n++; block.Type != "CERTIFICATE" {
			return nil, invalid("roots: block %d is a %s, not a CERTIFICATE", n, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, invalid("roots: certificate %d: %v", n, err)
		}
		pool.AddCert(c)
	}
	if n == 0 {
		return nil, invalid("roots: there is no certificate")
	}
	return pool, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("time stamp: "+format+": %w", append(args, evidence.ErrInvalid)...)
}

func tampered(format string, args ...any) error {
	return fmt.Errorf("time stamp: "+format+": %w", append(args, evidence.ErrTampered)...)
}
