package tsp

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/runledger/runledger/evidence"
)

func TestVerify(t *testing.T) {
	a := newAuthority(t, nil)
	got, err := Verify(a.stamp(message), message, a.roots)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Time.Equal(stamped) || got.Nonce.Cmp(nonce) != 0 || got.Serial.Int64() != 7 || got.Accuracy != time.Second+5*time.Millisecond ||
		got.Authority != "CN=Authority,O=Test" {
		t.Errorf("got %+v", got)
	}
}

// TestAlgorithms: what authorities sign with.
func TestAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]func(a *authority){
		"RSA": func(a *authority) { a.key, a.algs = rsaKey, [2]asn1.ObjectIdentifier{oidSHA256, oidRSA} },
		"SHA384 RSA": func(a *authority) {
			a.key, a.hash, a.algs = rsaKey, crypto.SHA384, [2]asn1.ObjectIdentifier{oidSHA384, oidSHA384WithRSA}
		},
		"SHA512 ECDSA": func(a *authority) {
			a.hash, a.algs = crypto.SHA512, [2]asn1.ObjectIdentifier{oidSHA512, oidECDSAWithSHA51}
		},
		"Ed25519": func(a *authority) {
			a.key, a.hash, a.algs = ed25519Key(t), crypto.SHA512, [2]asn1.ObjectIdentifier{oidSHA512, oidEd25519}
			a.sign = func(k crypto.Signer, b []byte) []byte {
				sig, err := k.Sign(rand.Reader, b, crypto.Hash(0))
				if err != nil {
					t.Fatal(err)
				}
				return sig
			}
		},
		"RSA PSS": func(a *authority) {
			a.key, a.algs = rsaKey, [2]asn1.ObjectIdentifier{oidSHA256, oidRSAPSS}
			a.sign = func(k crypto.Signer, b []byte) []byte {
				sig, err := k.Sign(rand.Reader, digestOf(crypto.SHA256, b), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
				if err != nil {
					t.Fatal(err)
				}
				return sig
			}
			a.signed = func(sd *signedData) { sd.Signers[0].Algorithm.Parameters = pssParameters(a, oidSHA256, 32) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, nil)
			set(a)
			a.cert = a.certify(&x509.Certificate{
				SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "Authority"}, NotBefore: stamped.AddDate(-1, 0, 0),
				NotAfter: stamped.AddDate(1, 0, 0), ExtraExtensions: []pkix.Extension{usage(true, 8)},
			}, a.key.Public())
			if _, err := Verify(a.stamp(message), message, a.roots); err != nil {
				t.Error(err)
			}
		})
	}
}

func pssParameters(a *authority, hash asn1.ObjectIdentifier, salt int) asn1.RawValue {
	return a.raw(struct {
		Hash pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		MGF  pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		Salt int                      `asn1:"explicit,tag:2"`
	}{
		pkix.AlgorithmIdentifier{Algorithm: hash},
		pkix.AlgorithmIdentifier{Algorithm: oidMGF1, Parameters: a.raw(pkix.AlgorithmIdentifier{Algorithm: hash})},
		salt,
	})
}

