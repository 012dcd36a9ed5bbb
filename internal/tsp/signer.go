package tsp

import (
	"bytes"
	"crypto"
	"crypto/sha1" //nolint:gosec // names a certificate in old tokens (ESSCertID), proves nothing
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
)

var (
	oidSignedData     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidCertificate    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12} // signing-certificate
	oidCertificateV2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidExtendedUsage  = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidSHA256         = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384         = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512         = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidRSA            = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAPSS         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidSHA256WithRSA  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidSHA384WithRSA  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}
	oidSHA512WithRSA  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}
	oidECDSAWithSHA2  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSAWithSHA38 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	oidECDSAWithSHA51 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
	oidEd25519        = asn1.ObjectIdentifier{1, 3, 101, 112}
)

// algorithms are what may sign, by the digest that the signer states. rsaEncryption
// leaves the digest to that; the others name it again, and must name the same.
var algorithms = []struct {
	digest crypto.Hash
	oid    asn1.ObjectIdentifier
	alg    x509.SignatureAlgorithm
}{
	{crypto.SHA256, oidRSA, x509.SHA256WithRSA},
	{crypto.SHA384, oidRSA, x509.SHA384WithRSA},
	{crypto.SHA512, oidRSA, x509.SHA512WithRSA},
	{crypto.SHA256, oidSHA256WithRSA, x509.SHA256WithRSA},
	{crypto.SHA384, oidSHA384WithRSA, x509.SHA384WithRSA},
	{crypto.SHA512, oidSHA512WithRSA, x509.SHA512WithRSA},
	{crypto.SHA256, oidRSAPSS, x509.SHA256WithRSAPSS},
	{crypto.SHA384, oidRSAPSS, x509.SHA384WithRSAPSS},
	{crypto.SHA512, oidRSAPSS, x509.SHA512WithRSAPSS},
	{crypto.SHA256, oidECDSAWithSHA2, x509.ECDSAWithSHA256},
	{crypto.SHA384, oidECDSAWithSHA38, x509.ECDSAWithSHA384},
	{crypto.SHA512, oidECDSAWithSHA51, x509.ECDSAWithSHA512},
	{crypto.SHA512, oidEd25519, x509.PureEd25519}, // RFC 8419
}

func hashOf(oid asn1.ObjectIdentifier) crypto.Hash {
	switch {
	case oid.Equal(oidSHA256):
		return crypto.SHA256
	case oid.Equal(oidSHA384):
		return crypto.SHA384
	case oid.Equal(oidSHA512):
		return crypto.SHA512
	}
	return 0
}

func digestOf(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// algorithm returns how the signature is made.
func (s *signerInfo) algorithm() (crypto.Hash, x509.SignatureAlgorithm, error) {
	h := hashOf(s.Digest.Algorithm)
	for _, a := range algorithms {
		if h == 0 || a.digest != h || !s.Algorithm.Algorithm.Equal(a.oid) {
			continue
		}
		if a.oid.Equal(oidRSAPSS) && !plainPSS(s.Algorithm.Parameters.FullBytes, h) {
			break
		}
		return h, a.alg, nil
	}
	return 0, 0, tampered("signed with digest %v and algorithm %v, which are not accepted", s.Digest.Algorithm, s.Algorithm.Algorithm)
}

// plainPSS reports the parameters that crypto/x509 verifies: one hash throughout,
// and a salt of its length.
func plainPSS(der []byte, h crypto.Hash) bool {
	var p struct {
		Hash    pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		MGF     pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		Salt    int                      `asn1:"explicit,tag:2"`
		Trailer int                      `asn1:"optional,explicit,tag:3,default:1"`
	}
	var inner pkix.AlgorithmIdentifier
	return exactly(der, &p) == nil && p.MGF.Algorithm.Equal(oidMGF1) && exactly(p.MGF.Parameters.FullBytes, &inner) == nil &&
		hashOf(p.Hash.Algorithm) == h && hashOf(inner.Algorithm) == h && p.Salt == h.Size() && p.Trailer == 1
}

// certificate returns the signer's among those embedded, or nil.
func (s *signerInfo) certificate(list []*x509.Certificate) *x509.Certificate {
	var by struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	id := s.ID
	named := id.Class == asn1.ClassUniversal && exactly(id.FullBytes, &by) == nil
	for _, c := range list {
		switch {
		case named && bytes.Equal(c.RawIssuer, by.Issuer.FullBytes) && c.SerialNumber.Cmp(by.Serial) == 0:
			return c
		case id.Class == asn1.ClassContextSpecific && id.Tag == 0 && len(id.Bytes) > 0 && bytes.Equal(c.SubjectKeyId, id.Bytes):
			return c
		}
	}
	return nil
}

// attributes reads the signed attributes, each of which stands once with one value
// as far as this package reads it.
func (s *signerInfo) attributes() (map[string]asn1.RawValue, error) {
	found := map[string]asn1.RawValue{}
	for rest := s.Attributes.Bytes; len(rest) > 0; {
		var a struct {
			Type   asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		}
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return nil, invalid("its signed attributes: %v", err)
		}
		key := a.Type.String()
		if _, twice := found[key]; twice || len(a.Values) != 1 {
			return nil, tampered("signed attribute %s does not stand once with one value", key)
		}
		found[key] = a.Values[0]
	}
	return found, nil
}

