package stream

import (
	"crypto/tls"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// withSocket runs fn with the socket below a TCP or TLS connection.
func withSocket(conn net.Conn, fn func(fd int)) error {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	t, ok := conn.(*net.TCPConn)
	if !ok {
		return errors.New("no TCP connection")
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { fn(int(fd)) })
}

// unacknowledged returns how many bytes the other side's kernel has not taken yet
// (SIOCOUTQ).
func unacknowledged(conn net.Conn) (n int, err error) {
	cerr := withSocket(conn, func(fd int) { n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ) })
	return n, errors.Join(cerr, err)
}

// closed reports whether the other side has closed or reset a connection.
func closed(conn net.Conn) (is bool) {
	err := withSocket(conn, func(fd int) {
		n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		is = n == 0 && err == nil || err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return is || err != nil
}
