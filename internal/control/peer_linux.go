package control

import (
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel whose process is at the other end.
func peerOf(conn *net.UnixConn) (Caller, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Caller{}, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Caller{}, err
	}
	if cerr != nil {
		return Caller{}, cerr
	}
	return userByID(strconv.FormatUint(uint64(cred.Uid), 10)), nil
}