// verify checks the signature over the content: RFC 5652 section 5.4.
func (s *signerInfo) verify(content []byte, c *x509.Certificate) error {
	h, alg, err := s.algorithm()
	if err != nil {
		return err
	}
	found, err := s.attributes()
	if err != nil {
		return err
	}
	var kind asn1.ObjectIdentifier
	if err := exactly(found[oidContentType.String()].FullBytes, &kind); err != nil || !kind.Equal(oidTSTInfo) {
		return tampered("its signed attributes do not name the content's type")
	}
	var digest []byte
	if err := exactly(found[oidMessageDigest.String()].FullBytes, &digest); err != nil || !bytes.Equal(digest, digestOf(h, content)) {
		return tampered("its signed attributes do not have the content's digest")
	}
	if err := checkBound(found, c); err != nil {
		return err
	}
	// What is signed is the SET OF, not the [0] that stands in its place.
	signed := bytes.Clone(s.Attributes.FullBytes)
	signed[0] = asn1.TagSet | 0x20
	if err := c.CheckSignature(alg, signed, s.Signature); err != nil {
		return tampered("its signature does not hold: %v", err)
	}
	return nil
}

// checkBound checks the attributes that bind the certificate, so that none with the
// same key can stand in for it: RFC 3161 section 2.4.2, RFC 5816.
func checkBound(found map[string]asn1.RawValue, c *x509.Certificate) error {
	bound := false
	if v, ok := found[oidCertificate.String()]; ok {
		var list struct{ Certificates []essCertID }
		sum := sha1.Sum(c.Raw) //nolint:gosec // see the import
		if err := exactly(v.FullBytes, &list); err != nil || len(list.Certificates) == 0 || !bytes.Equal(list.Certificates[0].Hash, sum[:]) {
			return tampered("its signed attributes name another certificate")
		}
		bound = true
	}
	if v, ok := found[oidCertificateV2.String()]; ok {
		var list struct{ Certificates []essCertIDv2 }
		if err := exactly(v.FullBytes, &list); err != nil || len(list.Certificates) == 0 {
			return tampered("its signed attributes name no certificate")
		}
		id, h := list.Certificates[0], crypto.SHA256
		if len(id.Algorithm.Algorithm) > 0 {
			h = hashOf(id.Algorithm.Algorithm)
		}
		if h == 0 || !bytes.Equal(id.Hash, digestOf(h, c.Raw)) {
			return tampered("its signed attributes name another certificate")
		}
		bound = true
	}
	if !bound {
		return tampered("its signed attributes name no certificate")
	}
	return nil
}

type essCertID struct {
	Hash   []byte
	Issuer asn1.RawValue `asn1:"optional"`
}

type essCertIDv2 struct {
	Algorithm pkix.AlgorithmIdentifier `asn1:"optional"` // default SHA-256
	Hash      []byte
	Issuer    asn1.RawValue `asn1:"optional"`
}

// checkUsage checks that the certificate may sign time stamps and nothing else.
func checkUsage(c *x509.Certificate) error {
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || len(c.UnknownExtKeyUsage) > 0 {
		return tampered("timeStamping is not the sole extended key usage of its certificate")
	}
	const sign = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	if c.KeyUsage != 0 && (c.KeyUsage&sign == 0 || c.KeyUsage&^sign != 0) {
		return tampered("its certificate is for something else than signing")
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(oidExtendedUsage) && e.Critical {
			return nil
		}
	}
	return tampered("the extended key usage of its certificate is not critical")
}