// TestRefused: each of these is a stamp that some library takes.
func TestRefused(t *testing.T) {
	other := newAuthority(t, nil)
	for name, c := range map[string]struct {
		cert   func(*x509.Certificate)
		change func(a *authority)
		want   error
		says   string
	}{
		"another message": {change: func(a *authority) { a.info = func(i *tstInfo) { i.Imprint.Digest[0] ^= 1 } }, want: evidence.ErrTampered, says: "other bytes"},
		"imprint SHA-384": {change: func(a *authority) { a.info = func(i *tstInfo) { i.Imprint.Algorithm.Algorithm = oidSHA384 } }, want: evidence.ErrTampered, says: "not SHA-256"},
		"no nonce":        {change: func(a *authority) { a.info = func(i *tstInfo) { i.Nonce = nil } }, want: evidence.ErrTampered, says: "no nonce"},
		"critical extension": {change: func(a *authority) {
			a.info = func(i *tstInfo) { i.Extensions = []pkix.Extension{{Id: oidRSA, Critical: true, Value: []byte{5, 0}}} }
		}, want: evidence.ErrTampered, says: "critical extension"},
		"accuracy":            {change: func(a *authority) { a.info = func(i *tstInfo) { i.Accuracy.Millis = 1000 } }, want: evidence.ErrInvalid, says: "accuracy"},
		"version":             {change: func(a *authority) { a.info = func(i *tstInfo) { i.Version = 2 } }, want: evidence.ErrInvalid, says: "version 2"},
		"expired certificate": {change: func(a *authority) { a.info = func(i *tstInfo) { i.Time = stamped.AddDate(2, 0, 0) } }, want: evidence.ErrTampered, says: "validity"},
		"early certificate":   {change: func(a *authority) { a.info = func(i *tstInfo) { i.Time = stamped.AddDate(-2, 0, 0) } }, want: evidence.ErrTampered, says: "validity"},
		"usage not critical":  {cert: func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{usage(false, 8)} }, want: evidence.ErrTampered, says: "not critical"},
		"two usages":          {cert: func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{usage(true, 8, 3)} }, want: evidence.ErrTampered, says: "sole"},
		"another usage":       {cert: func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{usage(true, 3)} }, want: evidence.ErrTampered, says: "sole"},
		"unknown usage":       {cert: func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{usage(true, 8, 99)} }, want: evidence.ErrTampered, says: "sole"},
		"no usage":            {cert: func(c *x509.Certificate) { c.ExtraExtensions = nil }, want: evidence.ErrTampered, says: "sole"},
		"key encipherment":    {cert: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, want: evidence.ErrTampered, says: "something else than signing"},
		"unknown root":        {change: func(a *authority) { a.roots = other.roots }, want: evidence.ErrTampered, says: "given root"},
		"no certificate":      {change: func(a *authority) { a.signed = func(sd *signedData) { sd.Certificates = asn1.RawValue{} } }, want: evidence.ErrTampered, says: "not embedded"},
		"tampered, no certificate": {change: func(a *authority) {
			a.signed = func(sd *signedData) {
				sd.Certificates = asn1.RawValue{}
				sd.Content.Content[len(sd.Content.Content)-1] ^= 1
			}
		}, want: evidence.ErrTampered, says: "not embedded"},
		"no signer":     {change: func(a *authority) { a.signed = func(sd *signedData) { sd.Signers = nil } }, want: evidence.ErrTampered, says: "0 signers"},
		"two signers":   {change: func(a *authority) { a.signed = func(sd *signedData) { sd.Signers = append(sd.Signers, sd.Signers[0]) } }, want: evidence.ErrTampered, says: "2 signers"},
		"bad signature": {change: func(a *authority) { a.signed = func(sd *signedData) { sd.Signers[0].Signature[9] ^= 1 } }, want: evidence.ErrTampered, says: "does not hold"},
		"another's key": {change: func(a *authority) { a.key = other.key }, want: evidence.ErrTampered, says: "does not hold"},
		"content tampered": {change: func(a *authority) {
			a.signed = func(sd *signedData) { sd.Content.Content[bytes.LastIndex(sd.Content.Content, nonce.Bytes())] ^= 1 }
		}, want: evidence.ErrTampered, says: "digest"},
		"no attributes": {change: func(a *authority) { a.signed = func(sd *signedData) { sd.Signers[0].Attributes = asn1.RawValue{} } }, want: evidence.ErrTampered, says: "content's type"},
		"type attribute": {change: func(a *authority) {
			a.attrs = func(l []attribute) []attribute { l[0].Values[0] = a.raw(oidSignedData); return l }
		}, want: evidence.ErrTampered, says: "content's type"},
		"digest attribute": {change: func(a *authority) { a.attrs = func(l []attribute) []attribute { return []attribute{l[0], l[2]} } }, want: evidence.ErrTampered, says: "content's digest"},
		"attribute twice":  {change: func(a *authority) { a.attrs = func(l []attribute) []attribute { return append(l, l[1]) } }, want: evidence.ErrTampered, says: "does not stand once"},
		"not bound":        {change: func(a *authority) { a.attrs = func(l []attribute) []attribute { return l[:2] } }, want: evidence.ErrTampered, says: "no certificate"},
		"bound to another": {change: func(a *authority) {
			a.attrs = func(l []attribute) []attribute {
				l[2].Values[0] = a.raw(struct{ List []struct{ Hash []byte } }{[]struct{ Hash []byte }{{digestOf(crypto.SHA256, other.cert.Raw)}}})
				return l
			}
		}, want: evidence.ErrTampered, says: "another certificate"},
		"bound to another, SHA-1": {change: func(a *authority) {
			a.attrs = func(l []attribute) []attribute {
				l[2] = attribute{oidCertificate, []asn1.RawValue{a.raw(struct{ List []struct{ Hash []byte } }{[]struct{ Hash []byte }{{make([]byte, 20)}}})}}
				return l
			}
		}, want: evidence.ErrTampered, says: "another certificate"},
		"SHA-1": {change: func(a *authority) {
			a.hash, a.algs = crypto.SHA1, [2]asn1.ObjectIdentifier{{1, 3, 14, 3, 2, 26}, oidECDSAWithSHA2}
		}, want: evidence.ErrTampered, says: "not accepted"},
		"digests differ": {change: func(a *authority) { a.algs[1] = oidECDSAWithSHA38 }, want: evidence.ErrTampered, says: "not accepted"},
		"PSS salt": {change: func(a *authority) {
			a.algs[1] = oidRSAPSS
			a.signed = func(sd *signedData) { sd.Signers[0].Algorithm.Parameters = pssParameters(a, oidSHA256, 20) }
		}, want: evidence.ErrTampered, says: "not accepted"},
		"content type": {change: func(a *authority) { a.signed = func(sd *signedData) { sd.Content.Type = oidSignedData } }, want: evidence.ErrInvalid, says: "something else"},
		"rejected": {change: func(a *authority) {
			a.resp = func(r *response) {
				*r = response{Status: statusInfo{Status: 2, Text: []asn1.RawValue{{Tag: asn1.TagUTF8String, Bytes: []byte("no time")}}}}
			}
		}, want: evidence.ErrInvalid, says: "status 2, no time"},
		"waiting":           {change: func(a *authority) { a.resp = func(r *response) { r.Status.Status = 3 } }, want: evidence.ErrInvalid, says: "status 3"},
		"granted, no token": {change: func(a *authority) { a.resp = func(r *response) { r.Token = asn1.RawValue{} } }, want: evidence.ErrInvalid, says: "token"},
		"many certificates": {change: func(a *authority) {
			a.signed = func(sd *signedData) { sd.Certificates.Bytes = bytes.Repeat(sd.Certificates.Bytes, 9) }
		}, want: evidence.ErrInvalid, says: "over 16 certificates"},
		"inaccurate": {change: func(a *authority) { a.info = func(i *tstInfo) { i.Accuracy.Seconds = 60 } }, want: evidence.ErrTampered, says: "accurate to 60 s"},
		"long key": {change: func(a *authority) {
			n := new(big.Int).SetBit(big.NewInt(1), 20_000, 1)
			tmpl := &x509.Certificate{SerialNumber: big.NewInt(9), NotBefore: stamped, NotAfter: stamped.AddDate(1, 0, 0)}
			long := a.certify(tmpl, &rsa.PublicKey{N: n, E: 65537})
			a.signed = func(sd *signedData) { sd.Certificates.Bytes = append(sd.Certificates.Bytes, long.Raw...) }
		}, want: evidence.ErrInvalid, says: "20001 bits"},
		"broken certificate": {change: func(a *authority) { a.signed = func(sd *signedData) { sd.Certificates.Bytes = []byte{0x30, 0} } }, want: evidence.ErrInvalid, says: "certificate 1"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, c.cert)
			if c.change != nil {
				c.change(a)
			}
			_, err := Verify(a.stamp(message), message, a.roots)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

