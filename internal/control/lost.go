package control

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/runledger/runledger/evidence"
)

// lost says that a server was there and gave no answer: err came of the transport.
func (c *Client) lost(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case err == nil, c.socket == "", errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, errNoServer):
		return fmt.Errorf("%s: %w any more: start it again (runledger serve), and repeat", c.socket, err)
	}
	return fmt.Errorf("%s: %w: the server ended, or broke off, before it answered (%w). What was asked for may have been done: "+
		"see in its log why, start it again (runledger serve), look, and repeat", c.socket, evidence.ErrUnavailable, err)
}
