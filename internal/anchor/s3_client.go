package anchor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/runledger/runledger/evidence"
)

// Client asks a bucket, with patience. Archives ask with it too. Its methods may be called
// from several goroutines. Errors do not say whose they are: "anchor" or "archive" is put
// before them by who asks.
type Client struct {
	*minio.Core
	cfg S3Config

	mu     sync.Mutex
	rest   time.Time // nothing is asked before
	reason error     // why
}

// NewClient looks for credentials and asks the bucket nothing. What the configuration
// leaves out is taken from the environment.
func NewClient(cfg S3Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	host, secure, err := splitEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "s3.amazonaws.com"
	}
	creds, err := findCredentials(cfg.Patience)
	if err != nil {
		return nil, err
	}
	core, err := minio.NewCore(host, &minio.Options{
		Creds: creds, Secure: secure, Region: cfg.Region,
		MaxRetries: 1, // Do repeats, within its patience
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", &cfg, evidence.ErrInvalid, err)
	}
	return &Client{Core: core, cfg: cfg}, nil
}

// findCredentials looks where other clients look: the environment, the files below
// ~/.aws, and what the machine or the cluster gives to its processes. They are renewed
// when they expire.
func findCredentials(patience time.Duration) (*credentials.Credentials, error) {
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	if !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		providers = append(providers, &credentials.IAM{Client: &http.Client{Timeout: patience}})
	}
	creds := credentials.NewChainCredentials(providers)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	v, err := creds.GetWithContext(&credentials.CredContext{Context: ctx, Client: http.DefaultClient})
	if err == nil && v.AccessKeyID == "" {
		err = fmt.Errorf("%w: none are there; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", evidence.ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials of the object storage: %w", err)
	}
	return creds, nil
}

// Bucket is the bucket's name.
func (c *Client) Bucket() string { return c.cfg.Bucket }

// String is the address, for people.
func (c *Client) String() string { return c.cfg.String() }

// Key is the key of a name below the prefix.
func (c *Client) Key(name string) string {
	if c.cfg.Prefix == "" {
		return name
	}
	return c.cfg.Prefix + "/" + name
}

// Where names a key for people.
func (c *Client) Where(key string) string { return "s3://" + c.cfg.Bucket + "/" + key }

// Do asks the service, again where that may help, until patience runs out or ctx ends.
// Errors but ErrAbsent wrap evidence.ErrUnavailable.
func (c *Client) Do(ctx context.Context, what string, ask func(context.Context) error) error {
	if err := c.resting(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	end := time.Now().Add(c.cfg.Patience)
	var said error // the last that was answered: it tells more than that time ran out
	for try := 0; ; try++ {
		once, cancel := context.WithTimeout(ctx, min(c.cfg.Timeout, time.Until(end)))
		err := ask(once)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		err, again := c.classify(err)
		if !again {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			said = err
		}
		wait := pause(try)
		if time.Until(end) < wait+firstPause {
			if said != nil {
				err = said
			}
			err = fmt.Errorf("%w, %d times in %v", err, try+1, c.cfg.Patience)
			c.giveUp(err)
			return fmt.Errorf("%s: %w", what, err)
		}
		time.Sleep(wait)
	}
}

func (c *Client) resting() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.rest) {
		return fmt.Errorf("not asked, just now it was: %w", c.reason)
	}
	return nil
}

func (c *Client) giveUp(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest, c.reason = time.Now().Add(restFor), err
}

// Plain reports whether the service is reached without TLS.
func (c *Client) Plain() bool { return strings.HasPrefix(c.cfg.Endpoint, "http://") }

