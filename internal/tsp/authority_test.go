package tsp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

var (
	message = []byte("runledger-1/abcdef012345\n1\nAAAA\n")
	nonce   = big.NewInt(0x1234567890)
	stamped = time.Date(2026, 11, 23, 16, 0, 2, 0, time.UTC)
)

// authority stamps as it is told, right or wrong.
type authority struct {
	t       *testing.T
	root    *x509.Certificate
	rootKey crypto.Signer
	cert    *x509.Certificate
	key     crypto.Signer
	roots   *x509.CertPool

	info   func(*tstInfo)                     // changes what is stamped
	attrs  func([]attribute) []attribute      // changes what is signed
	signed func(*signedData)                  // changes what is around it, after the signature
	resp   func(*response)                    // changes the answer
	sign   func(crypto.Signer, []byte) []byte // signs
	algs   [2]asn1.ObjectIdentifier           // digest and signature
	hash   crypto.Hash
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

func newAuthority(t *testing.T, change func(*x509.Certificate)) *authority {
	t.Helper()
	a := &authority{t: t, roots: x509.NewCertPool(), hash: crypto.SHA256, algs: [2]asn1.ObjectIdentifier{oidSHA256, oidECDSAWithSHA2}}
	a.rootKey = newKey(t)
	a.root = a.certify(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: stamped.AddDate(-1, 0, 0), NotAfter: stamped.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}, a.rootKey.Public())
	a.roots.AddCert(a.root)
	a.key = newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Authority", Organization: []string{"Test"}},
		NotBefore: stamped.AddDate(-1, 0, 0), NotAfter: stamped.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{usage(true, 8)},
	}
	if change != nil {
		change(tmpl)
	}
	a.cert = a.certify(tmpl, a.key.Public())
	return a
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// usage is the extension of extended key usages: 8 is timeStamping, 3 codeSigning.
func usage(critical bool, purposes ...int) pkix.Extension {
	var list []asn1.ObjectIdentifier
	for _, p := range purposes {
		list = append(list, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, p})
	}
	der, err := asn1.Marshal(list)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidExtendedUsage, Critical: critical, Value: der}
}

func (a *authority) certify(tmpl *x509.Certificate, public any) *x509.Certificate {
	parent := a.root
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, a.rootKey)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *authority) der(v any) []byte {
	a.t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *authority) raw(v any) asn1.RawValue { return asn1.RawValue{FullBytes: a.der(v)} }

// stamp answers.
func (a *authority) stamp(message []byte) []byte {
	a.t.Helper()
	sum := sha256.Sum256(message)
	info := tstInfo{
		Version: 1, Policy: asn1.ObjectIdentifier{1, 2, 3}, Serial: big.NewInt(7), Time: stamped, Nonce: nonce, Accuracy: accuracy{Seconds: 1, Millis: 5},
		Imprint: imprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, sum[:]},
	}
	if a.info != nil {
		a.info(&info)
	}
	content := a.der(info)
	attrs := []attribute{
		{oidContentType, []asn1.RawValue{a.raw(oidTSTInfo)}},
		{oidMessageDigest, []asn1.RawValue{a.raw(digestOf(a.hash, content))}},
		{oidCertificateV2, []asn1.RawValue{a.raw(struct{ List []struct{ Hash []byte } }{[]struct{ Hash []byte }{{digestOf(crypto.SHA256, a.cert.Raw)}}})}},
	}
	if a.attrs != nil {
		attrs = a.attrs(attrs)
	}
	var set []byte
	for _, at := range attrs {
		set = append(set, a.der(at)...)
	}
	toSign := a.der(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: set})
	sign := a.sign
	if sign == nil {
		sign = func(k crypto.Signer, b []byte) []byte {
			sig, err := k.Sign(rand.Reader, digestOf(a.hash, b), a.hash)
			if err != nil {
				a.t.Fatal(err)
			}
			return sig
		}
	}
	sd := signedData{
		Version: 3, Digests: []pkix.AlgorithmIdentifier{{Algorithm: a.algs[0]}}, Content: encapsulated{oidTSTInfo, content},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(append([]byte(nil), a.cert.Raw...), a.root.Raw...)},
		Signers: []signerInfo{{
			Version: 1, Digest: pkix.AlgorithmIdentifier{Algorithm: a.algs[0]}, Algorithm: pkix.AlgorithmIdentifier{Algorithm: a.algs[1]},
			ID: a.raw(struct {
				Issuer asn1.RawValue
				Serial *big.Int
			}{asn1.RawValue{FullBytes: a.cert.RawIssuer}, a.cert.SerialNumber}),
			Attributes: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: set},
			Signature:  sign(a.key, toSign),
		}},
	}
	if a.signed != nil {
		a.signed(&sd)
	}
	resp := response{Token: a.raw(contentInfo{oidSignedData, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: a.der(sd)}})}
	if a.resp != nil {
		a.resp(&resp)
	}
	return a.der(resp)
}

func ed25519Key(t *testing.T) crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
