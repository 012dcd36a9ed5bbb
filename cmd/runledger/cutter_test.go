package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
)

// cutter stands between a server and PostgreSQL and drops connections at COMMIT.
type cutter struct {
	dsn    string // by which the database is reached through it
	socket string // of the database

	every          atomic.Int64 // one COMMIT of so many is cut off; 0: none
	commits        atomic.Int64
	before, behind atomic.Int64 // how many were, without and with the database having it
}

func newCutter(t *testing.T, dsn string) *cutter {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	ln := listenLocal(t)
	c := &cutter{socket: fmt.Sprintf("%s/.s.PGSQL.%s", u.Query().Get("host"), u.Query().Get("port"))}
	u.Host, u.RawQuery = ln.Addr().String(), url.Values{"sslmode": {"disable"}}.Encode()
	c.dsn = u.String()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go c.serve(conn)
		}
	}()
	return c
}

// serve passes on what the two say, message by message (PostgreSQL's protocol,
// version 3: a type, and a length that counts itself; the first message has no type).
func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	db, err := net.Dial("unix", c.socket)
	if err != nil {
		return
	}
	defer db.Close()
	deaf := &atomic.Bool{} // the client hears no more, though the database speaks
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := db.Read(buf)
			if deaf.Load() || err != nil {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	typed := false
	for {
		m, err := readMessage(client, typed)
		if err != nil {
			return
		}
		cut, early := false, false
		if typed && m[0] == 'Q' && bytes.Contains(m, []byte("COMMIT")) {
			cut, early = c.due()
		}
		if early {
			c.before.Add(1)
			return
		}
		deaf.Store(cut)
		if _, err := db.Write(m); err != nil {
			return
		}
		if cut {
			<-over // it has answered, so it is done
			c.behind.Add(1)
			return
		}
		typed = true
	}
}

// due reports whether this COMMIT is to be cut off, and whether before the database has
// it.
func (c *cutter) due() (cut, early bool) {
	every := c.every.Load()
	if every == 0 {
		return false, false
	}
	n := c.commits.Add(1)
	return n%every == 0, n%every == 0 && n/every%2 == 0
}

func readMessage(r io.Reader, typed bool) ([]byte, error) {
	head := make([]byte, 4, 5)
	if typed {
		head = head[:5]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
	if length < 0 || length > 1<<30 {
		return nil, errors.New("no message")
	}
	m := make([]byte, len(head)+length)
	copy(m, head)
	_, err := io.ReadFull(r, m[len(head):])
	return m, err
}