// TestNotDER: bytes that are no response, or one with something behind.
func TestNotDER(t *testing.T) {
	a := newAuthority(t, nil)
	good := a.stamp(message)
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("<html>"), "left over": append(bytes.Clone(good), 0), "cut": good[:len(good)-1],
		"BER": append([]byte{0x30, 0x80}, good[4:]...), "large": make([]byte, MaxResponse+1),
	} {
		if _, err := Verify(b, message, a.roots); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Verify(good, message, nil); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("without roots: %v", err)
	}
}

// TestInspect: who has no roots keeps what holds otherwise, and nothing else.
func TestInspect(t *testing.T) {
	a := newAuthority(t, nil)
	if s, err := Inspect(a.stamp(message), message); err != nil || !s.Time.Equal(stamped) {
		t.Errorf("%v, %v", s, err)
	}
	a.key = newKey(t)
	if _, err := Inspect(a.stamp(message), message); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("%v", err)
	}
}

// TestRequest: another library reads it.
func TestRequest(t *testing.T) {
	der, err := Request(message, nonce)
	if err != nil {
		t.Fatal(err)
	}
	got, err := timestamp.ParseRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if got.HashAlgorithm != crypto.SHA256 || !bytes.Equal(got.HashedMessage, digestOf(crypto.SHA256, message)) || !got.Certificates || got.Nonce.Cmp(nonce) != 0 {
		t.Errorf("%+v", got)
	}
	for _, n := range []*big.Int{nil, {}, big.NewInt(-1)} {
		if _, err := Request(message, n); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("nonce %v: %v", n, err)
		}
	}
}

