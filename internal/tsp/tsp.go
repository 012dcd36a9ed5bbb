// Package tsp asks for RFC 3161 time stamps and checks them.
package tsp

import (
	"crypto/x509"
	"errors"
	"math/big"
	"time"
)

// Stamp is what a time-stamping authority said, once it is checked.
type Stamp struct {
	Time      time.Time     // genTime, UTC
	Accuracy  time.Duration // 0 where the authority states none
	Authority string        // subject of the signing certificate
	Serial    *big.Int
	Nonce     *big.Int
}

// Request returns the DER of a TimeStampReq over SHA-256 of message, which asks for
// the certificate.
func Request(message []byte, nonce *big.Int) ([]byte, error) {
	return nil, errors.New("tsp: to be written")
}

// Verify checks the DER of a TimeStampResp over message: granted, imprint SHA-256,
// a nonce, an embedded certificate that leads to roots at the time of the stamp,
// timeStamping as its sole and critical extended key usage, and the signature. The
// error wraps evidence.ErrTampered, or evidence.ErrInvalid where it is no response.
func Verify(response, message []byte, roots *x509.CertPool) (*Stamp, error) {
	return nil, errors.New("tsp: to be written")
}