// VersioningProblem says what is wrong with the bucket's versioning; "" for nothing.
func (c *Client) VersioningProblem(ctx context.Context) string {
	var versioning minio.BucketVersioningConfiguration
	err := c.Do(ctx, "read the versioning of "+c.cfg.Bucket, func(ctx context.Context) (err error) {
		versioning, err = c.GetBucketVersioning(ctx, c.cfg.Bucket)
		return err
	})
	switch {
	case err != nil: // asking for it is a right of its own
		return fmt.Sprintf("whether bucket %s keeps versions could not be read (%v)", c.cfg.Bucket, err)
	case !versioning.Enabled():
		return fmt.Sprintf("bucket %s keeps no versions: what is written over or deleted leaves no trace", c.cfg.Bucket)
	}
	return ""
}

// LockProblem says what is wrong with the bucket's object lock; "" where every new object
// is kept for a while by a default retention.
func (c *Client) LockProblem(ctx context.Context) string {
	_, _, problem := c.LockTerm(ctx)
	return problem
}

// LockTerm says for how many days the bucket's default retention keeps every new object, and whether some may
// delete it all the same (governance mode); else what is wrong with its object lock.
func (c *Client) LockTerm(ctx context.Context) (days uint, governed bool, problem string) {
	var mode *minio.RetentionMode
	var validity *uint
	var unit *minio.ValidityUnit
	var enabled string
	err := c.Do(ctx, "read the object lock of "+c.cfg.Bucket, func(ctx context.Context) (err error) {
		enabled, mode, validity, unit, err = c.GetObjectLockConfig(ctx, c.cfg.Bucket)
		var e minio.ErrorResponse
		if errors.As(err, &e) && (e.Code == "ObjectLockConfigurationNotFoundError" || e.StatusCode == http.StatusNotFound && e.Code != minio.NoSuchBucket) {
			enabled, err = "", nil
		}
		return err
	})
	switch {
	case errors.Is(err, ErrNoConditions), err == nil && enabled != "Enabled":
		return 0, false, fmt.Sprintf("bucket %s has no object lock: whoever holds the credentials can delete what it has", c.cfg.Bucket)
	case err != nil:
		return 0, false, fmt.Sprintf("whether bucket %s has object lock could not be read (%v)", c.cfg.Bucket, err)
	case mode == nil || validity == nil || unit == nil:
		return 0, false, fmt.Sprintf("bucket %s has object lock, but no default retention: new objects are not locked", c.cfg.Bucket)
	}
	if days = *validity; *unit == minio.Years {
		days *= 365
	}
	return days, *mode == minio.Governance, ""
}

// pageSize is how many keys one request lists at most, here and in the protocol.
const pageSize = 1000

// List calls fn for the keys with a prefix, in order, and their sizes in bytes.
func (c *Client) List(ctx context.Context, prefix string, fn func(key string, size int64) error) error {
	for last := ""; ; {
		page, err := c.page(ctx, prefix, last)
		if err != nil {
			return err
		}
		if len(page) > 0 && page[0].Key <= last {
			return fmt.Errorf("list %s: %w: the service lists the same keys again", c.Where(prefix), evidence.ErrUnavailable)
		}
		for _, o := range page {
			if err := fn(o.Key, o.Size); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
		last = page[len(page)-1].Key
	}
}

// page returns the next keys behind one: each page has a patience of its own.
func (c *Client) page(ctx context.Context, prefix, after string) ([]minio.ObjectInfo, error) {
	var page []minio.ObjectInfo
	err := c.Do(ctx, "list "+c.Where(prefix), func(ctx context.Context) error {
		page = page[:0]
		opts := minio.ListObjectsOptions{Prefix: prefix, Recursive: true, StartAfter: after}
		for o := range c.ListObjectsIter(ctx, c.cfg.Bucket, opts) {
			if o.Err != nil {
				return o.Err
			}
			if page = append(page, o); len(page) == pageSize {
				return nil
			}
		}
		return ctx.Err() // the iteration may end without an error then
	})
	if errors.Is(err, ErrAbsent) {
		err = errOdd
	}
	slices.SortFunc(page, func(a, b minio.ObjectInfo) int { return strings.Compare(a.Key, b.Key) })
	return page, err
}