// TestOtherLibrary: a response that another library makes.
func TestOtherLibrary(t *testing.T) {
	a := newAuthority(t, nil)
	ts := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: digestOf(crypto.SHA256, message), Time: stamped, Nonce: nonce,
		Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true, Accuracy: time.Second,
	}
	der, err := ts.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Verify(der, message, a.roots); err != nil || got.Accuracy != time.Second {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseRoots(t *testing.T) {
	a := newAuthority(t, nil)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	pool, err := ParseRoots(append(append([]byte("\n"), text...), text...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(a.stamp(message), message, pool); err != nil {
		t.Error(err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "spaces": []byte(" \n"), "text": []byte("hello"), "text behind": append(bytes.Clone(text), "hello"...),
		"a key":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a.root.Raw}),
		"broken": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw[:40]}),
	} {
		if _, err := ParseRoots(b); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzVerify: no bytes break it, and none but the authority's pass.
func FuzzVerify(f *testing.F) {
	t := &testing.T{}
	a := newAuthority(t, nil)
	good := a.stamp(message)
	f.Add(good)
	f.Add(good[:100])
	f.Add([]byte{0x30, 0x03, 0x30, 0x01, 0x02})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Verify(b, message, a.roots)
		switch {
		case err == nil && (!s.Time.Equal(stamped) || s.Nonce.Cmp(nonce) != 0):
			t.Errorf("accepted: %+v", s)
		case err != nil && !errors.Is(err, evidence.ErrInvalid) && !errors.Is(err, evidence.ErrTampered):
			t.Errorf("%v", err)
		}
	})
}

// TestEveryByte: a changed byte of what is signed is seen; others lie outside the
// signature (such as what follows it) and then the stamp still says the same.
func TestEveryByte(t *testing.T) {
	a := newAuthority(t, nil)
	good := a.stamp(message)
	passed := 0
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x55
		if s, err := Verify(b, message, a.roots); err == nil {
			passed++
			if !s.Time.Equal(stamped) || s.Nonce.Cmp(nonce) != 0 {
				t.Errorf("byte %d: %+v", i, s)
			}
		}
	}
	// The bytes of the root, which is embedded without need, and digest names.
	if limit := len(a.root.Raw) + 40; passed > limit {
		t.Errorf("%d of %d changes passed, more than %d", passed, len(good), limit)
	}
}
