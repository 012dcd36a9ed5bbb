package tsp

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// maxCertificates bounds those of a token: a chain has 2 to 4.
const maxCertificates = 16

// maxAccuracy bounds what an authority may be wrong by, in seconds: what is compared
// with it has a tolerance of its own.
const maxAccuracy = 60

// maxRSA bounds RSA keys in bits: a signature by a longer one takes seconds to check.
const maxRSA = 8192

// response is TimeStampResp, RFC 3161 section 2.4.2.
type response struct {
	Status statusInfo
	Token  asn1.RawValue `asn1:"optional"`
}

type statusInfo struct {
	Status int
	Text   []asn1.RawValue `asn1:"optional"`
	Fail   asn1.BitString  `asn1:"optional"`
}

// contentInfo is ContentInfo of CMS, RFC 5652 section 3.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

// signedData is SignedData, section 5.1.
type signedData struct {
	Version      int
	Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
	Content      encapsulated
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue `asn1:"optional,tag:1"`
	Signers      []signerInfo  `asn1:"set"`
}

type encapsulated struct {
	Type    asn1.ObjectIdentifier
	Content []byte `asn1:"explicit,optional,tag:0"`
}

// signerInfo is SignerInfo, section 5.3.
type signerInfo struct {
	Version    int
	ID         asn1.RawValue // issuer and serial number, or [0] subject key identifier
	Digest     pkix.AlgorithmIdentifier
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	Algorithm  pkix.AlgorithmIdentifier
	Signature  []byte
	Unsigned   asn1.RawValue `asn1:"optional,tag:1"`
}

// tstInfo is TSTInfo, RFC 3161 section 2.4.2.
type tstInfo struct {
	Version    int
	Policy     asn1.ObjectIdentifier
	Imprint    imprint
	Serial     *big.Int
	Time       time.Time        `asn1:"generalized"`
	Accuracy   accuracy         `asn1:"optional"`
	Ordering   bool             `asn1:"optional"`
	Nonce      *big.Int         `asn1:"optional"`
	Authority  asn1.RawValue    `asn1:"optional,tag:0"`
	Extensions []pkix.Extension `asn1:"optional,tag:1"`
}

type accuracy struct {
	Seconds int64 `asn1:"optional"`
	Millis  int64 `asn1:"optional,tag:0"`
	Micros  int64 `asn1:"optional,tag:1"`
}

// token is a response whose signature holds.
type token struct {
	info         tstInfo
	signer       *x509.Certificate
	certificates []*x509.Certificate
}

func (t *token) stamp() *Stamp {
	a := t.info.Accuracy
	return &Stamp{
		Time: t.info.Time.UTC(), Serial: t.info.Serial, Nonce: t.info.Nonce, Authority: t.signer.Subject.String(),
		Accuracy: time.Duration(a.Seconds)*time.Second + time.Duration(a.Millis)*time.Millisecond + time.Duration(a.Micros)*time.Microsecond,
	}
}

// check checks everything but the way to a root.
func check(der, message []byte) (*token, error) {
	sd, err := parse(der)
	if err != nil {
		return nil, err
	}
	t := &token{}
	if err := exactly(sd.Content.Content, &t.info); err != nil {
		return nil, invalid("its content: %v", err)
	}
	if t.certificates, err = certificates(sd.Certificates.Bytes); err != nil {
		return nil, err
	}
	if len(sd.Signers) != 1 {
		return nil, tampered("it has %d signers, not 1", len(sd.Signers))
	}
	s := &sd.Signers[0]
	if t.signer = s.certificate(t.certificates); t.signer == nil {
		return nil, tampered("the certificate of its signer is not embedded")
	}
	if err := s.verify(sd.Content.Content, t.signer); err != nil {
		return nil, err
	}
	if err := checkUsage(t.signer); err != nil {
		return nil, err
	}
	if err := t.info.check(message); err != nil {
		return nil, err
	}
	if at := t.info.Time; at.Before(t.signer.NotBefore) || at.After(t.signer.NotAfter) {
		return nil, tampered("its time %s is not within the validity of the certificate", at.UTC().Format(time.RFC3339))
	}
	return t, nil
}

// parse reads the layers around the content.
func parse(der []byte) (*signedData, error) {
	if len(der) > MaxResponse {
		return nil, invalid("over %d bytes", MaxResponse)
	}
	var resp response
	if err := exactly(der, &resp); err != nil {
		return nil, invalid("not a response: %v", err)
	}
	if resp.Status.Status != 0 {
		return nil, invalid("the authority did not grant it: status %d%s", resp.Status.Status, resp.Status.said())
	}
	var outer contentInfo
	if err := exactly(resp.Token.FullBytes, &outer); err != nil {
		return nil, invalid("its token: %v", err)
	}
	if !outer.Type.Equal(oidSignedData) {
		return nil, invalid("its token is not signed data")
	}
	var sd signedData
	if err := exactly(outer.Content.Bytes, &sd); err != nil {
		return nil, invalid("its token: %v", err)
	}
	if !sd.Content.Type.Equal(oidTSTInfo) {
		return nil, invalid("its token is over something else than a time")
	}
	return &sd, nil
}

// said returns what the authority writes to people, if anything.
func (s *statusInfo) said() string {
	for _, t := range s.Text {
		if len(t.Bytes) > 0 {
			return ", " + string(bytes.ToValidUTF8(t.Bytes[:min(len(t.Bytes), 200)], nil))
		}
	}
	return ""
}

// exactly is asn1.Unmarshal that leaves nothing over.
func exactly(der []byte, to any) error {
	rest, err := asn1.Unmarshal(der, to)
	if err == nil && len(rest) > 0 {
		err = asn1.SyntaxError{Msg: "bytes are left over"}
	}
	return err
}

func certificates(set []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for len(set) > 0 {
		var raw asn1.RawValue
		rest, err := asn1.Unmarshal(set, &raw)
		if err != nil {
			return nil, invalid("its certificates: %v", err)
		}
		set = rest
		if raw.Class != asn1.ClassUniversal {
			continue // attribute certificates and the like
		}
		if len(list) == maxCertificates {
			return nil, invalid("over %d certificates", maxCertificates)
		}
		c, err := x509.ParseCertificate(raw.FullBytes)
		if err != nil {
			return nil, invalid("certificate %d: %v", len(list)+1, err)
		}
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSA {
			return nil, invalid("certificate %d: an RSA key of %d bits; at most %d", len(list)+1, k.N.BitLen(), maxRSA)
		}
		list = append(list, c)
	}
	return list, nil
}

// check compares the signed content with what was asked for.
func (i *tstInfo) check(message []byte) error {
	sum := sha256.Sum256(message)
	a := i.Accuracy
	switch {
	case i.Version != 1:
		return invalid("version %d", i.Version)
	case !i.Imprint.Algorithm.Algorithm.Equal(oidSHA256):
		return tampered("its imprint is not SHA-256")
	case !bytes.Equal(i.Imprint.Digest, sum[:]):
		return tampered("it is of other bytes")
	case i.Nonce == nil || i.Nonce.Sign() == 0:
		return tampered("it has no nonce")
	case a.Seconds < 0 || a.Seconds > 1<<31 || a.Millis < 0 || a.Millis > 999 || a.Micros < 0 || a.Micros > 999:
		return invalid("its accuracy is out of range")
	}
	if a.Seconds >= maxAccuracy {
		return tampered("it is accurate to %d s only; at most %d s count", a.Seconds, maxAccuracy)
	}
	for _, e := range i.Extensions {
		if e.Critical {
			return tampered("it has an unknown critical extension")
		}
	}
	return nil
}
