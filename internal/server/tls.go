package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificate is a key pair on disk that is read again when it changes, so
// that a renewed certificate needs no restart.
type certificate struct {
	cert, key string
	every     time.Duration // between two looks at the files

	mu      sync.Mutex
	pair    *tls.Certificate
	read    [2]time.Time // modification times of what was read
	checked time.Time
}

// newTLS returns the configuration of all listeners, or nil for none.
func newTLS(cert, key string) (*tls.Config, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "" || key == "":
		return nil, errors.New("TLS needs both a certificate and its key")
	}
	c := &certificate{cert: cert, key: key, every: 10 * time.Second}
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// get implements tls.Config.GetCertificate. A pair that has become unreadable
// does not replace the one in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair != nil && time.Since(c.checked) < c.every {
		return c.pair, nil
	}
	c.checked = time.Now()
	times, err := c.times()
	if err == nil && c.pair != nil && times == c.read {
		return c.pair, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.cert, c.key)
	}
	switch {
	case err == nil:
		c.pair, c.read = &pair, times
	case c.pair == nil:
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return c.pair, nil
}

func (c *certificate) times() (t [2]time.Time, err error) {
	for i, path := range []string{c.cert, c.key} {
		st, err := os.Stat(path)
		if err != nil {
			return t, err
		}
		t[i] = st.ModTime()
	}
	return t, nil
}
